"""`keras.load_variables`: a run of Keras that goes on here."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.parity.walks import keras_in_full_precision
from tests.translation.keras_runs import (
    ORDER,
    SHAPES,
    Run,
    difference,
    go_on,
    go_on_together,
    numbers,
    ours_together,
)

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras", reason="Keras is not installed")

STEPS = 12


@pytest.fixture(params=["float64"])
def floatx(request, monkeypatch):
    before = keras.config.floatx()
    keras.config.set_floatx(request.param)
    if request.param == "float64":
        keras_in_full_precision(monkeypatch)
    with jax.enable_x64(request.param == "float64"):
        yield request.param
    keras.config.set_floatx(before)


FALLING = (0.02, 8, 0.5)
CASES = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"momentum": 0.9, "learning_rate": FALLING}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.9, "centered": True}),
    ("RMSprop", {"momentum": 0.9, "learning_rate": FALLING}),
    ("Adam", {"amsgrad": True}),
    ("Adam", {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 7}),
    ("AdamW", {"learning_rate": FALLING}),
    ("Nadam", {}),
    ("Adamax", {}),
    ("Adagrad", {"initial_accumulator_value": 0.5}),
    ("Adadelta", {}),
    ("Lion", {"weight_decay": 0.1}),
    ("Lamb", {"weight_decay": 0.1}),
    ("Ftrl", {"initial_accumulator_value": 0.5, "l1_regularization_strength": 0.01}),
    ("Adafactor", {}),
    ("Muon", {}),
    ("ScheduleFreeAdamW", {"beta_1": 0.8, "warmup_steps": 18}),
]


def both(name, kw, dtype):
    """A run of Keras, and our optimizer with another constant learning rate."""
    rate = kw.get("learning_rate", 0.01)
    theirs, ours = rate, 0.3
    if rate is FALLING:
        theirs = keras.optimizers.schedules.ExponentialDecay(*rate)
        ours = oxe.keras.ExponentialDecay(*rate)
    make = getattr(oxe.keras, name)
    return (
        Run(name, dtype, **{**kw, "learning_rate": theirs}),
        make(**{**kw, "learning_rate": ours}),
    )


def check(cases, dtype, tolerance):
    runs, txs = zip(*(both(*case, dtype) for case in cases), strict=True)
    go_on_together(runs, numbers(1, dtype, (STEPS,)))
    starts, grads = [run.params for run in runs], numbers(2, dtype, (STEPS,))
    states = map(loaded, runs, txs, [kw for _, kw in cases])
    found = ours_together(txs, grads, zip(starts, states, strict=True))
    go_on_together(runs, grads)
    for case, run, before, params in zip(cases, runs, starts, found, strict=True):
        traveled = difference(run.params, before)
        assert difference(params, run.params) <= tolerance * traveled, case


def loaded(run, tx, kw):
    state, report = oxe.keras.load_variables(
        tx, run.variables, run.params, ORDER, config=run.config, strict=True
    )
    assert report.exact
    assert int(optax.tree.get_all_with_path(state, "count")[0][1]) == STEPS
    if kw.get("use_ema"):
        (averages,) = optax.tree.get_all_with_path(state, "averages")
        kept = [x for x in run.variables if x.name.endswith("_average")]
        for k, x in zip(SHAPES, kept, strict=True):
            found = averages[1]["average"][k]
            np.testing.assert_allclose(found, np.asarray(x), rtol=1e-6)
    return state


@pytest.mark.parametrize("first", range(0, len(CASES), 5))
def test_goes_on_as_keras_does(floatx, first):
    """Five optimizers in one program."""
    check(CASES[first : first + 5], floatx, 1e-10)


@pytest.mark.parametrize("floatx", ["float32"], indirect=True)
def test_in_float32(floatx):
    check([CASES[i] for i in (4, 9)], floatx, 5e-5)


@pytest.mark.full
@pytest.mark.parametrize("floatx", ["float32"], indirect=True)
def test_in_float32_of_every_case(floatx):
    check(CASES, floatx, 5e-5)


@pytest.mark.parametrize("case", [7, 9, 16])
def test_other_ways_to_give_them(floatx, case):
    """Arrays in Keras' order; a dict by names; a dict by numbers, as Keras saves."""
    name, kw = CASES[case]
    run, tx = both(name, kw, floatx)
    run.go_on(numbers(1, floatx, (5,)))
    expected, _ = oxe.keras.load_variables(tx, run.variables, run.params, ORDER)
    arrays = [np.asarray(x) for x in run.variables]
    by_name = {x.name: np.asarray(x) for x in run.variables}
    numbered = {str(i): x for i, x in enumerate(arrays)}
    ways = [arrays, by_name, numbered]
    if name == "Adafactor":  # its means of rows and of columns have the same name
        del ways[1]
    for given in ways:
        state, _ = oxe.keras.load_variables(tx, given, run.params, ORDER)
        jax.tree.map(np.testing.assert_array_equal, state, expected)


