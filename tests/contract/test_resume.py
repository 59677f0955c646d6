"""A run that is stopped, saved and resumed in a new process is the same run."""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.contract import discovery
from tests.contract.resuming import WAYS, case_of, save, stop_of
from tests.contract.test_optimizers import Run

ROOT = Path(__file__).parents[2]
TRIED = [x for x in discovery.CASES if x.is_plain or x.name in discovery.COMBINED]
PARTS = [
    pytest.param([case.name for case in TRIED if not case.is_slow], id="plain"),
    pytest.param(
        [case.name for case in TRIED if case.is_slow], id="rest", marks=pytest.mark.full
    ),
]


@pytest.mark.parametrize("names", PARTS)
def test_saved_and_resumed_in_a_new_process(names, tmp_path):
    """By NumPy, Flax, Equinox and Orbax; to the last bit."""
    runs = {name: Run(case_of(name)) for name in names}
    save(tmp_path, {name: kept.states[stop_of(name)] for name, kept in runs.items()})
    assert {stop_of(name) for name in names} == {0, 1, 2, 3, 4}
    done = subprocess.run(
        [sys.executable, "-m", "tests.contract.resuming", tmp_path, *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for name, kept in runs.items():
        expected = jax.tree.leaves((kept.us[stop_of(name) :], kept.states[-1]))
        for way in WAYS:
            with np.load(tmp_path / name / f"{way}-end.npz") as file:
                got = [file[f"arr_{i}"] for i in range(len(file.files))]
            assert len(got) == len(expected)
            for a, b in zip(got, map(np.asarray, expected), strict=True):
                assert (a.dtype, a.shape) == (b.dtype, b.shape), (name, way)
                assert a.tobytes() == b.tobytes(), (name, way)
