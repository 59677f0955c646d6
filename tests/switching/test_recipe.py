"""The recipe of docs/loop.md: after the switch the second phase alone, bit for bit."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

PAGE = Path(__file__).parents[2] / "docs" / "loop.md"


def test_the_run_goes_on_with_one_buffer():
    (recipe,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
        if "rate_factor" in block
    ]
    before, after = recipe.split("if bool(")
    whole = {}
    exec(before, whole)  # the run up to here, and the first optimizer's state
    alone = dict(whole)
    exec(f"if bool({after}", alone)
    assert optax.tree.get(alone["state"], "nu") is None
    paths = []
    for run in (whole, alone):
        tx, state, params, path = run["tx"], run["state"], run["params"], []
        for step in range(12):
            grads = jnp.cos(params + step)
            updates, state = jax.jit(tx.update)(grads, state, params)
            params = optax.apply_updates(params, updates)
            path.append(np.asarray(params))
        paths.append(path)
    np.testing.assert_array_equal(*paths)
