"""Any number of any optimizer as a schedule, in float32 for params of any dtype."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe

RATES = ("learning_rate", "lr")
NOT_MEANT = {"optax.optimistic_adam": "deprecated, and takes numbers only"}


def squares(params):
    leaves = [x.astype(jnp.float32) for x in jax.tree.leaves(params)]
    return sum(jnp.sum(x**2) for x in leaves)


def nothing(grads):
    del grads
    return {}


# Extra args that an update needs, made from the gradients.
NEEDS = {
    "optax.contrib.momo": lambda g: {"value": 1.0},
    "optax.contrib.momo_adam": lambda g: {"value": 1.0},
    "optax.contrib.sophia": lambda g: {"obj_fn": squares},
    "optax.polyak_sgd": lambda g: {"value": 1.0},
    "optax.lbfgs": lambda g: {"value": 1.0, "grad": g, "value_fn": squares},
}
# Other arguments, which are not scheduled; and numbers without a default.
WORDS = {
    "optax.noisy_sgd": {"key": 0},
    "optax.contrib.dpsgd": {"seed": 0},
    "oxe.muon": {"layout": "in_out"},
}
REQUIRED = {"l2_norm_clip": 1.0, "noise_multiplier": 0.1}
# Those that need a gradient for each example; those that need matrices.
BY_EXAMPLE = ("optax.contrib.dpsgd",)
OF_MATRICES = ("oxe.muon", "pytorch.Muon")
# In the fast run.
FEW = ("optax.adamw", "oxe.heavy_ball", "pytorch.Adam")


def factories():
    """Functions of Optax and ours with a learning rate: (name, function, argument)."""
    places = {
        "optax": optax,
        "optax.contrib": optax.contrib,
        "oxe": oxe,
        "pytorch": oxe.pytorch,
        "keras": oxe.keras,
    }
    for place, module in places.items():
        for name in sorted(dir(module)):
            thing = getattr(module, name)
            if not inspect.isfunction(thing) or name.startswith("_"):
                continue
            signature = inspect.signature(thing)
            first = next(iter(signature.parameters), None)
            returns = str(signature.return_annotation)
            if first not in RATES or "Transformation" not in returns:
                continue
            if f"{place}.{name}" not in NOT_MEANT:
                yield f"{place}.{name}", thing, first


FACTORIES = list(factories())


def test_there_are_many():
    names = {name for name, *_ in FACTORIES}
    assert {"optax.adam", "optax.lion", "optax.contrib.prodigy"} <= names
    assert {"oxe.adagrad", "pytorch.AdamW", "keras.SGD"} <= names
    assert len(names) > 60
    known = {
        f"{place}.{name}"
        for place, module in (("optax", optax), ("optax.contrib", optax.contrib))
        for name in dir(module)
    }
    assert {x for x in NOT_MEANT if x.startswith("optax")} <= known


def arguments(thing, rate):
    """Every argument with a float as its default: b1, b2, eps, ..."""
    parameters = inspect.signature(thing).parameters
    floats = {
        name: p.default for name, p in parameters.items() if type(p.default) is float
    }
    required = {name: x for name, x in REQUIRED.items() if name in parameters}
    return {**floats, **required, rate: 0.01}


TREES = {
    "float32": {"w": jnp.linspace(-1, 2, 6).reshape(2, 3), "b": jnp.ones(2)},
    "bfloat16": {"w": jnp.linspace(-1, 2, 6, dtype=jnp.bfloat16).reshape(2, 3)},
    "float16": {"w": jnp.linspace(-1, 2, 6, dtype=jnp.float16).reshape(2, 3)},
    "mixed": {"w": jnp.ones((2, 2), jnp.bfloat16), "b": jnp.linspace(-1, 1, 3)},
}


def abstract(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


def run(tx, params, extra=nothing, steps=4, examples=0):
    """The last state and all updates, by scan, which refuses a change of dtypes."""

    def step(state, t):
        grads = jax.tree.map(
            lambda x: jnp.cos(t + jnp.arange(x.size)).reshape(x.shape).astype(x.dtype),
            params,
        )
        if examples:
            grads = jax.tree.map(lambda g: jnp.stack([g] * examples), grads)
        u, state = tx.update(grads, state, params, **extra(grads))
        return state, u

    return jax.lax.scan(step, tx.init(params), jnp.arange(float(steps)))


each_factory = pytest.mark.parametrize(
    ("name", "thing", "rate"),
    [
        pytest.param(*x, marks=() if x[0] in FEW else pytest.mark.full, id=x[0])
        for x in FACTORIES
    ],
)


@each_factory
@pytest.mark.filterwarnings("ignore:.seed. is deprecated:DeprecationWarning")  # dpsgd
def test_every_optimizer(name, thing, rate):
    """Constant schedules give the numbers of constants; finite in half precision."""
    words, extra = arguments(thing, rate), NEEDS.get(name, nothing)
    given = {"extra": extra, "examples": 2 if name in BY_EXAMPLE else 0}
    static = WORDS.get(name, {})
    plain = optax.with_extra_args_support(thing(**words, **static))
    tx = oxe.scheduled(thing)(**words | static | {rate: lambda t: words[rate]})
    trees = {tree: TREES[tree] for tree in ("float32", "float16", "mixed")}
    if name in OF_MATRICES:
        trees = {
            tree: {k: x for k, x in params.items() if x.ndim == 2}
            for tree, params in trees.items()
        }

    @jax.jit
    def runs():
        found = {tree: run(tx, params, **given) for tree, params in trees.items()}
        return found, run(plain, trees["float32"], **given)[1]

    found, expected = runs()
    for tree, (state, us) in found.items():
        for k, x in us.items():
            assert x.dtype == trees[tree][k].dtype, tree
            assert x.shape[1:] == trees[tree][k].shape, tree
            assert np.all(np.isfinite(np.asarray(x, float))), tree
        held = oxe.hyperparameters(state)
        assert held.keys() == words.keys()
        for key, x in held.items():
            assert x.dtype == jnp.float32
            assert x == np.float32(words[key])
    for k, x in found["float32"][1].items():
        scale = np.abs(expected[k]).max()
        np.testing.assert_allclose(x, expected[k], rtol=2e-4, atol=2e-4 * scale)


# ---- Half precision ------------------------------------------------------------------


def test_half_precision_where_optax_divides_by_zero():
    """inject_hyperparams makes 1 of 0.999 in bfloat16; scheduled keeps it."""
    params = TREES["bfloat16"]
    tx = oxe.scheduled(optax.adam)(learning_rate=0.01, b2=0.999)
    wide = {"w": params["w"].astype(np.float32)}
    us, expected = jax.jit(lambda: [run(tx, x)[1]["w"] for x in (params, wide)])()
    got = np.asarray(us, float)
    # Each update rounds the moments to bfloat16 once, and the update once.
    np.testing.assert_allclose(got, expected, rtol=0, atol=3e-2 * 0.01)
    assert np.abs(got).max() > 0.005


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_the_dtypes_of_the_optimizer_itself(dtype):
    for make in (optax.adamw, optax.lion, oxe.pytorch.SGD):
        plain = jax.eval_shape(make(0.1).init, TREES[dtype])
        state = jax.eval_shape(oxe.scheduled(make)(0.1).init, TREES[dtype])
        assert abstract(state.inner_state)[0] == abstract(plain)[0]
        assert not any(x.weak_type for x in jax.tree.leaves(state))


def test_float64():
    with jax.enable_x64(True):
        params = {"w": jnp.linspace(-1, 1, 3)}
        pair = oxe.scheduled(optax.adam)(0.1, b1=0.9), optax.adam(0.1, b1=0.9)
        us, expected = jax.jit(lambda: [run(tx, params)[1]["w"] for tx in pair])()
        assert us.dtype == np.float64
        np.testing.assert_allclose(us, expected, rtol=1e-14)


# ---- What is stored, and what is passed on -------------------------------------------

PARAMS = {"w": jnp.ones(2), "b": jnp.ones(())}
CURVE = oxe.schedules.linear(0.5, 10)


def held(make, *args, **words):
    return set(oxe.hyperparameters(oxe.scheduled(make)(*args, **words).init(PARAMS)))


def test_numbers_of_every_kind():
    for x in (0.1, 1, np.float32(0.1), np.float64(0.1), np.array(0.1), np.int64(1)):
        tx = oxe.scheduled(optax.sgd)(x)
        state = tx.init(PARAMS)
        assert oxe.learning_rate(state) == np.float32(x)
        u, _ = tx.update(PARAMS, state, PARAMS)
        np.testing.assert_allclose(u["w"], -np.float32(x), rtol=1e-6)
        oxe.set_hyperparameters(state, learning_rate=0.5)
    assert held(optax.sgd, jnp.float32(0.1)) == {"learning_rate"}


def test_what_is_not_given_is_not_held():
    assert held(optax.adamw, 0.1) == {"learning_rate"}
    assert held(optax.adamw, 0.1, b1=0.9) == {"learning_rate", "b1"}


def test_flags_dtypes_and_words_stay():
    assert held(optax.sgd, 0.1, momentum=0.9, nesterov=True) == {
        "learning_rate",
        "momentum",
    }
    tx = oxe.scheduled(optax.adam)(0.1, mu_dtype=jnp.bfloat16, nesterov=np.True_)
    state = tx.init(PARAMS)
    assert state.inner_state[0].mu["w"].dtype == jnp.bfloat16
    assert held(oxe.rmsprop, 0.1, initial="zero", momentum=None) == {"learning_rate"}


def test_integers_that_count_stay():
    assert "min_dim_size_to_factor" not in held(
        optax.adafactor, 0.1, min_dim_size_to_factor=2
    )
    assert held(oxe.pytorch.SGD, lr=1, weight_decay=1) == {"lr"}
    matrix = {"w": jnp.eye(3)}
    tx = oxe.scheduled(optax.contrib.muon)(0.1, ns_steps=3)
    _, state = jax.eval_shape(lambda: tx.update(matrix, tx.init(matrix), matrix))
    assert set(state.hyperparams) == {"learning_rate"}


MASK = {"w": True, "b": False}


@pytest.mark.parametrize(
    ("make", "mask"), [(optax.adamw, MASK), (oxe.adagrad, lambda params: MASK)]
)
def test_masks_stay(make, mask):
    tx = oxe.scheduled(make)(0.1, weight_decay=0.5, mask=mask)
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    u, _ = jax.jit(lambda: tx.update(zeros, tx.init(PARAMS), PARAMS))()
    np.testing.assert_allclose(u["w"], -0.05, rtol=1e-6)
    assert u["b"] == 0


def test_functions_for_numbers_are_schedules():
    linear = oxe.schedules.linear(0.8, 8)
    assert held(optax.adamw, linear, b1=linear, weight_decay=linear) == {
        "learning_rate",
        "b1",
        "weight_decay",
    }

    def mine(learning_rate, decay, name, norm=jnp.sum):
        assert callable(norm)
        assert name == "x"
        return optax.chain(optax.trace(decay), optax.scale(-learning_rate))

    tx = oxe.scheduled(mine, static_args="name")(0.5, linear, "x", norm=jnp.mean)
    state = tx.init(PARAMS)
    us = []
    for _ in range(3):
        u, state = tx.update(PARAMS, state, PARAMS)
        us.append(float(-2 * u["b"]))
    np.testing.assert_allclose(us, [1, 1 + 0.7, 1 + 0.6 * 1.7], rtol=1e-6)


def test_numbers_in_a_tuple():
    """As PyTorch's betas; one may be a schedule and the other a number."""
    tx = oxe.scheduled(oxe.pytorch.Adam)(
        lr=0.1, betas=(oxe.schedules.linear(0.8, 8), 0.999)
    )
    state, update = tx.init(PARAMS), jax.jit(tx.update)
    assert set(oxe.hyperparameters(state)) == {"lr", "betas[0]", "betas[1]"}
    state = oxe.set_hyperparameters(state, **{"betas[1]": 0.5})
    _, state = update(PARAMS, state, PARAMS)
    _, state = update(PARAMS, state, PARAMS)
    found = oxe.hyperparameters(state)
    assert (found["betas[0]"], found["betas[1]"]) == (np.float32(0.7), 0.5)


