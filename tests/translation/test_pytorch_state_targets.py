"""PyTorch's state in chains, wrappers and other optimizers, dtypes, and on devices."""

import os
import pickle
import subprocess
import sys

import cloudpickle
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.contract.devices import ROOT, on_eight_devices

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
runs = pytest.importorskip("tests.translation.torch_runs")
load, AdamW = oxe.pytorch.load_state_dict, oxe.pytorch.AdamW
FIRST, ROWS, OPTIONS = runs.FIRST, runs.ROWS, runs.OPTIONS

TARGETS = {
    "clipped": lambda tx: optax.chain(optax.clip_by_global_norm(1e6), tx),
    "oxe.adamw": lambda tx: oxe.adamw(0.3, weight_decay=0.01),
    "schedule": lambda tx: oxe.adamw(lambda t: 0.05, weight_decay=0.01),
    "master copy": oxe.with_master_copy,
    "low precision": oxe.low_precision_state,  # of large leaves: here are none
    "average": lambda tx: oxe.with_average(tx, oxe.averages.ema(0.9)),
    "accumulate": lambda tx: oxe.accumulate(tx, 1),
    "stacked": oxe.stacked,
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 1).gradient_transformation(),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "masked": lambda tx: optax.masked(tx, dict.fromkeys(FIRST, True)),
    "partition": lambda tx: optax.partition(
        {"a": tx, "b": AdamW(lr=0.3)}, {"bias": "a", "kernel": "b", "square": "a"}
    ),
    "inject_hyperparams": lambda tx: optax.inject_hyperparams(AdamW)(lr=0.3),
    "scheduled": lambda tx: oxe.scheduled(AdamW)(lr=0.3),
}


@pytest.mark.parametrize("name", TARGETS)
@runs.in_float64
def test_targets(name):
    """The learning rate of PyTorch's group replaces a constant one everywhere.

    The other options are compared by a trial step, or not at all.
    """
    weights, saved, expected = runs.stopped()
    tx = TARGETS[name](AdamW(lr=0.3))
    state, report = load(tx, saved, weights)
    assert "not compared" in [row.how for row in report.inexact]
    _, report = load(tx, saved, weights, gradients=ROWS[10])
    assert report.exact
    assert jax.tree.structure(state) == jax.tree.structure(tx.init(weights))
    params, _ = runs.go_on_here(tx, state, weights, ROWS[10:])
    assert runs.distance(params, expected, FIRST) <= 1e-10


@runs.in_float64
def test_other_rules():
    """Into Adam's first phase of SWATS, and as the velocity of SGD."""
    weights, saved, _ = runs.stopped()
    state, report = load(oxe.swats(0.05), saved, weights)
    assert [row.how for row in report.inexact] == ["not compared"]
    moments = [x for x in jax.tree.leaves(state) if np.shape(x) == (2, 3)]
    for key in ("exp_avg", "exp_avg_sq"):
        there = np.asarray(saved["state"][1][key])
        assert any(np.array_equal(x, there) for x in moments)
    state, report = load(oxe.sgd(0.05, momentum=0.9), saved, weights)
    assert [row.source for row in report.inexact] == ["exp_avg_sq", "param_groups"]
    velocity = 10 * np.asarray(saved["state"][1]["exp_avg"])
    np.testing.assert_allclose(state[0].mu["kernel"], velocity, rtol=1e-12)


@pytest.mark.parametrize("theirs", ["bfloat16", "float32", "float64"])
def test_dtypes(theirs):
    """Moments of half-precision params are float32, and are rounded at most once."""
    dtype = getattr(torch, theirs)
    params = {
        p: torch.nn.Parameter(torch.tensor(x, dtype=dtype)) for p, x in FIRST.items()
    }
    optimizer = torch.optim.AdamW(params.values(), lr=0.05)
    for row in ROWS[:3]:
        for path, x in params.items():
            x.grad = torch.tensor(row[path], dtype=dtype)
        optimizer.step()
    saved = optimizer.state_dict()
    arrays = {p: jnp.asarray(x.detach().float().numpy()) for p, x in params.items()}
    for ours in ("bfloat16", "float32"):
        here = jax.tree.map(lambda x, d=ours: x.astype(d), arrays)
        state, report = load(AdamW(lr=0.05), saved, here)
        assert report.exact
        ulps = max(row.ulps or 0 for row in report.rows)
        assert (0 < ulps <= 0.5) if theirs == "float64" else ulps == 0
        there = saved["state"][1]["exp_avg"].float().numpy()
        np.testing.assert_array_equal(state[0].mu["kernel"], there)
        assert state[0].mu["kernel"].dtype == np.float32


