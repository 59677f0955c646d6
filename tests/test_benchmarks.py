"""What `python -m benchmarks` compares, and that it runs; times are not tested."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import optax_extras as oxe
from benchmarks import __main__ as bench, timing
from benchmarks.optimizers import wide
from benchmarks.pairs import ELSEWHERE, PAIRS
from benchmarks.timing import Entry, Found, Program
from benchmarks.trees import gradients

ROOT = Path(__file__).parents[1]
LEAVES = {
    "one": lambda: {"w": jnp.full(2**16, 0.1)},
    "several": lambda: {str(i): jnp.full((128, 128), 0.1) for i in range(4)},
    "half": lambda: {"w": jnp.full(2**16, 0.1, jnp.bfloat16)},
}
# The neighbor is another rule, which does less: ASGD averages the new weights, which
# plain momentum does not read.
MORE = {("asgd", "half"): 1}


def test_pairs(capsys):
    """No optimizer is in both tables; one that is in neither is only spoken of."""
    assert not PAIRS.keys() & ELSEWHERE.keys()
    ours = {
        name
        for name in oxe.__all__
        if inspect.isfunction(thing := getattr(oxe, name))
        and next(iter(inspect.signature(thing).parameters), "") == "learning_rate"
    }
    if missing := sorted(ours - PAIRS.keys() - ELSEWHERE.keys()):
        with capsys.disabled():
            print(f"\nnot among benchmarks/pairs.py: {', '.join(missing)}")


@pytest.mark.ci
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(
    "tree",
    ["one", *(pytest.param(x, marks=pytest.mark.full) for x in ("several", "half"))],
)
def test_no_more_is_held_and_moved_than_by_optax(name, tree):
    """By XLA's count: temporaries like the params, states, bytes through memory."""
    params = LEAVES[tree]()
    grads = gradients(params)
    ours, theirs, _ = PAIRS[name]
    shim = wide if tree == "half" else lambda tx: tx
    one, other = (
        timing.build("", Entry(tx, warm=0), params, grads).facts
        for tx in (ours(), shim(theirs()))
    )
    more = MORE.get((name, tree), 0)
    assert one["temporaries"] <= other["temporaries"] + more + 0.1
    assert one["moved"] <= 1.01 * other["moved"] + 4 * more
    # Equal state dtypes, or the comparison would be another one.
    assert one["fewest"] == pytest.approx(other["fewest"], rel=0.01)


def test_ratios_are_of_pairs_that_take_turns():
    made = []

    def program(name, times):
        left = iter(times)

        def timed():
            made.append(name)
            return next(left)

        return Program(name, timed, {})

    # Two runs to warm up, then two repeats of four pairs. The ratios of the second
    # repeat: 2 if the other program runs first, 8 if it runs second.
    base = program("base", [9, 9, 1, 2, 4, 8, 1, 1, 1, 1])
    other = program("other", [9, 9, 3, 6, 8, 16, 2, 8, 2, 8])
    assert timing.against(base, other, 2, 4) == Found(6.0, 2.0, 3.25, 2.5, 4.0)
    assert made[4:10] == ["other", "base", "base", "other", "other", "base"]


def test_second_builds_take_every_other_two_pairs():
    """The second builds are slower, by as much: neither is the better for it."""
    made = []

    def clock(name, time):
        return lambda: made.append(name) or time

    def twice(name, first, second):
        return Program(name, clock(name, first), {}, clock(f"{name} again", second))

    base, other = twice("base", 1.0, 2.0), twice("other", 4.0, 2.0)
    assert timing.against(base, other, 1, 4) == Found(3.0, 1.5, 2.0, 2.0, 2.0)
    assert made == [
        *(2 * ["base", "other", "base again", "other again"]),
        *("other", "base", "base", "other"),
        *(f"{x} again" for x in ("base", "other", "other", "base")),
    ]
    # Against a program that was built once.
    once = Program("once", clock("once", 8.0), {})
    assert timing.against(base, once, 1, 4).ratio == pytest.approx(np.sqrt(8 * 4))
    with pytest.raises(ValueError, match="`pairs` must be at least 4, got 3"):
        timing.against(base, other, 1, 3)


def test_what_is_built_twice_is_built_in_the_order_of_a_palindrome(monkeypatch):
    made = []

    def build(name):
        made.append(name)
        return Program(name, lambda: len(made), {})

    monkeypatch.setattr(timing, "build", build)
    one, other = timing.build_both(("one",), ("other",))
    assert made == ["one", "other", "other", "one"]
    assert (one.name, other.name) == ("one", "other")
    assert all(callable(x.again) for x in (one, other))


def test_bad_arguments(capsys):
    """Refused before anything is timed."""
    for wrong in (
        ["nothing"],
        ["--repeats", "0"],
        ["small_leaves", "--leaves", "0"],
        ["--json", "no/such/folder.json"],
        ["rates", "--only", "nothing"],
    ):
        with pytest.raises(SystemExit, match="2"):
            bench.parsed(wrong)
        argument = wrong[-2] if wrong[1:] else "PART"
        assert f"error: argument {argument}" in capsys.readouterr().err


@pytest.mark.full
@pytest.mark.parametrize(
    "part",
    [
        ["optimizers", "--only", "adam", "nadam", "--trees", "one", "half"],
        ["small_leaves", "--groups", "16"],
        ["switching", "--leaves", "1", "--only", "rules, Adam"],
        ["rates", "--only", "scheduled"],
        ["lab", "--rates", "20", "--steps", "20"],
        ["state_size", "--leaves", "1", "--only", "state in 8 bits", "stochastic"],
    ],
    ids=lambda part: part[0],
)
def test_it_runs_and_writes_what_it_found(part, tmp_path):
    path = tmp_path / "found.json"
    quick = ["--quick", "--repeats", "1", "--json", str(path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *part, *quick],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(path.read_text())
    assert {"date", "device", "jax", "optax"} <= found.keys()
    assert len(found["records"]) >= 2
    for record in found["records"]:
        assert record["part"] == part[0]
        assert record["low"] <= record["ratio"] <= record["high"]
        assert record["name"] in done.stdout