def test_arrays_and_tracers_win():
    """They stay in the closure: vmap over a number of scheduled."""

    def two_updates(momentum):
        tx = oxe.scheduled(optax.sgd)(0.1, momentum=momentum)
        state = tx.init(PARAMS)
        for _ in range(2):
            u, state = tx.update(PARAMS, state, PARAMS)
        return u["w"]

    together = jax.jit(jax.vmap(two_updates))(jnp.array([0.5, 0.9]))
    np.testing.assert_allclose(together, [[-0.15] * 2, [-0.19] * 2], rtol=1e-5)


def test_the_gradient_by_a_number():
    def last(rate):
        tx = oxe.scheduled(optax.sgd)(rate)
        return tx.update(PARAMS, tx.init(PARAMS), PARAMS)[0]["b"]

    assert jax.grad(last)(0.1) == -1


def test_metrics_reach_every_number():
    """Weight decay falls when the loss stalls, the learning rate when accuracy does."""
    decay = oxe.plateau(0.5, factor=0.5, patience=0, monitor="loss")
    rate = oxe.plateau(1.0, factor=0.5, patience=0, mode="max", monitor="accuracy")
    tx = oxe.scheduled(oxe.heavy_ball)(rate, weight_decay=decay)
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)

    @jax.jit
    def run():
        state = oxe.observe(tx.init(PARAMS), loss=1.0)
        _, state = tx.update(zeros, state, PARAMS, loss=1.0, accuracy=0.5)
        u, state = tx.update(zeros, state, PARAMS, accuracy=0.5)
        return u, tx.update(zeros, state, PARAMS)[0]

    first, second = run()
    np.testing.assert_allclose(first["w"], -1.0 * 0.25, rtol=1e-6)
    np.testing.assert_allclose(second["w"], -0.5 * 0.25, rtol=1e-6)


