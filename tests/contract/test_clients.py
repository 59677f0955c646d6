"""Every optimizer in Flax NNX and Linen, Equinox, Haiku, Optimistix; on odd leaves."""

import copy
import warnings

import cloudpickle
import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix
import pytest

import optax_extras as oxe
from tests.contract import discovery
from tests.contract.devices import on_eight_devices
from tests.contract.runs import abstract, assert_close

with warnings.catch_warnings():
    # With the oldest jax, importing it uses deprecated names.
    warnings.simplefilter("ignore", DeprecationWarning)
    from flax import nnx
    from flax.training.train_state import TrainState

CASES = [x for x in discovery.CASES if not x.is_slow]
NAMES = [x.name for x in CASES]
# Keras' wrappers are Optax's inside: `optax.apply_if_finite`, whose `lax.cond` refuses
# Flax' sharding metadata, and `optax.partition`, whose states have nodes without a
# shape, and whose functions are new in every call.
LOSS_SCALE, PARTITION = "loss_scale", "multi_optimizer"
X = jnp.linspace(-1.0, 1.0, 8).reshape(4, 2)


each_case = pytest.mark.parametrize("case", CASES, ids=[x.name for x in CASES])


# ---- Flax NNX ------------------------------------------------------------------------


def model_of(case):
    """Two layers of the same shapes."""
    words = {"use_bias": not case.of_matrices, "rngs": nnx.Rngs(0)}
    return nnx.Sequential(nnx.Linear(2, 2, **words), nnx.Linear(2, 2, **words))


def complaint_or(call):
    """What a call returns, or its error in words."""
    try:
        return call()
    except ValueError as error:
        return str(error)


def loss(model):
    return jnp.mean(model(X) ** 2)


@pytest.mark.ci
@each_case
def test_nnx_has_one_structure_and_the_numbers_of_plain_jax(case):
    model, tx = model_of(case), case.make()
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    traces = []

    @nnx.jit
    def step(model, optimizer):
        traces.append(1)
        grads = nnx.grad(loss)(model)
        optimizer.update(model, grads)
        return nnx.to_pure_dict(grads)

    state, us = tx.init(params), jax.jit(tx.update)
    for _ in range(3):
        grads = step(model, optimizer)
        u, state = us(grads, state, params)
        params = optax.apply_updates(params, u)
    assert len(traces) == 1
    found = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    assert_close(found, params, max(16, case.ulps))
    rates = [
        complaint_or(lambda x=x: oxe.learning_rate(x))
        for x in (optimizer.opt_state, state)
    ]
    np.testing.assert_array_equal(*rates)


@pytest.mark.ci
@pytest.mark.parametrize("name", [x for x in NAMES if x != PARTITION])
def test_nnx_keeps_arrays_only(name):
    """What a loop over the flat state reads has a shape."""
    case = CASES[NAMES.index(name)]
    optimizer = nnx.Optimizer(model_of(case), case.make(), wrt=nnx.Param)
    for path, leaf in nnx.to_flat_state(nnx.state(optimizer)):
        value = leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf
        assert hasattr(value, "shape"), path


@pytest.mark.ci
@pytest.mark.parametrize("part", range(4))
def test_nnx_in_scan_and_cond(part):
    """Split and merged in `lax.scan`, and in `nnx.cond`: one structure throughout."""
    cases = CASES[part::4]
    models = nnx.List([model_of(case) for case in cases])
    txs = [case.make() for case in cases]
    made = zip(models, txs, strict=True)
    optimizers = nnx.List([nnx.Optimizer(*x, wrt=nnx.Param) for x in made])

    def update(models, optimizers):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.update(model, nnx.grad(loss)(model))

    graph, state = nnx.split((models, optimizers))

    @jax.jit
    def scanned(state):
        def step(state, _):
            both = nnx.merge(graph, state)
            update(*both)
            return nnx.state(both), None

        return jax.lax.scan(step, state, None, length=3)[0]

    @nnx.jit
    def conditional(models, optimizers):
        for go in (True, False, True, True):
            nnx.cond(jnp.asarray(go), update, lambda *_: None, models, optimizers)

    after = scanned(state)
    assert abstract(nnx.to_pure_dict(after)) == abstract(nnx.to_pure_dict(state))
    conditional(models, optimizers)
    # Programs that differ: roundings grow in products, and at a switch of signs.
    for i, case in enumerate(cases):
        pairs = [nnx.to_pure_dict(nnx.state(models[i]))]
        pairs += [nnx.to_pure_dict(nnx.state(nnx.merge(graph, after)[0][i]))]
        assert_close(*pairs, max(16, case.ulps))