# ---- The note of the call ------------------------------------------------------------


def test_the_call_is_known_wherever_the_optimizer_is():
    """After pickling and in a tree; nothing is added to a state or inside of `jit`."""
    tx = AdamW(lr=0.1)
    for copied in (
        cloudpickle.loads(cloudpickle.dumps(tx)),
        jax.tree.map(lambda x: x, tx),
    ):
        state = copied.init({"w": jnp.ones(2)})
        back = oxe.pytorch.state_dict(copied, state, {"w": jnp.ones(2)})
        assert back["param_groups"][0]["weight_decay"] == 0.01
        pickle.dumps(state)

    def first_update(lr):
        tx = AdamW(lr=lr)
        return tx.update(params, tx.init(params), params)[0]["w"]

    params = {"w": jnp.ones(2)}
    updates = jax.jit(jax.vmap(first_update))(jnp.array([0.1, 0.2]))
    np.testing.assert_allclose(updates[1], 2 * updates[0], rtol=1e-6)


# ---- Processes -----------------------------------------------------------------------

WITHOUT_TORCH = """
import pickle, sys
import jax.numpy as jnp
import numpy as np
import optax_extras as oxe

with open(sys.argv[1], "rb") as file:
    saved, weights = pickle.load(file)
tx = oxe.pytorch.AdamW(lr=0.3)
params = {path: jnp.asarray(x) for path, x in weights.items()}
state, report = oxe.pytorch.load_state_dict(tx, saved, params)
assert report.exact
back = oxe.pytorch.state_dict(tx, state, params)
for i, entry in saved["state"].items():
    for key, x in entry.items():
        assert isinstance(back["state"][i][key], np.ndarray)
        np.testing.assert_allclose(back["state"][i][key], x, rtol=1e-6)
assert "torch" not in sys.modules
"""


@pytest.mark.ci
def test_without_torch(tmp_path):
    """In a process that does not import it, both ways are with NumPy."""
    weights, saved, _ = runs.stopped()
    arrays = {
        i: {key: np.asarray(x) for key, x in entry.items()}
        for i, entry in saved["state"].items()
    }
    path = tmp_path / "saved.pickle"
    path.write_bytes(pickle.dumps(({**saved, "state": arrays}, weights)))
    command = [sys.executable, "-W", "error", "-c", WITHOUT_TORCH, str(path)]
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


ON_DEVICES = """
import json

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
import optax_extras as oxe

mesh = jax.make_mesh((8,), ("x",))
rows = NamedSharding(mesh, P("x"))
moments = np.arange(32.0, dtype=np.float32).reshape(8, 4) + 1
entry = {"step": 3, "exp_avg": moments, "exp_avg_sq": moments**2}
group = {"lr": 0.1, "betas": (0.9, 0.999), "amsgrad": False, "params": [0]}
group |= {"eps": 1e-8, "weight_decay": 0.01}
saved = {"state": {0: entry}, "param_groups": [group]}
params = {"w": jax.device_put(jnp.ones((8, 4)), rows)}
alone = {"w": jnp.ones((8, 4))}
tx = oxe.pytorch.AdamW(lr=0.1)
state, report = oxe.pytorch.load_state_dict(tx, saved, params)
updates, after = jax.jit(tx.update)(params, state, params)
single, _ = oxe.pytorch.load_state_dict(tx, saved, alone)
expected = jax.jit(tx.update)(alone, single, alone)[0]
back = oxe.pytorch.state_dict(tx, after, params)["state"][0]["exp_avg"]
print(json.dumps({
    "exact": report.exact,
    "sharded": [
        x.sharding.is_equivalent_to(rows, 2)
        for tree in (state, after) for x in jax.tree.leaves(tree) if x.shape == (8, 4)
    ],
    "equal": bool(jnp.all(jnp.asarray(updates["w"]) == expected["w"])),
    "back": float(np.abs(back - (0.9 * moments + 0.1)).max()),
}))
"""


@pytest.mark.ci
def test_a_sharded_target():
    """The state is sharded as the params are, and comes back in full."""
    found = on_eight_devices(ON_DEVICES)
    assert found["exact"]
    assert found["sharded"] == [True] * 4
    assert found["equal"]
    assert found["back"] < 1e-5
