"""What a compiled step does per weight: one pass, scalars folded out of it."""

import jax
import jax.numpy as jnp
import optax
import pytest

from tests.contract.discovery import OF_SHAPE, OPTIMIZERS
from tests.optimizers.programs import work

LEAF = (512, 256)
CASES = [
    pytest.param(case, id=case.name)
    for case in OPTIMIZERS
    if case.plain_name not in OF_SHAPE
]
# Divisions and roots of whole leaves that a rule cannot do without; others have one of
# each at most. A bias correction, a rate or a decay is a scalar and divides no leaf.
DIVISIONS = {"heavy_ball": 0, "asgd": 0, "SGD": 0, "ASGD": 0}
ROOTS = {**DIVISIONS, **dict.fromkeys(("adamax", "Adamax", "rprop", "Rprop"), 0)}
ROOTS |= {"adadelta": 2, "Adadelta": 2}


# Of all kinds, the rate and the step itself among them: three or so for each buffer,
# and no room for a scalar's work done on a leaf. SWATS looks at its steps, too.
OPERATIONS = {"SGD": 2, "heavy_ball": 10, "adagrad": 7, "asgd": 8, "ASGD": 8}
OPERATIONS |= {"adamax": 13, "Adamax": 13, "rprop": 17, "Rprop": 17}
OPERATIONS |= {"adadelta": 19, "Adadelta": 19, "swats": 22}
OPERATIONS |= {"adabound": 19, "amsbound": 20}  # a comparison for each bound
# XLA does not work out twice what has two readers, if it holds a root or a quotient.
TEMPORARIES = {"adadelta": 1, "rprop": 1, "swats": 1}


def step_of(case):
    tx = case.make()

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return tx, step


@pytest.mark.parametrize("case", CASES)
def test_scalars_stay_out_of_the_loop(case):
    tx, step = step_of(case)
    params = jnp.ones(LEAF)
    jaxpr = jax.make_jaxpr(step)(params, tx.init(params), params).jaxpr
    found = work(jaxpr, LEAF)
    assert found  # the walk sees something
    name = case.plain_name.rpartition(".")[2]
    assert found["div"] <= DIVISIONS.get(name, 1)
    assert found["sqrt"] <= ROOTS.get(name, 1)
    assert sum(found.values()) <= OPERATIONS.get(name, 18)
    assert not {"pow", "exp", "log", "rsqrt", "integer_pow"} & set(found)


@pytest.mark.parametrize("case", CASES)
def test_temporaries(case):
    """With the state donated nothing of the leaf's size is held beside it."""
    name = case.plain_name.rpartition(".")[2].lower()
    tx, step = step_of(case)
    assert held(step, tx) < (TEMPORARIES.get(name, 0) + 0.1) * 4 * LEAF[0] * LEAF[1]


def test_no_more_temporaries_than_optax():
    """Where one cannot be helped."""
    tx, step = step_of(next(c.values[0] for c in CASES if c.id == "adadelta"))

    def theirs(params, state, grads):
        updates, state = optax.adadelta(0.1).update(grads, state, params)
        return optax.apply_updates(params, updates), state

    assert held(step, tx) <= held(theirs, optax.adadelta(0.1))


def held(step, tx):
    """Bytes beside the arguments and the results."""
    params = jnp.ones(LEAF)
    jitted = jax.jit(step, donate_argnums=(0, 1))
    compiled = jitted.lower(params, tx.init(params), params).compile()
    return compiled.memory_analysis().temp_size_in_bytes
