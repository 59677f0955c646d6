"""A run that is stopped, saved and resumed in a new process is the same run."""

import subprocess

import jax
import numpy as np
import pytest

from tests.contract import discovery
from tests.contract.devices import PYTHON, ROOT
from tests.contract.resuming import (
    CASES,
    HALVED,
    HALVES,
    STEPS,
    WAYS,
    case_of,
    key_of,
    numbered,
    read,
    run_of,
    save,
    stops_of,
)
from tests.contract.runs import Run

NAMES = {
    "plain": [x.name for x in discovery.CASES if not x.is_slow],
    "namesakes": [x.name for x in discovery.CASES if x.is_slow and x.is_plain],
    "combined": [
        x.name for x in discovery.CASES if x.is_slow and x.name in discovery.COMBINED
    ],
    "flags": [
        x.name
        for x in discovery.CASES
        if not x.is_plain and x.name not in discovery.COMBINED
    ],
    "halves": [name + HALVES for name in HALVED],
}
PARTS = [
    pytest.param(
        names, id=id, marks=pytest.mark.ci if id == "plain" else pytest.mark.full
    )
    for id, names in NAMES.items()
]


def test_every_case_is_in_a_part():
    names = [name for part in NAMES.values() for name in part]
    assert sorted(names) == sorted(x.name for x in CASES)


def test_runs_stop_anywhere():
    stops = {stop for x in CASES for stop in stops_of(x.name)}
    assert stops == set(range(STEPS))


@pytest.mark.parametrize("names", PARTS)
def test_saved_and_resumed_in_a_new_process(names, tmp_path):
    """By NumPy, Flax, Equinox and Orbax; to the last bit."""
    runs = {name: run_of(name) for name in names}
    save(
        tmp_path,
        {
            key_of(name, stop): kept.states[stop]
            for name, kept in runs.items()
            for stop in stops_of(name)
        },
    )
    done = subprocess.run(
        [*PYTHON, "-m", "tests.contract.resuming", tmp_path, *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for name, kept in runs.items():
        for stop in stops_of(name):
            expected = numbered((kept.us[stop:], kept.states[-1]))
            for way in WAYS:
                got = read(tmp_path / key_of(name, stop) / f"{way}-end.npz")
                assert list(got) == list(expected)
                for a, b in zip(got.values(), expected.values(), strict=True):
                    assert (a.dtype, a.shape) == (b.dtype, b.shape), (name, way)
                    assert a.tobytes() == b.tobytes(), (name, stop, way)


@pytest.mark.parametrize(
    "name", ["scale_by_metric", "nadam-greedy", "switch-on_plateau"]
)
def test_metrics_act(name):
    """In such a run rates change, and what waits for a plateau hands over."""
    with_metric, without = run_of(name), Run(case_of(name), STEPS)
    a, b = jax.tree.leaves(with_metric.us[-1])[0], jax.tree.leaves(without.us[-1])[0]
    assert not np.array_equal(a, b)
