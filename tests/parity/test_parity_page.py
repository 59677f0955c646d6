"""The generated table, `docs/parity.md`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import optax_extras as oxe
from tests.parity import timm_stub

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "parity.md"
NOT_MEASURED = {
    "pytorch": {"load_state_dict", "state_dict"},
    "keras": {
        *("CyclicLR", "LossScaleOptimizer", "MultiOptimizer", "OptimizerMap"),
        "load_variables",
    },
    "transformers": {"get_scheduler"},
}


@pytest.mark.parametrize("package", ["pytorch", "keras", "transformers", "timm"])
def test_every_class_is_listed(package):
    """All but those that wrap others, and those that are in the table otherwise."""
    text = PAGE.read_text(encoding="utf-8")
    sections = re.split("^## ", text, flags=re.M)
    mine = "".join(s for s in sections if f"`oxe.{package}`" in s.partition("\n")[0])
    listed = set(re.findall(r"^\| `(\w+)", mine, flags=re.M))
    missing = NOT_MEASURED.get(package, set())
    assert listed == set(getattr(oxe, package).__all__) - missing


@pytest.mark.full
def test_the_numbers_are_those_measured():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    os.environ.setdefault("KERAS_BACKEND", "jax")
    pytest.importorskip("keras", reason="Keras is not installed")
    timm_stub.load("scheduler")
    pytest.importorskip("transformers", reason="transformers is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "docs.parity", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
