"""The weights of a decay from snapshots of two power averages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import optax_extras as oxe
from tests.averages.loops import walk
from tests.averages.test_decay import SHAPES

GAMMAS = {"narrow": 16.97, "wide": 6.94}
INF = float("inf")


def profile(t, gamma):
    """The coefficients of w_1, ..., w_t in a snapshot, as the paper defines them."""
    if gamma == INF:
        return np.eye(t)[-1]
    return np.diff((np.arange(t + 1) / t) ** (gamma + 1))


def snapshot(t, weights, gammas=GAMMAS):
    """Of a tree of runs; each leaf holds w_1, ..., w_T."""

    def averages(gamma):
        p = profile(t, gamma)
        return {key: np.tensordot(p, w[:t], 1) for key, w in weights.items()}

    return oxe.averages.Snapshot(
        np.int32(t), {name: averages(g) for name, g in gammas.items()}, gammas
    )


def run(every, steps, gammas=GAMMAS, weights=None):
    weights = {"w": np.eye(steps)} if weights is None else weights
    return [snapshot(t, weights, gammas) for t in range(every, steps + 1, every)]


def empty(*counts, gammas=GAMMAS):
    """Snapshots whose averages do not matter."""
    nothing = dict.fromkeys(gammas, 0.0)
    return [oxe.averages.Snapshot(t, nothing, gammas) for t in counts]


def factors(shape, at, steps, end_fraction=0.0):
    """D_1, ..., D_at."""
    d = SHAPES[shape][1](np.arange(steps) / steps)
    return np.r_[np.ones(at - steps), end_fraction + (1 - end_fraction) * d]


def decayed(shape, at, steps, end_fraction=0.0):
    """The coefficients of w_1, ..., w_at in the weights that a decay ends in."""
    return -np.diff(np.r_[factors(shape, at, steps, end_fraction), 0])


def rebuild(snapshots, shape, **given):
    return oxe.averages.rebuild(snapshots, shape, power=SHAPES[shape][0], **given)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_best_combination_of_the_snapshots(shape):
    """By the normal equations of the constrained problem. The weights are unit vectors,
    so the params are the coefficients that each update has."""
    rebuilt = rebuild(run(10, 120), shape, at=93, steps=41, end_fraction=0.1)
    columns = [(t, g) for t in range(10, 101, 10) for g in GAMMAS.values()]
    p = np.stack([np.r_[profile(t, g), np.zeros(120 - t)] for t, g in columns])
    c = np.r_[decayed(shape, 93, 41, 0.1), np.zeros(120 - 93)]
    ones = np.ones((1, len(p)))
    system = np.block([[p @ p.T, ones.T], [ones, np.zeros((1, 1))]])
    best = np.linalg.solve(system, np.r_[p @ c, 1])[:-1] @ p
    np.testing.assert_allclose(rebuilt.params["w"], best, rtol=0, atol=1e-12)
    error = np.linalg.norm(best - c) / np.linalg.norm(c)
    assert rebuilt.relative_error == pytest.approx(error, rel=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_it_says_about_the_decay_is_true(shape):
    rebuilt = rebuild(run(20, 200), shape, at=200, steps=70, end_fraction=0.2)
    np.testing.assert_array_equal(rebuilt.steps, np.arange(201))
    wanted = np.r_[factors(shape, 200, 70, 0.2), 0]
    np.testing.assert_allclose(rebuilt.wanted, wanted, rtol=0, atol=1e-13)
    # The update after step b has what all later coefficients sum to.
    coefficients = rebuilt.params["w"]
    achieved = np.r_[np.cumsum(coefficients[::-1])[::-1], 0]
    np.testing.assert_allclose(rebuilt.achieved, achieved, rtol=0, atol=1e-12)
    largest = np.abs(achieved - wanted).max()
    assert rebuilt.largest_difference == pytest.approx(largest, abs=1e-12)
    by_name = rebuilt.coefficients
    assert set(by_name) == set(GAMMAS)
    assert sum(x.sum() for x in by_name.values()) == pytest.approx(1, abs=1e-12)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.data())
def test_a_profile_that_the_snapshots_have_is_found_exactly(seed, n, data):
    """A random combination of them, as the decay of a function."""
    rng = np.random.default_rng(seed)
    gammas = {"a": 2.0, "b": 9.0}
    snapshots = run(12, 12 * n, gammas)
    at = 12 * n
    mass = rng.dirichlet(np.ones(2 * n))
    columns = [profile(x.count, g) for x in snapshots for g in gammas.values()]
    padded = np.stack([np.r_[p, np.zeros(at - len(p))] for p in columns])
    c = mass @ padded
    d = np.r_[1, 1 - np.cumsum(c)]

    def shape(x):
        return (
            jnp.ones(())
            if jnp.ndim(x) == 0
            else np.interp(x * at, np.arange(at + 1), d)
        )

    rebuilt = oxe.averages.rebuild(snapshots, shape, at=at, steps=at)
    np.testing.assert_allclose(rebuilt.params["w"], c, rtol=0, atol=1e-10)
    assert rebuilt.relative_error < 1e-9


# The relative errors in percent, and the largest difference of the factors, that the
# feasibility study for this function found by the exact weights, for 10,000 updates:
# for decays of the last 10, 20 and 40 %.
FOUND = {
    ("linear", 20): (1.0, 2.0, 0.002),
    ("linear", 40): (0.25, 0.5, 0.001),
    ("cosine", 20): (2.0, 10.5, 0.02),
    ("cosine", 40): (0.4, 2.7, 0.003),
    ("1-sqrt", 20): (60, 70, 0.11),
    ("1-sqrt", 40): (60, 70, 0.11),
}


@pytest.mark.parametrize(("shape", "parts"), FOUND)
def test_how_near_it_comes(shape, parts):
    least, most, difference = FOUND[shape, parts]
    nothing = {"w": np.zeros((10_000, 1))}
    # Widths 0.05 and 0.10 of Karras et al.
    snapshots = run(10_000 // parts, 10_000, GAMMAS, nothing)
    for steps in (1000, 4000):
        rebuilt = rebuild(snapshots, shape, at=10_000, steps=steps)
        assert least < 100 * rebuilt.relative_error < most
        assert rebuilt.largest_difference < difference


def test_the_weights_themselves_help_where_a_decay_is_steep():
    """One snapshot of them after the first update of the decay."""
    snapshots = run(20, 400)
    without = rebuild(snapshots, "1-sqrt", at=400, steps=100)
    extra = snapshot(301, {"w": np.eye(400)}, {**GAMMAS, "weights": INF})
    at_start = sorted([*snapshots, extra], key=lambda x: x.count)
    both = rebuild(at_start, "1-sqrt", at=400, steps=100)
    assert both.relative_error < 0.7 * without.relative_error
    wanted = decayed("1-sqrt", 400, 100)
    error = np.linalg.norm(both.params["w"] - wanted) / np.linalg.norm(wanted)
    assert both.relative_error == pytest.approx(error, rel=1e-9)
    assert np.flatnonzero(both.coefficients["weights"]).tolist() == [15]


def test_snapshots_of_the_weights_alone_are_merged():
    """A checkpoint after every update gives any decay."""
    snapshots = run(1, 30, {"weights": INF})
    for shape in SHAPES:
        rebuilt = rebuild(snapshots, shape, at=30, steps=20)
        wanted = decayed(shape, 30, 20)
        np.testing.assert_allclose(rebuilt.params["w"], wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("steps", [10**6, 2**31 - 1])
def test_long_runs_are_solved_in_cells(steps):
    """The same as the run of 10,000 updates that they are a finer division of."""
    short, long = (empty(*(k * n // 20 for k in range(1, 21))) for n in (10_000, steps))
    for shape in ("linear", "cosine"):
        wanted = rebuild(short, shape, at=10_000, steps=2000)
        found = rebuild(long, shape, at=steps, steps=steps // 5)
        assert found.relative_error == pytest.approx(wanted.relative_error, rel=0.02)
        for name in GAMMAS:
            a, b = found.coefficients[name], wanted.coefficients[name]
            np.testing.assert_allclose(a, b, rtol=0, atol=2e-2)


def test_what_the_cells_are():
    few = rebuild(empty(7500, 15_000), "linear", at=15_000, steps=100)
    np.testing.assert_array_equal(few.steps, np.arange(15_001))
    snapshots = [*empty(10**6), *empty(10**7, gammas={**GAMMAS, "weights": INF})]
    many = rebuild(snapshots, "linear", at=9_999_995, steps=7_654_321)
    assert many.steps.dtype.kind == "i"
    assert len(many.steps) <= 20_100
    # Both ends of the decay and of the snapshots, and updates that count by themselves.
    start, end = 9_999_995 - 7_654_321, 9_999_995
    needed = {0, 10**6, 10**7 - 1, 10**7, start, start + 1, end - 1, end}
    assert needed <= {*many.steps.tolist()}


def averages_of(weights, gamma):
    """As `oxe.with_average` makes them, in float32."""
    average, a, found = oxe.averages.power(gamma), weights[0], []
    c = np.asarray(average.weight(jnp.arange(1, len(weights))))
    for c_t, w in zip(c, weights[1:], strict=True):
        a = a + c_t * (w - a)
        found.append(a)
    return found


def test_a_run_of_the_library_from_its_averages_to_the_decayed_weights():
    """Of a sequence of updates that does not depend on the weights."""
    w = walk(200).astype(np.float32)
    averages = {name: averages_of(w, gamma) for name, gamma in GAMMAS.items()}
    gammas = {name: jnp.float32(gamma) for name, gamma in GAMMAS.items()}
    snapshots = [
        oxe.averages.Snapshot(
            jnp.int32(t),
            {name: jnp.asarray(a[t - 1]) for name, a in averages.items()},
            gammas,
        )
        for t in range(5, 201, 5)
    ]
    for at, steps in ((200, 80), (115, 50)):
        rebuilt = rebuild(snapshots, "linear", at=at, steps=steps)
        wanted = walk(200)[at - steps + 1 : at + 1].mean(0)
        # Each factor is off by this at most, and the updates sum to a distance.
        distance = np.abs(np.diff(walk(200), axis=0)).sum(0).max()
        tolerance = rebuilt.largest_difference * distance
        assert rebuilt.largest_difference < 1e-3
        np.testing.assert_allclose(rebuilt.params, wanted, rtol=0, atol=tolerance)


def test_leaves():
    weights = {
        "float32": np.ones((40, 2), np.float32),
        "bfloat16": jnp.ones((40, 2), jnp.bfloat16),
        "float64": np.ones((40, 3)),
        "complex": np.ones(40, np.complex64),
    }
    trees = [
        {
            **{key: w[t - 1] for key, w in weights.items()},
            "count": np.int32(t),
            "key": jax.random.key(t),
            "nothing": None,
        }
        for t in (10, 20, 30, 40)
    ]
    snapshots = [
        oxe.averages.Snapshot(t, dict.fromkeys(GAMMAS, tree), GAMMAS)
        for t, tree in zip((10, 20, 30, 40), trees, strict=True)
    ]
    params = oxe.averages.rebuild(snapshots, "linear", at=32, steps=9).params
    found = {key: params[key].dtype.name for key in weights}
    wanted = {key: key for key in weights}
    assert found == {**wanted, "bfloat16": "float32", "complex": "complex64"}
    for key in weights:
        np.testing.assert_array_equal(params[key], 1)  # coefficients sum to 1
    assert params["count"] == 30  # the nearest snapshot's
    assert params["key"] == jax.random.key(30)
    assert params["nothing"] is None
    assert isinstance(params["float32"], np.ndarray)


def test_it_runs_inside_jit():
    """The trees may be traced, the counts may not."""

    def params(scale):
        snapshots = run(5, 20, weights={"w": np.arange(1.0, 21)})
        scaled = [
            x._replace(averages=jax.tree.map(lambda a: a * scale, x.averages))
            for x in snapshots
        ]
        return oxe.averages.rebuild(scaled, "linear", at=20, steps=8).params["w"]

    np.testing.assert_allclose(jax.jit(params)(2.0), 2 * params(1.0), rtol=1e-5)


GOOD = [
    oxe.averages.Snapshot(t, {key: {"w": np.ones(2)} for key in GAMMAS}, GAMMAS)
    for t in (10, 20, 30)
]


def replaced(**fields):
    """Good snapshots with another last one."""
    return [*GOOD[:2], GOOD[2]._replace(**fields)]


TREES = {"narrow": {"w": np.ones(2)}, "wide": {"w": np.ones(3)}}
OTHER = {"narrow": {"w": np.ones(2)}, "wide": {"v": np.ones(2)}}
BAD = [
    (
        {"snapshots": GOOD[0]},
        "`snapshots`[0] must be an oxe.averages.Snapshot, got ",
    ),
    ({"snapshots": 3}, "`snapshots` must be a sequence, got 3 of type int."),
    ({"snapshots": []}, "`snapshots` must be at least two, got 0."),
    ({"snapshots": GOOD[:1]}, "`snapshots` must be at least two, got 1."),
    (
        {"snapshots": [GOOD[0], GOOD[0]]},
        "`snapshots`[1] must have a count above 10, that of the one before, got 10.",
    ),
    (
        {"snapshots": GOOD[::-1]},
        "`snapshots`[1] must have a count above 30, that of the one before, got 20.",
    ),
    (
        {"snapshots": replaced(count=30.0)},
        "`snapshots`[2].count must be an integer of at least 1, got 30.0 of type ",
    ),
    (
        {"snapshots": replaced(gammas={"narrow": 16.97})},
        "`snapshots`[2] must have a gamma for each of its averages, at least one, got "
        "{'averages': ['narrow', 'wide'], 'gammas': ['narrow']}.",
    ),
    (
        {"snapshots": replaced(gammas={"narrow": 16.97, "wide": 7.0})},
        "`snapshots`[2] must have the power averages of the first, {'narrow': 16.97, "
        "'wide': 6.94}, got {'narrow': 16.97, 'wide': 7.0}.",
    ),
    (
        {"snapshots": replaced(gammas={"narrow": 16.97, "wide": -1})},
        "`snapshots`[2].gammas[wide] must be in [0, inf], got -1.0.",
    ),
    (
        {"snapshots": replaced(gammas={"narrow": 16.97, "wide": None})},
        "`snapshots`[2].gammas[wide] must be a real number, got None of type NoneType.",
    ),
    (
        {"snapshots": replaced(averages=TREES)},
        "`snapshots`[2].averages[wide] must have the leaves of the first snapshot, "
        "['w']: (2,), got (3,).",
    ),
    (
        {"snapshots": replaced(averages=OTHER)},
        "`snapshots`[2].averages[wide] must have the leaves of the first snapshot, "
        "['w']: (2,), got None.",
    ),
    (
        {"at": 31},
        "`at` must be above 10 and at most 30, the first and last count, got 31.",
    ),
    (
        {"at": 10},
        "`at` must be above 10 and at most 30, the first and last count, got 10.",
    ),
    ({"steps": 26}, "`steps` must be at most `at`, 25, got 26."),
    ({"steps": 0}, "`steps` must be an integer of at least 1, got 0."),
    ({"shape": "power"}, "`power` must be given for the shape 'power', got None."),
    (
        {"shape": lambda x: jnp.ones(())},
        "`shape` must return an array like its argument, got ",
    ),
]


@pytest.mark.parametrize(("given", "message"), BAD, ids=[m for _, m in BAD])
def test_bad_arguments(given, message):
    arguments = {"snapshots": GOOD, "shape": "linear", "at": 25, "steps": 5, **given}
    with pytest.raises((TypeError, ValueError)) as caught:
        oxe.averages.rebuild(**arguments)
    assert str(caught.value).startswith(f"rebuild: {message}")