def test_extra_arguments_reach_the_optimizer():
    def needs(learning_rate):
        def update(updates, state, params=None, *, boost, **extra):
            del params, extra
            return jax.tree.map(lambda u: boost * learning_rate * u, updates), state

        return optax.GradientTransformationExtraArgs(
            lambda p: optax.EmptyState(), update
        )

    tx = oxe.scheduled(needs)(0.5)
    u, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS, boost=4.0)
    assert u["b"] == 2


def test_words_of_the_factory():
    """In **kwargs numbers and metric schedules are stored, functions passed on."""

    def mine(learning_rate, every: int, **words):
        assert every == 3
        return optax.adamw(learning_rate, **words)

    decay = oxe.plateau(0.5, factor=0.5, patience=0)
    tx = oxe.scheduled(mine)(1.0, 3, b1=0.5, weight_decay=decay, mask=lambda p: MASK)
    state = tx.init(PARAMS)
    assert set(oxe.hyperparameters(state)) == {"learning_rate", "b1", "weight_decay"}
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    state = oxe.observe(oxe.observe(state, 1.0), 1.0)
    u, _ = tx.update(zeros, state, PARAMS)
    np.testing.assert_allclose(u["w"], -0.25)
    assert u["b"] == 0


def test_it_looks_like_the_factory():
    """To `help`, to an editor, and to `scheduled` itself."""
    made = oxe.scheduled(optax.adamw)
    assert made.__name__ == "adamw"
    assert made.__doc__ == optax.adamw.__doc__
    assert inspect.signature(made) == inspect.signature(optax.adamw)


