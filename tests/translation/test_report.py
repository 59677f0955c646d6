"""What the report of a translation says, and what is refused."""

import jax
import jax.numpy as jnp
import optax
import pytest

import optax_extras as oxe
from tests.contract.runs import gradient
from tests.translation.runs import ADAM, STEPS, assert_same, params, run


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


# What is not the same run.
@pytest.mark.parametrize(
    ("old", "new", "target", "source"),
    [
        (ADAM, oxe.amsgrad(0.1), "nu_max", ""),
        (oxe.amsgrad(0.1), ADAM, "", "[0].nu_max"),
        (ADAM, oxe.adam(0.1, b1=0.8), "[0].mu", "[0].mu"),
        (oxe.adagrad(0.1), oxe.rmsprop(0.1), "[0].nu", "[0].nu"),
        (ADAM, oxe.sgd(0.1, momentum=0.9), "", "[0].nu"),
        (oxe.sgd(0.1, momentum=0.9), ADAM, "[0].nu", ""),
        (ADAM, oxe.adamax(0.1), "[0].nu", ""),
        (ADAM, oxe.adafactor(0.1), "", "[0].mu"),
        (oxe.with_average(ADAM, oxe.averages.ema(0.9)), ADAM, "", ".averages"),
        (ADAM, optax.chain(ADAM, optax.trace(0.9)), "[1].trace", ""),
    ],
)
def test_what_is_lost_is_said(old, new, target, source):
    _, state, at = run(old)
    _, report = oxe.translate(state, new, at, source=old)
    assert not report.exact
    found = [x for x in report.inexact if x.source == source]
    assert any(x.target.endswith(target) for x in found), str(report)
    with pytest.raises(ValueError, match="translate: `strict` must be False"):
        oxe.translate(state, new, at, source=old, strict=True)


def test_adagrads_sum_becomes_an_average():
    """Of gradients of one size, the sum of n squares is n times their average."""
    old, new = oxe.adagrad(0.1, initial_accumulator_value=0.0), oxe.rmsprop(0.1)
    ones = jax.tree.map(jnp.ones_like, params())
    state = old.init(params())
    for _ in range(STEPS):
        _, state = old.update(ones, state, params())
    translated, _ = oxe.translate(state, new, params(), source=old)
    assert_same(optax.tree.get(translated, "nu"), ones)


# Bad input.
def of(path, leaf):
    return {**params(), path: leaf}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (({}, ADAM, params()), "`state` must be that of an optimizer of this"),
        ((params(), ADAM, params()), "`state` must be that of an optimizer"),
        (
            ("adam", of("w", jnp.ones((3, 2)))),
            r"`state of 'w'` must have the shape \(3, 2\)",
        ),
        (("sgd",), "`params` must be given"),
        (("gradients",), "`source` must be given with `gradients`"),
        (("structure",), "`gradients` must have the params' tree structure"),
    ],
)
def test_bad_input(arguments, said):
    tx, keywords = ADAM, {}
    state = tx.init(params())
    given = {
        "adam": lambda other: (state, tx, other),
        "sgd": lambda: (oxe.sgd(0.1).init(params()), tx),
        "gradients": lambda: (state, tx, params()),
        "structure": lambda: (state, tx, params()),
    }
    name, *rest = arguments
    if isinstance(name, str) and name in given:
        arguments = given[name](*rest)
        keywords = (
            {"gradients": {"other": 1.0}} if name in ("gradients", "structure") else {}
        )
        keywords |= {"source": tx} if name == "structure" else {}
    with pytest.raises(ValueError, match=f"^translate: {said}"):
        oxe.translate(*arguments, **keywords)


def test_a_traced_state_is_refused():
    tx = ADAM
    with pytest.raises(TypeError, match="translate: `state` must have concrete"):
        jax.jit(lambda x: oxe.translate(x, tx, params())[0])(tx.init(params()))


def test_params_of_other_paths_are_left_over():
    _, state, _ = run(ADAM)
    other = {"v": jnp.ones((2, 3)), "b": jnp.ones(3)}
    _, report = oxe.translate(state, ADAM, other)
    assert [(x.target, x.note) for x in report.inexact][:1] == [("[0].mu", "v")]
    left = [x.note for x in report.rows if x.how == "left over"]
    assert left == ["w", "w"]


def test_the_trial_step():
    old = ADAM
    _, state, at = run(old)
    given = {"source": old, "gradients": gradient(at, STEPS)}
    assert (
        oxe.translate(state, oxe.adamw(0.1, weight_decay=0.0), at, **given)[1]
        .rows[-1]
        .exact
    )
    for other in (oxe.adam(0.2), oxe.adam(0.1, b2=0.9)):
        assert not oxe.translate(state, other, at, **given)[1].rows[-1].exact


def test_the_report_is_a_table():
    _, state, at = run(ADAM)
    report = oxe.translate(state, oxe.sgd(0.1, momentum=0.9), at)[1]
    lines = str(report).splitlines()
    assert lines[0].split() == [
        "new",
        "state",
        "source",
        "map",
        "exact",
        "ulps",
        "note",
    ]
    assert len(lines) == len(report.rows) + 1
    assert any(
        "[0].nu" in line and "left over" in line and "NO" in line for line in lines
    )
