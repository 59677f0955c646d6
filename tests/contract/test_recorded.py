"""States that older releases saved are understood: each field, and what follows."""

import io
import json
import re
import zipfile
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_extras as oxe
from tests.contract import discovery
from tests.contract.recorded import FOLDER, STOP, STRUCTURES, named, structure_of
from tests.contract.resuming import CASES, case_of, read as arrays_in
from tests.contract.runs import assert_close, gradient, run_of

FILES = sorted(FOLDER.glob("*.zip"))


@cache
def names_in(path):
    with zipfile.ZipFile(path) as file:
        names = file.namelist()
    return [x.removesuffix(".npz") for x in names if x.endswith(".npz")]


def read(path, name):
    """What the file holds of a case, in its order."""
    with zipfile.ZipFile(path) as file:
        return arrays_in(io.BytesIO(file.read(f"{name}.npz")))


def part(found, head):
    return {key: x for key, x in found.items() if key.startswith(head)}


def state_now(case):
    return jax.eval_shape(case.make().init, case.params())


RECORDED = [(path, name) for path in FILES for name in names_in(path)]


def each_recorded(where=lambda case: True):
    return pytest.mark.parametrize(
        ("path", "name"),
        [
            pytest.param(
                path,
                name,
                marks=pytest.mark.full if case_of(name).is_slow else (),
                id=f"{path.stem}-{name}",
            )
            for path, name in RECORDED
            if where(case_of(name))
        ],
    )


def test_everything_is_recorded():
    """New cases go into a new file, before a release: see `recorded.py`."""
    known = {name for _, name in RECORDED}
    assert len(known) > 100
    missing = [case.name for case in CASES if case.name not in known]
    if missing:
        pytest.skip(f"not recorded yet: {', '.join(missing)}")


def test_metrics_are_recorded():
    """Metric schedules are recorded in a state that has counted some metrics."""
    moved = set()
    for path, name in RECORDED:
        found = read(path, name)
        best = [x for key, x in found.items() if key.endswith(".best")]
        counted = [
            x for key, x in found.items() if key.endswith((".num_bad", ".num_good"))
        ]
        if part(found, "told") and best and np.isfinite(best).all() and any(counted):
            moved.add(name)
    answering = {x.name for x in discovery.CASES if discovery.monitors(state_now(x))}
    assert {"scale_by_metric", "nadam-greedy", "switch-on_plateau"} <= answering
    # `rprop` reads its rate once, before the first step.
    assert (answering & {name for _, name in RECORDED}) - {"rprop-metric"} <= moved


@cache
def recorded_fields():
    """The leaves that are recorded of each field of a state, in all files."""
    found = {}
    for path, name in RECORDED:
        for key, x in part(read(path, name), "state").items():
            for field in re.findall(r"\.(\w+)", key):
                found.setdefault(field, []).append(x)
    return found


def test_every_field_is_recorded():
    """With a leaf: of one that is empty in every recording nothing is known."""
    states = [getattr(oxe.states, x) for x in oxe.states.__all__]
    # But those of optimizers that are not recorded yet.
    new = {x.plain_name for x in CASES} - {name for _, name in RECORDED}
    states = [x for x in states if x.__module__.rpartition(".")[2] not in new]
    # The one metric schedule that no case has: timm's, with a warm-up.
    states.remove(oxe.states.MetricWarmupState)
    # Fields of these types have no leaf.
    fields = {
        field
        for x in states
        for field in x._fields
        if x.__annotations__[field] not in (dict, tuple)
    }
    assert fields - set(recorded_fields()) == set()


def test_half_precision_is_recorded():
    """Weights that no half-precision number is, and what was lost, of both dtypes."""
    fields = recorded_fields()
    for dtype in (jnp.float16, jnp.bfloat16):
        assert any((x != x.astype(dtype)).all() for x in fields["master"])
        assert any(x.dtype == dtype and x.any() for x in fields["lost"])


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_leaves_are_as_recorded(path):
    """Their names, order, dtypes and shapes: some ways to save go by one of these."""
    for name in names_in(path):
        then = part(read(path, name), "state")
        now = named("state", state_now(case_of(name)))
        assert list(then) == list(now), name
        for key, x in then.items():
            assert (x.dtype, x.shape) == (now[key].dtype, now[key].shape), (name, key)


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_structures_are_as_recorded(path):
    with zipfile.ZipFile(path) as file:
        then = json.loads(file.read(STRUCTURES))
    assert list(then) == names_in(path)
    for name, structure in then.items():
        now = structure_of(state_now(case_of(name)))
        assert structure == now, name
        assert list(structure) == list(now), name


@each_recorded()
def test_goes_on_from_what_was_recorded(path, name):
    case, then = case_of(name), read(path, name)
    params = case.params()
    state = jax.tree.structure(state_now(case)).unflatten(part(then, "state").values())
    told = {key[len("told['") : -len("']")]: x for key, x in part(then, "told").items()}
    told = told if discovery.monitors(state) else {}
    u, _ = run_of(case).update(gradient(params, STOP), state, params, **told)
    assert_close(named("update", u), part(then, "update"), case.ulps)


class Before(NamedTuple):
    a: object = None
    b: object = None


class After(NamedTuple):
    a: object = None
    b: object = None
    c: object = None


def test_what_a_structure_tells():
    """A field that is None, an empty part; and nothing of the leaves."""
    two = (Before(1, {"x": 2}), ())
    assert structure_of(two) == structure_of((Before(3, {"x": 4}), ()))
    for other in (
        (Before(1, {"x": 2}), None),
        (Before(1, {"x": 2}), (None,)),
        (Before(1, {"x": None}), ()),
        (After(1, {"x": 2}), ()),
        (Before(1, {"x": 2}),),
    ):
        assert structure_of(two) != structure_of(other)