def test_a_factory_of_something_else():
    tx = oxe.scheduled(lambda learning_rate: 3)
    must = "scheduled: `factory` must return an optax.GradientTransformation, got"
    with pytest.raises(TypeError, match=must):
        tx(0.1).init(jnp.ones(2))


def test_what_the_factory_refuses_is_refused_at_once():
    """With the factory's message, for a number and for the first of a schedule."""
    with pytest.raises(
        ValueError, match=r"adagrad: `learning_rate` must be in .* -0\.1"
    ):
        oxe.scheduled(oxe.adagrad)(-0.1)
    with pytest.raises(ValueError, match=r"Adam: `betas`\[1\] must be in .* 1\.9"):
        oxe.scheduled(oxe.pytorch.Adam)(lr=CURVE, betas=(CURVE, 1.9))
    with pytest.raises(ValueError, match="adagrad: `weight_decay` must be in"):
        oxe.scheduled(oxe.adagrad)(0.1, weight_decay=lambda t: -1.0)


def test_bad_input():
    with pytest.raises(TypeError, match="scheduled: `factory` must be callable"):
        oxe.scheduled(optax.adam(0.1))
    with pytest.raises(
        ValueError, match="`static_args` must name arguments of the fac"
    ):
        oxe.scheduled(optax.adam, static_args="beta")
    with pytest.raises(TypeError, match=r"scheduled: `adam` cannot be .* keyword arg"):
        oxe.scheduled(optax.adam)(0.1, beta=0.9)
    with pytest.raises(
        TypeError, match=r"scheduled: `adam` cannot be .*'learning_rate'"
    ):
        oxe.scheduled(optax.adam)()

    def picky(learning_rate):
        return optax.sgd(learning_rate) if learning_rate > 0 else optax.identity()

    tx = oxe.scheduled(picky)(0.1)
    with pytest.raises(TypeError, match=r"`picky` must not need .* `static_args`"):
        jax.jit(tx.init)(PARAMS)
    oxe.scheduled(picky, static_args=["learning_rate"])(0.1).init(PARAMS)