# ---- Flax Linen and Haiku ------------------------------------------------------------


def of_layers(case):
    """The params of a model of two layers, as Linen and Haiku have them."""
    layer = {"kernel": jnp.array([[0.5, -1.0], [2.0, 0.25]])}
    layer |= {} if case.of_matrices else {"bias": jnp.ones(2)}
    return {"first": layer, "second": jax.tree.map(jnp.negative, layer)}


def plain_steps(tx, params, loss):
    """Three steps of Optax's own loop."""
    state = tx.init(params)
    for _ in range(3):
        u, state = tx.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, u)
    return params


def norm(params):
    return sum(jnp.sum(jnp.cos(x)) for x in jax.tree.leaves(params))


@pytest.mark.ci
def test_linen_train_states():
    """`TrainState`, whose optimizer is static: made again, it is another one."""

    @jax.jit
    def runs(trees):
        found = {}
        for case, params in zip(CASES, trees, strict=True):
            tx = case.make()
            train = TrainState.create(apply_fn=None, params=params, tx=tx)
            for _ in range(3):
                train = train.apply_gradients(grads=jax.grad(norm)(train.params))
            found[case.name] = train.params, plain_steps(tx, params, norm)
        return found

    for name, pair in runs([of_layers(case) for case in CASES]).items():
        assert_close(*pair, max(16, CASES[NAMES.index(name)].ulps))


@pytest.mark.ci
def test_haiku():
    """A transformed function, with Haiku's own params."""
    with_bias = {True: None, False: None}
    for bias in with_bias:
        made = hk.without_apply_rng(
            hk.transform(lambda x, b=bias: hk.nets.MLP([2, 2], with_bias=b)(x))
        )
        with_bias[bias] = made, made.init(jax.random.key(0), X)

    @jax.jit
    def runs(params):
        found = {}
        for case in CASES:
            made, first = with_bias[not case.of_matrices][0], params[case.of_matrices]

            def loss(params, made=made):
                return jnp.mean(made.apply(params, X) ** 2)

            found[case.name] = plain_steps(case.make(), first, loss)
        return found

    first = [with_bias[True][1], with_bias[False][1]]
    for name, params in runs(first).items():
        bias = not CASES[NAMES.index(name)].of_matrices
        assert abstract(params) == abstract(with_bias[bias][1]), name
        assert np.isfinite(jax.tree.leaves(params)[0]).all(), name


# ---- Sharding metadata ---------------------------------------------------------------

SHARDED = """
import json, sys
import jax, jax.numpy as jnp
import flax.linen as nn
from flax import nnx
from tests.contract import discovery

kind = getattr(jax.sharding.AxisType, sys.argv[1])
mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(kind,) * 2)
failed = {}

def run_nnx(case):
    init = nnx.with_partitioning(nnx.initializers.lecun_normal(), ("y", "x"))
    words = {"use_bias": False, "kernel_init": init, "rngs": nnx.Rngs(0)}
    model = nnx.Sequential(nnx.Linear(8, 16, **words), nnx.Linear(16, 16, **words))
    optimizer = nnx.Optimizer(model, case.make(), wrt=nnx.Param)
    before = jax.tree.map(jnp.shape, nnx.state(optimizer))
    grads = nnx.grad(lambda m: sum(jnp.sum(jnp.cos(x)) for x in jax.tree.leaves(
        nnx.to_pure_dict(nnx.state(m, nnx.Param)))))(model)
    for _ in range(2):
        optimizer.update(model, grads)
    assert jax.tree.map(jnp.shape, nnx.state(optimizer)) == before

def run_linen(case):
    init = nn.with_partitioning(nn.initializers.lecun_normal(), ("y", "x"))
    model, tx = nn.Dense(16, use_bias=False, kernel_init=init), case.make()

    def start(key):
        params = model.init(key, jnp.ones((2, 8)))
        return params, tx.init(params)

    shardings = nn.get_sharding(jax.eval_shape(start, jax.random.key(0)), mesh)
    params, state = jax.jit(start, out_shardings=shardings)(jax.random.key(0))
    step = jax.jit(lambda g, s, p: tx.update(g, s, p))
    _, after = step(params, state, params)
    assert jax.tree.structure(after) == jax.tree.structure(state)

for case in discovery.CASES:
    is_plain = not case.is_slow or case.name == "others-muon"  # NorMuon
    if not is_plain or case.name in (*discovery.STACKS, "LOSS_SCALE"):
        continue
    for run in (run_nnx, run_linen):
        if run is run_linen and sys.argv[1] == "Explicit":
            continue  # Linen's boxes ask for automatic axes
        try:
            with jax.set_mesh(mesh):
                run(case)
        except Exception as error:
            said = f"{type(error).__name__}: {str(error)[:300]}"
            failed[f"{run.__name__} {case.name}"] = said
print(json.dumps(failed))
""".replace("LOSS_SCALE", LOSS_SCALE)


