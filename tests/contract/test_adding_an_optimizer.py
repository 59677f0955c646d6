"""An optimizer that is added by CONTRIBUTING.md is tested, and passes everything."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.contract.devices import PYTHON

ROOT = Path(__file__).parents[2]
NAME = "soft_momentum"
OPTIMIZER = '''"""Momentum whose steps are a root of the velocity."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from optax_extras._checks import (
    AtLeastOne,
    Decay,
    LearningRate,
    Mask,
    WeightDecay,
    checked,
)
from optax_extras._kernel._assemble import chain_decay_and_rate
from optax_extras._kernel._map_leaves import map_leaves, zeros


class SoftMomentumState(NamedTuple):
    """State of `soft_momentum`."""

    count: ArrayLike
    """Shape (), int32: updates made; it stops at 2**31 - 1."""
    velocity: Any
    """Like the params, float32 at least."""

    buffers_hold = (("velocity", "velocity"),)


@checked
def soft_momentum(
    learning_rate: LearningRate,
    decay: Decay = 0.9,
    order: AtLeastOne = 2.0,
    *,
    weight_decay: WeightDecay = 0.0,
    mask: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Momentum whose steps are a root of the velocity.

    Args:
      learning_rate: The learning rate.
      decay: The decay of the velocity.
      order: Which root is taken.
      weight_decay: Decoupled weight decay: subtracted from the params, times the
        learning rate.
      mask: The leaves that decay: a tree of bools, or a function from the params to
        one. None: all.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.soft_momentum(1e-2)
    """

    def init(params: Any) -> SoftMomentumState:
        return SoftMomentumState(jnp.zeros((), jnp.int32), zeros(params))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any):
        del params, extra

        def leaf(g, velocity):
            velocity = decay * velocity + (1 - decay) * g
            size = jnp.maximum(jnp.abs(velocity), 1e-30)
            return velocity * jnp.exp((1 / order - 1) * jnp.log(size)), velocity

        us, velocity = map_leaves(leaf, updates, state.velocity)
        return us, SoftMomentumState(optax.safe_increment(state.count), velocity)

    direction = optax.GradientTransformationExtraArgs(init, update)
    return chain_decay_and_rate(direction, learning_rate, weight_decay, mask)
'''
TEST = """import jax.numpy as jnp
import numpy as np

import optax_extras as oxe


def test_the_root_of_the_first_velocity():
    tx, params = oxe.soft_momentum(1.0), jnp.ones(2)
    u, _ = tx.update(jnp.array([10.0, -40.0]), tx.init(params), params)
    np.testing.assert_allclose(u, [-1.0, 2.0], rtol=1e-5)
"""
MODULE = f"optax_extras._optimizers.{NAME}"
LINE = f"from {MODULE} import {NAME} as {NAME}\n"
STATE = "SoftMomentumState"
STATE_LINE = f"from {MODULE} import {STATE} as {STATE}\n"
# Tests of all optimizers at once, without their names.
OF_ALL = ["test_layout.py", "test_defaults.py", "test_benchmarks.py"]
OF_ALL += ["optimizers/test_huge_gradients.py", "contract/test_bad_arguments.py"]
OF_ALL += ["contract/test_recorded.py"]


@pytest.mark.ci
def test_the_places_of_the_guide_are_enough(tmp_path):
    for folder in ("optax_extras", "tests", "benchmarks", "docs", "examples"):
        ignored = shutil.ignore_patterns("__pycache__", "_build", "reference", "out")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    for path in ROOT.glob("*.*"):
        if path.is_file():
            shutil.copy(path, tmp_path)
    package, tests = tmp_path / "optax_extras", tmp_path / "tests"
    (package / "_optimizers" / f"{NAME}.py").write_text(OPTIMIZER)
    (tests / "optimizers" / f"test_{NAME}.py").write_text(TEST)
    first = "from optax_extras._optimizers.rprop"
    for file, line in (("__init__.py", LINE), ("states.py", STATE_LINE)):
        text = (package / file).read_text()
        assert first in text
        (package / file).write_text(text.replace(first, line + first, 1))
    with (tmp_path / "CHANGELOG.md").open("a") as file:
        file.write(f"- `{NAME}`.\n")

    def run(*arguments):
        done = subprocess.run(
            [*PYTHON, "-m", "pytest", "-q", "-m", "not ci and not full", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
        return done.stdout

    said = run("-k", NAME, "-vv", "tests/contract", "tests/optimizers")
    for clause in (
        "scan_and_vmap",
        "inside_all_that_optax_has",
        "map_params",
        "buffers_say_what_they_hold",
    ):
        assert f"test_{clause}[{NAME}] PASSED" in said
    said = run(*(f"tests/{name}" for name in OF_ALL))
    (unrecorded,) = [x for x in said.splitlines() if "not recorded yet: " in x]
    assert NAME in unrecorded  # perhaps among others