def test_the_state_of_other_numbers():
    tx = oxe.scheduled(optax.adam)(0.1, b1=0.9)
    match = r"scheduled: `state` must hold .*\['b1', 'learning_rate'\], got \['"
    for before in ({}, {"b1": 0.8, "b2": 0.9}, {"b2": 0.9}):
        state = oxe.scheduled(optax.adam)(0.1, **before).init(PARAMS)
        for update in (tx.update, jax.jit(tx.update)):
            with pytest.raises(ValueError, match=match):
                update(PARAMS, state, PARAMS)


# ---- Momentum that cycles with the learning rate, against PyTorch --------------------

CYCLES = {
    "OneCycleLR": {"max_lr": 0.1, "total_steps": 60},
    "OneCycleLR, three phases": {
        "max_lr": 0.1,
        "total_steps": 60,
        "three_phase": True,
        "anneal_strategy": "linear",
    },
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 7},
    "CyclicLR, triangular2": {
        "base_lr": 0.01,
        "max_lr": 0.1,
        "step_size_up": 5,
        "step_size_down": 3,
        "mode": "triangular2",
    },
}


KINDS = ("SGD", "SGD, nesterov", "Adam", "AdamW")


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CYCLES)
def test_momentum_cycles_as_in_pytorch(name, kind):
    """60 updates in float64: 1e-10 of the distance travelled."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    scheduler, _, _ = name.partition(",")
    optimizer, _, nesterov = kind.partition(", ")
    grads = np.random.default_rng(0).normal(size=(60, 5))
    start = np.linspace(-1, 1, 5)

    weights = torch.tensor(start, requires_grad=True)
    words = {"momentum": 0.5, "nesterov": bool(nesterov)} if optimizer == "SGD" else {}
    theirs = getattr(torch.optim, optimizer)([weights], lr=0.1, **words)
    cycle = getattr(torch.optim.lr_scheduler, scheduler)(theirs, **CYCLES[name])
    for i, grad in enumerate(grads):
        weights.grad = torch.tensor(grad)
        theirs.step()
        if i < len(grads) - 1:
            cycle.step()

    with jax.enable_x64(True):
        curve = getattr(oxe.pytorch, scheduler)(**CYCLES[name])
        words = {"betas": (curve.momentum, 0.999)}
        if optimizer == "SGD":
            words = {"momentum": curve.momentum, "nesterov": bool(nesterov)}
        tx = oxe.scheduled(getattr(oxe.pytorch, optimizer))(lr=curve, **words)

        def step(carry, grad):
            params, state = carry
            u, state = tx.update(grad, state, params)
            return (params + u, state), u

        first = jnp.asarray(start), tx.init(jnp.asarray(start))
        (params, _), us = jax.lax.scan(step, first, jnp.asarray(grads))
        travelled = np.abs(us).sum(axis=0)
        difference = np.abs(params - weights.detach().numpy())
    assert np.all(difference <= 1e-10 * travelled)
    # Another momentum gives another path: not only the learning rate matters.
    assert np.all(travelled > 0.01)


def test_momentum_cycles_by_the_formula():
    """Both numbers of each update of SGD are those of the schedules."""
    grads = np.random.default_rng(0).normal(size=(20, 5))
    with jax.enable_x64(True):
        curve = oxe.pytorch.OneCycleLR(max_lr=0.1, total_steps=20)
        tx = oxe.scheduled(oxe.pytorch.SGD)(lr=curve, momentum=curve.momentum)

        @jax.jit
        def run(grads):
            step = lambda state, g: tx.update(g, state, g)[::-1]  # noqa: E731
            rates = [jax.vmap(x)(jnp.arange(20)) for x in (curve, curve.momentum)]
            return jax.lax.scan(step, tx.init(grads[0]), grads)[1], rates

        us, (lr, momentum) = jax.device_get(run(grads))
    assert np.ptp(momentum) > 0.05
    z = 0
    for t, g in enumerate(grads):
        z = g if t == 0 else momentum[t] * z + g
        np.testing.assert_allclose(us[t], -lr[t] * z, rtol=1e-9)