@pytest.mark.ci
@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_flax_sharding_metadata(kind):
    """Factors, block scales and placeholders have shapes that the specs do not fit."""
    assert on_eight_devices(SHARDED, kind) == {}


# ---- Values and hashes ---------------------------------------------------------------


def test_optimizers_are_values():
    """Hashed, compared and copied, as Optax's are."""
    for case in CASES:
        tx = case.make()
        assert hash(tx) == hash(tx), case.name
        assert tx != case.make()
        for copied in (copy.deepcopy(tx), cloudpickle.loads(cloudpickle.dumps(tx))):
            params = case.params()
            expected = jax.eval_shape(tx.init, params)
            assert abstract(jax.eval_shape(copied.init, params)) == abstract(expected)


def test_equal_metric_schedules_are_equal():
    for make in (oxe.plateau, oxe.greedy):
        assert make(0.1, patience=3) == make(0.1, patience=3)
        assert hash(make(0.1, patience=3)) == hash(make(0.1, patience=3))
        for other in (make(0.2, patience=3), make(0.1), make(0.1, monitor="loss")):
            assert other != make(0.1, patience=3)
        value = jnp.float32(0.1)  # an array is equal to itself alone
        assert make(value) == make(value)
        assert make(value) != make(jnp.float32(0.1))
        assert hash(make(value)) == hash(make(value))


@pytest.mark.ci
def test_optimistix_compiles_once_for_equal_optimizers():
    """It hashes what the closures of an optimizer hold."""
    cases = {case.name: case.make for case in CASES if case.is_optimizer}
    cases.pop(PARTITION, None)
    cases |= {
        "plateau": lambda: oxe.nadam(oxe.plateau(0.1)),
        "on_plateau": lambda: oxe.switch(
            oxe.nadam(0.1), oxe.heavy_ball(0.1), oxe.on_plateau(3)
        ),
        "schedule": lambda: oxe.pytorch.SGD(oxe.pytorch.StepLR(0.1, 3)),
        "weight decay": lambda: oxe.nadam(0.1, weight_decay=oxe.schedules.rex(1e-2, 9)),
    }
    for name, make in cases.items():
        traces = []

        def loss(y, args, traces=traces):
            traces.append(1)
            return jnp.sum((y - 1.0) ** 2)

        first = jnp.zeros((2, 2))
        counts = []
        for tx in (make(), make()):
            solver = optimistix.OptaxMinimiser(tx, rtol=1e-4, atol=1e-4)
            optimistix.minimise(loss, solver, first, max_steps=3, throw=False)
            counts.append(len(traces))
        assert counts[0] == counts[1], name


# ---- Equinox -------------------------------------------------------------------------


@pytest.mark.ci
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_equinox_with_frozen_parts(case):
    """The filtered model, None where nothing is trained; compiled once."""
    with_bias = not case.of_matrices
    words = {"use_bias": with_bias, "use_final_bias": with_bias}
    mlp = eqx.nn.MLP(2, 3, 4, 1, **words, key=jax.random.key(0))
    trained = eqx.tree_at(
        lambda tree: tree.layers[0].weight, jax.tree.map(eqx.is_array, mlp), False
    )
    params, static = eqx.partition(mlp, trained)
    tx, traces = case.make(), []
    first = tx.init(params)

    @eqx.filter_jit
    def step(params, state):
        traces.append(1)

        def loss(params):
            return jnp.mean(jax.vmap(eqx.combine(params, static))(X) ** 2)

        u, state = tx.update(eqx.filter_grad(loss)(params), state, params)
        return eqx.apply_updates(params, u), state

    state = first
    for _ in range(3):
        params, state = step(params, state)
    assert len(traces) == 1
    assert abstract(state) == abstract(first)
    assert params.layers[0].weight is None


# ---- Leaves --------------------------------------------------------------------------


def outcomes(check):
    """What each case raises."""
    found = {}
    for case in CASES:
        try:
            check(case)
        except Exception as error:
            found[case.name] = f"{type(error).__name__}: {str(error)[:80]}"
    return found