@pytest.mark.parametrize(("name", "kw"), CASES, ids=str)
def test_before_any_update(floatx, name, kw):
    """The state is that of `init`, but for the learning rate."""
    run, tx = both(name, kw, floatx)
    given = (run.variables, run.params, ORDER)
    state, report = oxe.keras.load_variables(tx, *given, config=run.config)
    assert report.exact
    first = tx.init(run.params)
    if "learning_rate" not in kw:
        first = oxe.set_hyperparameters(first, learning_rate=0.01)
    same = jax.tree.map(lambda x, y: bool(jnp.all(x == y)), state, first)
    # Keras' average starts at 0, and its first update makes it a copy.
    different = [p for p, x in jax.tree_util.tree_leaves_with_path(same) if not x]
    assert all("averages" in jax.tree_util.keystr(path) for path in different)


def test_adafactor_of_a_transposed_kernel(floatx):
    """The means of its rows are those of the other's columns."""
    run, tx = both("Adafactor", {}, floatx)
    run.go_on(numbers(1, floatx, (5,)))
    plain, _ = oxe.keras.load_variables(tx, run.variables, run.params, ORDER)
    turned = {k: jnp.transpose(x) for k, x in run.params.items()}
    state, _ = oxe.keras.load_variables(
        tx, run.variables, turned, ORDER, transpose=lambda path, x: x.T
    )
    row, column = (
        optax.tree.get(state, name)["kernel"] for name in ("nu_row", "nu_column")
    )
    np.testing.assert_array_equal(row, optax.tree.get(plain, "nu_column")["kernel"].T)
    np.testing.assert_array_equal(column, optax.tree.get(plain, "nu_row")["kernel"].T)


def test_the_average_of_schedule_free(floatx):
    """Keras does not store it: y = beta_1 x + (1 - beta_1) z."""
    run, tx = both("ScheduleFreeAdamW", {"beta_1": 0.8}, floatx)
    run.go_on(numbers(1, floatx, (5,)))
    state, _ = oxe.keras.load_variables(tx, run.variables, run.params, ORDER)
    x, z = oxe.averaged(state), optax.tree.get(state, "z")
    for k, y in run.params.items():
        np.testing.assert_allclose(0.8 * x[k] + 0.2 * z[k], y, rtol=1e-14)
    # In a chain `beta_1` is not known: x starts at y, and the first update finds it.
    chain = optax.chain(tx)
    state, report = oxe.keras.load_variables(chain, run.variables, run.params, ORDER)
    assert [row.target for row in report.inexact] == ["[0].averages"]
    grads, variables, first = numbers(2, floatx, (STEPS,)), run.variables, run.params
    params = go_on(chain, grads, first, state)
    _, report = oxe.keras.load_variables(oxe.adam(0.1), variables, first, ORDER)
    assert [row.source for row in report.inexact if row.source] == ["momentum"]
    run.go_on(grads)
    assert difference(params, run.params) <= 1e-10 * difference(first, run.params)


def test_wrappers_of_keras(floatx):
    """The variables of the optimizer inside are loaded, into a wrapper, too."""
    inner = keras.optimizers.Adam(0.01)
    wrapper = keras.optimizers.LossScaleOptimizer(inner)
    run = Run("Adam", floatx)
    wrapper.build(run.trained)
    tx = oxe.keras.LossScaleOptimizer(oxe.keras.Adam(0.1))
    with pytest.raises(ValueError, match=r"`variables` must be .*LossScaleOptimizer"):
        oxe.keras.load_variables(tx, wrapper.variables, run.params, ORDER)
    state, _ = oxe.keras.load_variables(tx, inner.variables, run.params, ORDER)
    assert float(oxe.learning_rate(state)) == pytest.approx(0.01)


def test_into_another_optimizer(floatx):
    """A row says what is assumed, and what is left over."""
    run = Run("Adagrad", floatx)
    run.go_on(numbers(1, floatx, (5,)))
    tx = oxe.adagrad(0.0, 0.0, initial_accumulator_value=0.1 + 1e-7)
    state, report = oxe.keras.load_variables(tx, run.variables, run.params, ORDER)
    assert any("taken to have started at 0.1" in row.note for row in report.rows)
    grads = numbers(2, floatx, (STEPS,))
    params = go_on(tx, grads, run.params, state)
    run.go_on(grads)
    assert difference(params, run.params) <= 1e-12
    run = Run("Adam", floatx)
    tx = optax.chain(optax.clip_by_global_norm(1.0), oxe.sgd(0.1, momentum=0.9))
    _, report = oxe.keras.load_variables(tx, run.variables, run.params, ORDER)
    assert ("velocity", "left over") in [
        (row.source, row.how) for row in report.inexact
    ]


