"""Params with paths, groupings of them, and the partition that each grouping equals."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.contract.discovery import CASES, COMBINED, VALUES

# By path. Leaves of one shape share the programs of single operations.
PATHS = ("body/bias", "body/kernel", "embed/kernel", "head/bias", "head/kernel")
DEFAULT = ("embed/kernel", "head/bias")  # in the groupings that are not random
# Values for arguments without a default that is a number.
MORE = {
    "momentum": (0.5, 0.9),
    "base_lr": (0.05, 0.1),
    "min_steps": (500, 1000),
    "max_steps": (2000, 3000),
    "second_rate": (0.05, 0.1),
    "ema_overwrite_frequency": (5, 10),
    "warmup_steps": (5, 10),
}
# Pairs of numbers, each of which may depend on the path: tests/parity.
PAIRS = {"betas", "etas", "step_sizes"}


def each(names, quick):
    """A test for each, those that are not in `quick` marked `full`."""
    assert {*quick} & {*names}
    rows = [
        name if name in quick else pytest.param(name, marks=pytest.mark.full)
        for name in names
    ]
    return pytest.mark.parametrize("name", rows)


def tree_of(leaves):
    """A nested dict from leaves by path."""
    tree = {}
    for path, leaf in leaves.items():
        above, _, name = path.partition("/")
        tree.setdefault(above, {})[name] = leaf
    return tree


def by_name(tree):
    """Leaves by path, from a nested dict."""
    return {f"{x}/{y}": leaf for x, below in tree.items() for y, leaf in below.items()}


def params(shape=(3,), seed=0):
    rng = np.random.default_rng(seed)
    return tree_of({x: jnp.asarray(rng.normal(size=shape), "float32") for x in PATHS})


def gradient(like, step):
    """Gradients of about 1, others at each step."""
    rng = np.random.default_rng(1000 + step)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), like)


def steps(tx, first, count=3, update=None, state=None, begin=0, **extra):
    """All updates, the last params and the last state.

    `extra`: functions of the step.
    """
    state = tx.init(first) if state is None else state
    update, moved, us = update or tx.update, first, []
    for step in range(begin, begin + count):
        given = {name: x(step) for name, x in extra.items()}
        u, state = update(gradient(first, step), state, moved, **given)
        moved = optax.apply_updates(moved, u)
        us.append(u)
    return us, moved, state


def grouped(values):
    """`by_path` of a value for each path; equal values are one group."""
    groups = {}
    for path, value in values.items():
        groups.setdefault(id(value), (value, []))[1].append(path)
    *first, (last, _) = groups.values()
    return oxe.by_path({"|".join(map(re.escape, y)): x for x, y in first}, last)


def partitioned(make, values):
    """The partition of the same optimizers: one for each leaf.

    `values`: by argument, then by path.
    """
    txs = {
        path: make(**{argument: x[path] for argument, x in values.items()})
        for path in PATHS
    }
    return optax.partition(txs, tree_of({path: path for path in PATHS}))


def numbers_of(case):
    """Arguments that take a number, as the signature declares them."""
    annotations = inspect.getfullargspec(inspect.unwrap(case.factory)).annotations
    named = {key for key, x in annotations.items() if getattr(x, "is_number", False)}
    parameters = inspect.signature(case.factory).parameters
    return [key for key in parameters if key in named - PAIRS]


def values_of(case, number):
    """Numbers to try."""
    if number in case.numbers:
        return case.values(number)
    return MORE[number] if number in MORE else VALUES[number]


def refusal(case, number):
    """The error for a number that may not depend on the path; None if it may."""
    low, *_, high = values_of(case, number)
    value = oxe.by_path({".*kernel": high}, low)
    try:
        case.make(**{number: value})
    except (TypeError, ValueError) as error:
        return str(error)
    return None


EVERY = {
    case.name: case
    for case in CASES
    if case.is_plain and case.name not in COMBINED and not case.of_matrices
}
"""Every optimizer, transformation and rule of ours, but for matrices."""
OF_RULES = {
    name: case
    for name, case in EVERY.items()
    if name.removeprefix("scale_by_").removeprefix("rules.") in oxe.rules.__all__
    and not name.endswith("swats")  # which switches for all leaves
}
"""Those of which every number may depend on the path."""