def test_init_from_shapes():
    """As `jax.eval_shape` gives them: the zeros that arrays of these shapes give."""

    def check(case):
        params = case.params()
        shapes = jax.eval_shape(lambda: params)
        expected = jax.eval_shape(case.make().init, params)
        assert abstract(case.make().init(shapes)) == abstract(expected)

    assert outcomes(check) == {}


def test_keys_pass_through():
    """A typed PRNG key among the leaves, without a gradient."""

    def check(case):
        params = {**case.params(), "key": jax.random.key(0)}
        grads = {**case.params(), "key": None}
        tx = case.make()
        first = jax.eval_shape(tx.init, params)
        u, state = jax.eval_shape(tx.update, grads, first, params)
        assert u["key"] is None
        assert abstract(state) == abstract(first)

    assert outcomes(check) == {}


def test_integers_pass_through():
    """Integer leaves without a gradient, and with the one that `jax.grad` gives."""

    def check(case):
        params = case.fit({"w": jnp.ones((2, 2))}) | {"steps": jnp.arange(3)}
        tx = case.make()
        grads = {"w": jnp.ones((2, 2)), "steps": None}
        first = jax.eval_shape(tx.init, params)
        u, state = jax.eval_shape(tx.update, grads, first, params)
        assert u["steps"] is None
        assert abstract(state) == abstract(first)

    failed = outcomes(check)
    assert set(failed) <= {x.name for x in CASES if x.of_matrices}, failed
    assert all("matrix" in said for said in failed.values())


def test_python_numbers_are_params():
    """As leaves of a toy problem."""
    params, grads = {"x": 1.0, "y": 2.0}, {"x": 0.5, "y": -0.5}
    as_arrays = jax.tree.map(jnp.float32, params)

    def check(case):
        tx = case.make()
        u, _ = tx.update(grads, tx.init(params), params)
        v, _ = tx.update(grads, tx.init(as_arrays), as_arrays)
        for key in params:
            np.testing.assert_allclose(u[key], v[key], rtol=1e-6)

    failed = outcomes(check)
    assert set(failed) == {x.name for x in CASES if x.of_matrices}, failed
    for make in (oxe.swats, oxe.nadam, oxe.pytorch.Adagrad, oxe.pytorch.SGD):
        for decay in (0.1, lambda t: 0.1 + t):
            tx = make(1e-2, weight_decay=decay)
            u, _ = tx.update(grads, tx.init(params), params)
            v, _ = tx.update(grads, tx.init(as_arrays), as_arrays)
            jax.tree.map(np.testing.assert_array_equal, u, v)


def test_python_numbers_put_into_a_state():
    """The next update uses them, by operation and jitted."""
    g = jnp.ones(3)
    expected = oxe.nadam(1e-4).update(g, oxe.nadam(1e-4).init(g), g)[0]
    tx = oxe.nadam(1e-2)
    states = {"tree.set": (tx, optax.tree.set(tx.init(g), learning_rate=1e-4))}
    tx = oxe.scheduled(oxe.nadam)(1e-2)
    states["in scheduled"] = tx, optax.tree.set(tx.init(g), learning_rate=1e-4)
    for name in ("scheduled", "plain"):
        tx = oxe.scheduled(oxe.nadam)(1e-2)
        state = tx.init(g)
        state.hyperparams["learning_rate"] = (
            1e-4 if name == "plain" else np.float64(1e-4)
        )
        states[name] = tx, state
    for tx, state in states.values():
        for update in (tx.update, jax.jit(tx.update)):
            u, after = update(g, state, g)
            np.testing.assert_allclose(u, expected, rtol=1e-6)
            assert abstract(after) == abstract(tx.init(g))


class Whole(eqx.Module):
    """A model with leaves that are not trained, some of them not arrays."""

    w: jax.Array
    v: jax.Array
    size: int
    counts: jax.Array
    activation: object


def test_a_complete_model_as_params():
    """Equinox' vision example: `init` gets the floating arrays, `update` the model."""
    matrix = discovery.params()["w"]
    model = Whole(matrix, 2 * matrix, 3, jnp.arange(3), jax.nn.relu)

    def check(case):
        tx, params = case.make(), eqx.filter(model, eqx.is_inexact_array)
        state, other = tx.init(params), tx.init(params)
        for _ in range(2):
            u, state = tx.update(params, state, model)
            v, other = tx.update(params, other, params)
        jax.tree.map(np.testing.assert_array_equal, u, v)
        assert abstract(state) == abstract(other)

    assert outcomes(check) == {}