def test_accumulated_gradients(floatx):
    """Keras counts batches, and the gradients so far are lost."""
    run = Run("Adam", floatx, gradient_accumulation_steps=3)
    run.go_on(numbers(1, floatx, (6,)))
    tx, given = oxe.keras.Adam(), (run.variables, run.params, ORDER)
    more = {"config": run.config}
    _, report = oxe.keras.load_variables(tx, *given, **more)
    assert [row.note for row in report.inexact] == [
        "`iteration` counts batches: give `count`"
    ]
    state, report = oxe.keras.load_variables(tx, *given, **more, count=2, strict=True)
    assert report.exact
    assert int(state[0].count) == 2


def test_order_by_name(floatx):
    """A dict by the names of Keras, for params in other places."""
    run = Run("Adam", floatx)
    run.go_on(numbers(1, floatx, (5,)))
    params = {"layer": run.params}
    tx, order = oxe.keras.Adam(), {k: f"layer/{k}" for k in reversed(SHAPES)}
    state, _ = oxe.keras.load_variables(tx, run.variables, params, order)
    expected, _ = oxe.keras.load_variables(tx, run.variables, run.params, ORDER)
    jax.tree.map(np.testing.assert_array_equal, state[0].nu["layer"], expected[0].nu)


def test_transposed_and_square(floatx):
    """A square matrix would fit transposed, too: the report warns."""
    run = Run("SGD", floatx, momentum=0.9)
    run.go_on(numbers(1, floatx, (5,)))
    turned = {k: jnp.transpose(x) for k, x in run.params.items()}
    tx = oxe.keras.SGD(momentum=0.9)
    state, report = oxe.keras.load_variables(
        tx, run.variables, turned, ORDER, transpose=lambda path, x: x.T
    )
    plain, _ = oxe.keras.load_variables(tx, run.variables, run.params, ORDER)
    np.testing.assert_array_equal(state[0].mu["kernel"], plain[0].mu["kernel"].T)
    assert not [row for row in report.rows if row.source == "square matrices"]
    square = {"iteration": np.int32(1), "w_momentum": np.ones((3, 3))}
    _, report = oxe.keras.load_variables(tx, square, {"w": jnp.ones((3, 3))})
    assert [row.note for row in report.rows if row.source == "square matrices"]


def test_two_params_of_one_name(floatx):
    """They are told apart by their order."""
    names = ["iteration", "learning_rate"] + ["kernel_momentum", "kernel_velocity"] * 2
    values = [np.int32(1), 0.1, np.ones(2), np.ones(2), 2 * np.ones(2), 2 * np.ones(2)]

    class Variable:
        def __init__(self, path, value):
            self.path, self.value = path, value

    variables = [Variable(*pair) for pair in zip(names, values, strict=True)]
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    state, _ = oxe.keras.load_variables(oxe.keras.Adam(), variables, params)
    assert [float(state[0].mu[k][0]) for k in params] == [1, 2]


def test_what_is_refused(floatx):
    run = Run("Adam", floatx)
    tx, params = oxe.keras.Adam(), run.params
    arrays = [np.asarray(x) for x in run.variables]
    load = oxe.keras.load_variables
    for given, message in [
        ((tx, run.trained, params), "`variables` must have an `iteration`"),
        ((tx, 3.0, params), "`variables` must be a list or a dict of them"),
        ((tx, arrays, params), "must have the shape"),  # sorted keys
        (
            (tx, run.variables, {"w": jnp.ones(3)}),
            "be for as many params as .*: 1, got 3",
        ),
        (
            (tx, run.variables, params, ["kernel", "bias", "w"]),
            "`order` must have paths",
        ),
        (
            (tx, arrays[:-1], params, ORDER),
            "must have the 8 arrays of Adam for 3 params",
        ),
        ((oxe.adam(0.1), arrays, params, ORDER), "must have names if `tx` is not"),
        ((oxe.keras.Muon(), arrays, params, ORDER), "must have names for Muon"),
        ((oxe.keras.Lamb(), run.variables, params, ORDER), "must be of Lamb"),
        ((oxe.keras.SGD(), run.variables, params, ORDER), "must be of SGD, as `tx` is"),
    ]:
        with pytest.raises(
            (ValueError, TypeError), match=f"^load_variables: .*{message}"
        ):
            load(*given)
    extra = {x.path: np.asarray(x) for x in run.variables} | {"adam/speed": np.ones(3)}
    _, report = load(tx, extra, params, ORDER)
    assert [row.source for row in report.inexact] == ["speed"]
    run.go_on(numbers(1, floatx, (2,)))
    missing = [x for x in run.variables if not x.name.endswith("bias_velocity")]
    _, report = load(tx, missing, params, ORDER)
    assert [(row.target, row.note) for row in report.inexact[:1]] == [
        ("[0].nu", "bias")
    ]
