"""Every rule against its paper's formula in NumPy, or against Optax, and the traps."""

import decimal
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.optimizers import formulas

STEPS = 400
EPS32 = 2.0**-24


def gradients(seed=0, steps=STEPS, size=5):
    """Random signs, six decades, and now and then a zero."""
    rng = np.random.default_rng(seed)
    grads = rng.choice([-1, 1], (steps, size)) * 10 ** rng.uniform(-3, 3, (steps, size))
    grads[rng.random(grads.shape) < 0.02] = 0
    return grads.astype(np.float32).astype(np.float64)  # the same in both precisions


GRADS = gradients()


def directions(tx, grads, dtype=np.float64):
    """All updates of a transformation, in one scan."""

    def step(state, g):
        u, state = tx.update(g, state)
        return state, u

    with jax.enable_x64(dtype == np.float64):
        grads = jnp.asarray(grads, dtype)
        run = jax.jit(lambda state: jax.lax.scan(step, state, grads)[1])
        return np.asarray(run(tx.init(grads[0])))


def ours(rule, grads=GRADS, dtype=np.float64):
    return directions(oxe.scale_by_moments(rule), grads, dtype)


# ---- The formulas, as the papers and PyTorch write them ------------------------------


def momentum(grads, beta=0.9, dampening=0.0, nesterov=False):
    z = None
    for g in grads:
        z = g if z is None else beta * z + (1 - dampening) * g
        yield g + beta * z if nesterov else z


def heavy_ball(grads, rate, mu=0.9, nesterov=False):
    """Keras' velocity and Nesterov step; the direction is minus the step."""
    v = 0.0
    for t, g in enumerate(grads):
        eta = rate(t) if callable(rate) else rate
        v = mu * v - eta * g
        yield -(mu * v - eta * g if nesterov else v)


def adagrad(grads, eps=1e-10, lr_decay=0.0, initial_accumulator_value=0.0):
    h = initial_accumulator_value
    for t, g in enumerate(grads):
        h = h + g**2
        u = np.divide(g, np.sqrt(h) + eps, out=np.zeros_like(g), where=g != 0)
        yield u / (1 + t * lr_decay)


def adam(grads, b1=0.9, b2=0.999, eps=1e-8, eps_hat=False):
    m = v = 0.0
    for t, g in enumerate(grads, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        if eps_hat:
            alpha = np.sqrt(1 - b2**t) / (1 - b1**t)
            yield alpha * m / (np.sqrt(v) + eps)
        else:
            yield m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)


def radam(grads, b1=0.9, b2=0.999, eps=1e-8, threshold=5.0):
    m = v = 0.0
    limit = 2 / (1 - b2) - 1
    for t, g in enumerate(grads, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        rho = limit - 2 * t * b2**t / (1 - b2**t)
        if rho > threshold:
            top, bottom = (rho - 4) * (rho - 2) * limit, (limit - 4) * (limit - 2) * rho
            rect = np.sqrt(top / bottom * (1 - b2**t)) / (np.sqrt(v) + eps)
        else:
            rect = 1.0
        yield rect * m / (1 - b1**t)


def falling(t):
    """A rate that changes at every step."""
    return 0.1 / (1 + t)


CASES = [
    (oxe.rules.sgd, lambda grads: grads, {}),
    *[
        (oxe.rules.momentum, momentum, kw)
        for kw in (
            {},
            {"beta": 0.0},
            {"beta": 0.99},
            {"dampening": 0.3},
            {"dampening": 1.0},
            {"nesterov": True},
            {"beta": 0.5, "nesterov": True},
        )
    ],
    *[
        (oxe.rules.heavy_ball, heavy_ball, {"rate": rate, **kw})
        for rate in (0.1, falling)
        for kw in ({}, {"mu": 0.0}, {"mu": 0.99}, {"nesterov": True})
    ],
    *[
        (oxe.rules.adagrad, adagrad, kw)
        for kw in (
            {},
            {"eps": 0.1},
            {"eps": 0.0},
            {"lr_decay": 0.1},
            {"initial_accumulator_value": 0.1},
        )
    ],
    *[
        (oxe.rules.rmsprop, formulas.rmsprop, kw)
        for kw in (
            {},
            {"initial": "zero"},
            {"decay": 0.0},
            {"decay": 0.9, "eps": 0.1},
            {"decay": 0.9, "eps": 0.1, "eps_in_root": True, "initial": "zero"},
        )
    ],
    *[
        (oxe.rules.nadam, formulas.nadam, kw)
        for kw in (
            {},
            {"momentum_decay": 1.0},
            {"momentum_decay": 0.0},
            {"b1": 0.0},
            {"b1": 0.5, "b2": 0.9, "eps": 0.1, "momentum_decay": 0.1},
        )
    ],
    *[
        (oxe.rules.amsgrad, formulas.amsgrad, kw)
        for kw in (
            {},
            {"eps_hat": True},
            {"bias_correction": False},
            {"b1": 0.0},
            {"b1": 0.5, "b2": 0.9, "eps": 0.1},
        )
    ],
    *[
        (oxe.rules.adam, adam, kw)
        for kw in (
            {},
            {"eps_hat": True},
            {"b1": 0.0},
            {"b2": 0.0},
            {"b1": 0.5, "b2": 0.9, "eps": 0.1},
            {"b1": 0.5, "b2": 0.9, "eps": 0.1, "eps_hat": True},
        )
    ],
    *[
        (oxe.rules.radam, radam, kw)
        for kw in (
            {},
            {"threshold": 4.0},
            {"b2": 0.9},
            {"b2": 0.99, "eps": 0.1, "b1": 0.5},
            {"b2": 0.6},  # never rectified
            {"b1": 0.0},
        )
    ],
]
NAMES = {"beta": "momentum", "mu": "momentum", "rate": "learning_rate"}


def title(make, kw):
    """`heavy_ball-rate=falling,mu=0.0`: the same in every process."""
    options = [f"{k}={getattr(x, '__name__', x)}" for k, x in kw.items()]
    return f"{make.__name__}-{','.join(options)}"


IDS = [title(make, kw) for make, _, kw in CASES]
each_case = pytest.mark.parametrize(("make", "formula", "kw"), CASES, ids=IDS)


def pair(make, formula, kw):
    """Our rule, and its formula's updates."""
    rule = make(**{NAMES.get(k, k): v for k, v in kw.items()})
    return rule, np.stack(list(formula(GRADS, **kw)))


@each_case
def test_formula_in_float64(make, formula, kw):
    rule, expected = pair(make, formula, kw)
    # 1 - b**t of the formula has an error of 2**-53 / (1 - b); the rest is rounding.
    distance = np.abs(expected).sum(0)
    travelled = np.abs(np.cumsum(ours(rule) - expected, 0)).max(0)
    assert np.all(travelled <= 1e-13 * distance)


def test_a_schedule_for_the_first_moment_of_adam():
    """As PyTorch under a scheduler of its betas: the present one, to the power of t."""
    b1 = np.linspace(0.95, 0.5, STEPS)
    us, m, v = [], 0.0, 0.0
    for t, g in enumerate(GRADS, 1):
        b = b1[t - 1]
        m, v = b * m + (1 - b) * g, 0.999 * v + 0.001 * g**2
        us.append(m / (1 - b**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8))
    found = ours(oxe.rules.adam(b1=lambda t: jnp.asarray(b1)[t]))
    np.testing.assert_allclose(found, us, rtol=1e-12)


def roundings(b, contributions):
    """How many float32 roundings a moment holds, in ulps of the moment itself.

    Three go in with each step (coefficient, product and sum), and what a moment
    remembers keeps those of all earlier steps.
    """
    moment = held = np.zeros(contributions.shape[1:])
    for x in contributions:
        old, moment = b * moment, b * moment + x
        held = 3 + held * np.divide(old, moment, out=0 * x, where=moment > 0)
        yield held


MU = (
    oxe.rules.momentum,
    oxe.rules.heavy_ball,
    oxe.rules.adam,
    oxe.rules.radam,
    oxe.rules.nadam,
    oxe.rules.amsgrad,
)
NU = {
    oxe.rules.adagrad: 1.0,
    oxe.rules.adam: 0.999,
    oxe.rules.radam: 0.999,
    oxe.rules.nadam: 0.999,
    oxe.rules.amsgrad: 0.999,
    oxe.rules.rmsprop: 0.99,
}


@each_case
def test_formula_in_float32(make, formula, kw):
    rule, expected = pair(make, formula, kw)
    sizes = np.abs(GRADS)
    magnitudes = np.stack(list(formula(sizes, **kw)))
    ulps = np.full(sizes.shape, 8.0)  # of the last line: scalars, root, quotient
    if make in MU:
        b1 = kw.get("b1", kw.get("beta", kw.get("mu", 0.9)))
        rate = np.array([[falling(t)] for t in range(STEPS)])
        gains = rate if kw.get("rate") is falling else np.ones((STEPS, 1))
        gains[1:] *= 1 - kw.get("dampening", 0.0)
        ulps += np.stack(list(roundings(b1, gains * sizes)))
    if make in NU:  # the root halves them
        b2 = kw.get("b2", kw.get("decay", NU[make]))
        ulps += np.stack(list(roundings(b2, sizes**2))) / 2
    error = np.abs(ours(rule, dtype=np.float32) - expected)
    assert np.all(error <= EPS32 * ulps * magnitudes + 1e-38)


# ---- Optax, where it has the same rule -----------------------------------------------

OPTAX = {
    "sgd": (oxe.rules.sgd(), optax.identity()),
    "momentum": (oxe.rules.momentum(0.8), optax.trace(0.8)),
    "nesterov": (
        oxe.rules.momentum(0.8, nesterov=True),
        optax.trace(0.8, nesterov=True),
    ),
    "adam": (oxe.rules.adam(), optax.scale_by_adam()),
    "adam, b2 0.9": (
        oxe.rules.adam(0.5, 0.9, 0.1),
        optax.scale_by_adam(0.5, 0.9, 0.1),
    ),
    # Optax rectifies from rho >= threshold and adds eps elsewhere: none here.
    "radam": (oxe.rules.radam(eps=0.0), optax.scale_by_radam(eps=0.0)),
    "radam, 4": (
        oxe.rules.radam(eps=0.0, threshold=4.0),
        optax.scale_by_radam(eps=0.0, threshold=4.0),
    ),
    "adagrad": (
        oxe.rules.adagrad(eps=0.0),
        optax.scale_by_rss(initial_accumulator_value=0.0, eps=0.0),
    ),
    "adagrad, from 0.1": (
        oxe.rules.adagrad(eps=0.0, initial_accumulator_value=0.1),
        optax.scale_by_rss(initial_accumulator_value=0.1, eps=0.0),
    ),
    "rmsprop": (
        oxe.rules.rmsprop(0.9, 1e-3, initial="zero", eps_in_root=True),
        optax.scale_by_rms(0.9, 1e-3),
    ),
    "nadam": (
        oxe.rules.nadam(momentum_decay=1e3),
        optax.scale_by_adam(nesterov=True),
    ),
}


@pytest.mark.parametrize(("rule", "theirs"), OPTAX.values(), ids=OPTAX)
def test_optax_in_float64(rule, theirs):
    grads = np.where(GRADS == 0, 1e-3, GRADS)  # 0 / 0 is another test
    expected = directions(theirs, grads)
    travelled = np.abs(np.cumsum(ours(rule, grads) - expected, 0)).max(0)
    assert np.all(travelled <= 1e-12 * np.abs(expected).sum(0))


@pytest.mark.full
@pytest.mark.parametrize(("rule", "theirs"), OPTAX.values(), ids=OPTAX)
def test_as_exact_as_optax_in_float32(rule, theirs):
    grads = np.where(GRADS == 0, 1e-3, GRADS)
    exact = directions(theirs, grads)
    scale = np.abs(directions(theirs, np.abs(grads)))
    error, theirs = (
        (np.abs(got - exact) / scale).max()
        for got in (
            ours(rule, grads, np.float32),
            directions(theirs, grads, np.float32),
        )
    )
    assert error <= 2 * theirs + 4 * EPS32


# ---- RAdam: when it begins, and how exactly ------------------------------------------


def rectification(b2, t):
    """(rho_t, rho_inf, r_t) with sixty digits; r_t is None up to rho_t = 4."""
    with decimal.localcontext(prec=60):
        b2 = decimal.Decimal(b2)  # the exact value of the double
        limit = 2 / (1 - b2) - 1
        rho = limit - 2 * t * b2**t / (1 - b2**t)
        if rho <= 4 or limit <= 4:
            return rho, limit, None
        top = (rho - 4) * (rho - 2) * limit
        return rho, limit, (top / ((limit - 4) * (limit - 2) * rho)).sqrt()


TIMES = [*range(1, 40), 50, 100, 250, 251, 1000, 2500, 10**4, 10**6, 2**31 - 1]


def tableau(rule, t):
    return rule.step(t, rule.init())[0]


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("threshold", [4.0, 5.0])
@pytest.mark.parametrize("b2", [0.0, 0.55, 0.65, 0.9, 0.99, 0.999, 0.9999])
def test_radam_begins_when_it_should(b2, threshold, traced):
    def coefficients(t, b2):
        got = tableau(oxe.rules.radam(b2=b2, threshold=threshold, eps=1e-3), t)
        return jnp.stack([jnp.asarray(x, jnp.float32) for x in (got.d, got.s, got.e)])

    times = jnp.asarray(TIMES, jnp.int32)
    run = jax.vmap(coefficients if traced else lambda t, _: coefficients(t, b2))
    d, s, e = np.asarray(run(times, jnp.full(times.shape, b2)), np.float64).T
    for i, t in enumerate(TIMES):
        rho, limit, rect = rectification(float(np.float32(b2)) if traced else b2, t)
        ready = limit > 4 and rho > threshold
        assert d[i] == ready, t
        assert e[i] == (np.float32(1e-3) if ready else 1), t
        if not ready:
            assert s[i] == 1, t
            continue
        with decimal.localcontext(prec=60):
            exact = decimal.Decimal(float(np.float32(b2)) if traced else b2)
            expected = float(rect * (1 - exact**t).sqrt())
        # b2**t itself has an error of t ulps of b2 where b2 is a float32.
        assert abs(s[i] / expected - 1) < 1e-5, t


@pytest.mark.parametrize("b2", [0.8, 0.9, 0.99, 0.999, 0.9999])
def test_radam_in_float64(b2):
    """To a dozen ulps, on either side of where the series ends."""
    with jax.enable_x64(True):
        step = jax.vmap(lambda t: tableau(oxe.rules.radam(b2=b2), t).s)
        found = step(jnp.asarray(TIMES, jnp.int32))
    for t, got in zip(TIMES, np.asarray(found), strict=True):
        rho, _, rect = rectification(b2, t)
        with decimal.localcontext(prec=60):
            root = (1 - decimal.Decimal(b2) ** t).sqrt()
            expected = float(rect * root) if rho > 5 else 1.0
        assert abs(got / expected - 1) < 12 * 2.0**-52, t


# ---- Traps, for all rules ------------------------------------------------------------

RULES = {
    "sgd": oxe.rules.sgd,
    "momentum": oxe.rules.momentum,
    "nesterov": partial(oxe.rules.momentum, nesterov=True),
    "dampened": partial(oxe.rules.momentum, dampening=0.5),
    "heavy_ball": partial(oxe.rules.heavy_ball, 0.1),
    "heavy_ball, nesterov": partial(oxe.rules.heavy_ball, 0.1, nesterov=True),
    "adagrad": oxe.rules.adagrad,
    "adam": oxe.rules.adam,
    "adam, eps_hat": partial(oxe.rules.adam, eps_hat=True),
    "radam": oxe.rules.radam,
    "adagrad, lr_decay": partial(oxe.rules.adagrad, lr_decay=0.1),
    "adagrad, from 0.1": partial(oxe.rules.adagrad, initial_accumulator_value=0.1),
    "rmsprop": oxe.rules.rmsprop,
    "rmsprop, zero": partial(oxe.rules.rmsprop, initial="zero"),
    "rmsprop, centered": partial(oxe.rules.rmsprop, centered=True),
    "rmsprop, eps_in_root": partial(oxe.rules.rmsprop, eps_in_root=True),
    "nadam": oxe.rules.nadam,
    "amsgrad": oxe.rules.amsgrad,
    "amsgrad, eps_hat": partial(oxe.rules.amsgrad, eps_hat=True),
    "amsgrad, raw": partial(oxe.rules.amsgrad, bias_correction=False),
}
each_rule = pytest.mark.parametrize("make", RULES.values(), ids=RULES)


@each_rule
@pytest.mark.parametrize(
    ("dtype", "large"),
    [(jnp.float32, 1e20), (jnp.float16, 300.0), (jnp.bfloat16, 1e20)],
)
@pytest.mark.parametrize("at", [0, pytest.param(6, marks=pytest.mark.full)])
def test_one_large_gradient_makes_no_nan(make, dtype, large, at):
    """Its square is inf; a rule stays usable, though nu may stay inf."""
    grads = np.ones((12, 2))
    grads[at, 0] = large
    us = directions(oxe.scale_by_moments(make()), grads, dtype)
    assert np.all(np.isfinite(us.astype(np.float32)))


WITHOUT_MU = ["sgd", "adagrad", "rmsprop", "rmsprop, zero", "rmsprop, eps_in_root"]


@pytest.mark.parametrize("name", WITHOUT_MU)
def test_rules_without_a_first_moment_survive_inf(name):
    """An inf gradient has no direction; the ones after it have."""
    grads = np.ones((5, 2))
    grads[2, 0] = np.inf
    us = directions(oxe.scale_by_moments(RULES[name]()), grads, np.float32)
    assert np.all(np.isfinite(us[3:]))


@each_rule
@pytest.mark.parametrize("before", [2**31 - 3, 2**31 - 1])
def test_the_count_stops_at_its_end(make, before):
    tx, grads = oxe.scale_by_moments(make()), jnp.array([0.5, -1e-3, 0.0])
    state = tx.update(grads, tx.init(grads))[1]._replace(count=jnp.int32(before))
    for made in range(1, 4):
        u, state = tx.update(grads, state)
        assert state.count == min(before + made, 2**31 - 1)
        assert jnp.all(jnp.isfinite(u))


@each_rule
@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_derivatives_at_a_gradient_of_zero(make, mode):
    """The root has no slope at 0, and u = g / eps is steep but finite."""

    @jax.jit
    def run(grads):
        tx = oxe.scale_by_moments(make())
        state, total = tx.init(grads), 0.0
        for _ in range(3):
            u, state = tx.update(grads, state)
            total = total + u
        return total

    assert np.all(np.isfinite(mode(run)(jnp.array([0.0, 1.0]))))


def swept(name, argument, x, grads):
    """All updates of a rule with one hyperparameter, the state the same tree."""
    tx = oxe.scale_by_moments(RULES[name](**{argument: x}))

    def step(state, g):
        u, state = tx.update(g, state)
        return state, u

    return jax.lax.scan(step, tx.init(grads[0]), grads)[1]


HYPERPARAMETERS = [
    (name, argument, at)
    for name, arguments in {
        "momentum": {"momentum": 0.0},
        "nesterov": {"momentum": 0.0},
        "dampened": {"dampening": 0.0},
        "heavy_ball": {"momentum": 0.0},
        "heavy_ball, nesterov": {"momentum": 0.0},
        "adagrad": {"eps": 1e-3},
        "adam": {"b1": 0.0, "b2": 0.0, "eps": 1e-3},
        "adam, eps_hat": {"b1": 0.0, "b2": 0.0, "eps": 1e-3},
        "radam": {"b1": 0.0, "b2": 0.9, "eps": 1e-3},
        "adagrad, lr_decay": {"lr_decay": 0.0, "initial_accumulator_value": 0.0},
        "rmsprop": {"decay": 0.0, "eps": 1e-3},
        "rmsprop, zero": {"decay": 0.0},
        "rmsprop, centered": {"decay": 0.5, "eps": 1e-3},
        "rmsprop, eps_in_root": {"eps": 1e-3},
        "nadam": {"b1": 0.0, "b2": 0.0, "eps": 1e-3, "momentum_decay": 0.0},
        "amsgrad": {"b1": 0.0, "b2": 0.9, "eps": 1e-3},
        "amsgrad, raw": {"b1": 0.0, "b2": 0.9},
    }.items()
    for argument, at in arguments.items()
]


# In the fast run, where 0 is what may go wrong.
AT_ZERO = [
    pytest.param(*each, marks=() if each[-1] == 0 else pytest.mark.full)
    for each in HYPERPARAMETERS
]


@pytest.mark.parametrize(("name", "argument", "at"), AT_ZERO)
@pytest.mark.parametrize(
    "mode", [pytest.param(jax.jacfwd, marks=pytest.mark.full), jax.jacrev]
)
def test_derivatives_in_a_hyperparameter(name, argument, at, mode):
    """Also at 0, against differences of the values in float64."""
    grads = np.random.default_rng(3).normal(size=(6, 2))
    h = 1e-6
    with jax.enable_x64(True):
        run = jax.jit(partial(swept, name, argument, grads=jnp.asarray(grads)))
        slope = np.asarray(mode(run)(jnp.float64(at)))
        points = (at - h, at, at + h, at + 2 * h)
        below, here, above, ahead = (np.asarray(run(jnp.float64(x))) for x in points)
    # Below 0 a power of b1 or b2 has no logarithm: a one-sided difference there.
    one_sided = (4 * above - 3 * here - ahead) / (2 * h)
    expected = one_sided if at == 0 else (above - below) / (2 * h)
    np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-4)


# Not the centred one: a constant gradient has no variance, and g / 0 is large.
ROOTED = [
    "adagrad",
    "adam",
    "adam, eps_hat",
    "radam",
    "rmsprop",
    "rmsprop, zero",
    "rmsprop, eps_in_root",
    "nadam",
    "amsgrad",
    "amsgrad, eps_hat",
    "amsgrad, raw",
]


@pytest.mark.parametrize("name", ROOTED)
@pytest.mark.parametrize("eps", [0, 0.0, "traced"])
def test_no_epsilon_and_no_gradient(name, eps):
    """Nothing over nothing is nothing, whether eps is known to be 0 or not."""
    grads = np.zeros((8, 2))
    grads[:, 1] = 1

    us = (
        jax.jit(partial(swept, name, "eps", grads=jnp.asarray(grads, jnp.float32)))(
            jnp.zeros(())
        )
        if eps == "traced"
        else ours(RULES[name](eps=eps), grads, np.float32)
    )
    np.testing.assert_array_equal(us[:, 0], 0)
    assert np.all(np.isfinite(us))


SWEEPS = [
    ("momentum", "momentum", [0.0, 0.5, 0.9]),
    ("nesterov", "momentum", [0.0, 0.5, 0.9]),
    ("dampened", "dampening", [0.0, 0.5, 1.0]),
    ("heavy_ball", "momentum", [0.0, 0.5, 0.9]),
    ("adagrad", "eps", [0.0, 1e-8, 0.1]),
    ("adam", "b1", [0.0, 0.5, 0.9]),
    ("adam", "b2", [0.0, 0.5, 0.999]),
    ("adam", "eps", [0.0, 1e-8, 0.1]),
    ("radam", "b1", [0.0, 0.5, 0.9]),
    ("radam", "b2", [0.5, 0.9, 0.999]),
    ("radam", "eps", [0.0, 1e-8, 0.1]),
    ("radam", "threshold", [4.0, 5.0, 6.0]),
    ("adagrad", "lr_decay", [0.0, 0.1, 1.0]),
    ("adagrad", "initial_accumulator_value", [0.0, 0.1, 1.0]),
    ("rmsprop", "decay", [0.0, 0.9, 0.99]),
    ("rmsprop", "eps", [0.0, 1e-8, 0.1]),
    ("rmsprop, zero", "decay", [0.0, 0.9, 0.99]),
    ("rmsprop, eps_in_root", "eps", [0.0, 1e-8, 0.1]),
    ("nadam", "b1", [0.0, 0.5, 0.9]),
    ("nadam", "b2", [0.0, 0.5, 0.999]),
    ("nadam", "momentum_decay", [0.0, 0.004, 1.0]),
    ("amsgrad", "b1", [0.0, 0.5, 0.9]),
    ("amsgrad", "b2", [0.0, 0.5, 0.999]),
    ("amsgrad, raw", "eps", [0.0, 1e-8, 0.1]),
]


@pytest.mark.full  # tests/contract has a smaller one
@pytest.mark.parametrize(("name", "argument", "values"), SWEEPS)
def test_vmap_over_a_hyperparameter(name, argument, values):
    """What is traced may be 0; the state is the same tree in and out."""
    grads = jnp.asarray(np.where(GRADS[:20] == 0, 1.0, GRADS[:20]), jnp.float32)

    run = partial(swept, name, argument, grads=grads)
    together = jax.jit(jax.vmap(run))(jnp.array(values, jnp.float32))
    for got, x in zip(together, values, strict=True):
        expected = run(x)
        # Known or traced, 1 - b**t has its digits: what is left is rounding.
        scale = np.maximum(np.abs(expected).max(), 1e-3)
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-6 * scale)


# ---- Bad arguments -------------------------------------------------------------------

WRONG_NUMBERS = {
    ("momentum", "momentum"): (-0.1, 1.0, np.nan, np.inf),
    ("momentum", "dampening"): (-0.1, 1.1, np.nan),
    ("heavy_ball", "momentum"): (-0.1, 1.0, np.nan),
    ("heavy_ball", "learning_rate"): (-0.1, np.nan, np.inf),
    ("adagrad", "eps"): (-1e-8, np.nan, np.inf),
    ("adam", "b1"): (-0.1, 1.0),
    ("adam", "b2"): (-0.1, 1.0),
    ("adam", "eps"): (-1e-8,),
    ("radam", "b1"): (-0.1, 1.0),
    ("radam", "b2"): (-0.1, 1.0),
    ("radam", "eps"): (-1e-8,),
    ("radam", "threshold"): (3.9, np.nan),
    ("adagrad", "lr_decay"): (-0.1, np.nan, np.inf),
    ("adagrad", "initial_accumulator_value"): (-0.1, np.nan, np.inf),
    ("rmsprop", "decay"): (-0.1, 1.0, np.nan),
    ("rmsprop", "eps"): (-1e-8, np.nan, np.inf),
    ("nadam", "b1"): (-0.1, 1.0),
    ("nadam", "b2"): (-0.1, 1.0),
    ("nadam", "eps"): (-1e-8,),
    ("nadam", "momentum_decay"): (-0.1, np.nan, np.inf),
    ("amsgrad", "b1"): (-0.1, 1.0),
    ("amsgrad", "b2"): (-0.1, 1.0),
    ("amsgrad", "eps"): (-1e-8,),
}
NO_NUMBERS = ("0.9", None, [0.9], 1j, True, np.array([0.9]), jnp.zeros(1))
NUMBERS = [(*key, x) for key, xs in WRONG_NUMBERS.items() for x in xs]
KINDS = [(*key, x) for key in WRONG_NUMBERS for x in NO_NUMBERS]


def construct(name, argument, value):
    required = {"learning_rate": 0.1} if name == "heavy_ball" else {}
    return getattr(oxe.rules, name)(**{**required, argument: value})


@pytest.mark.parametrize(("name", "argument", "value"), NUMBERS)
def test_numbers_out_of_range(name, argument, value):
    for kind in (float, np.float32, jnp.float32):
        with pytest.raises(ValueError, match=f"^{name}: `{argument}` must .*got "):
            construct(name, argument, kind(value))


@pytest.mark.parametrize(("name", "argument", "value"), KINDS, ids=str)
def test_no_numbers(name, argument, value):
    with pytest.raises(TypeError, match=f"^{name}: `{argument}` must .*got "):
        construct(name, argument, value)


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("momentum", "nesterov"),
        ("heavy_ball", "nesterov"),
        ("adam", "eps_hat"),
        ("rmsprop", "centered"),
        ("rmsprop", "eps_in_root"),
        ("amsgrad", "bias_correction"),
        ("amsgrad", "eps_hat"),
    ],
)
@pytest.mark.parametrize("value", [0, 1, None, "yes", jnp.bool_(True)])
def test_flags_are_bools(name, argument, value):
    with pytest.raises(TypeError, match=f"^{name}: `{argument}` must .*got "):
        construct(name, argument, value)


@pytest.mark.parametrize("value", ["first", "", None, 0, True])
def test_words_are_of_a_list(value):
    with pytest.raises(ValueError, match=r"^rmsprop: `initial` must be .*'zero', got "):
        oxe.rules.rmsprop(initial=value)


@pytest.mark.parametrize("dampening", [0.5, np.float32(0.5), jnp.float32(0.5)])
def test_nesterov_takes_no_dampening(dampening):
    with pytest.raises(ValueError, match=r"^momentum: `dampening` must .* `nesterov`"):
        oxe.rules.momentum(dampening=dampening, nesterov=True)


@pytest.mark.parametrize("zero", [0, 0.0, np.float32(0), np.float64(0)])
def test_nesterov_takes_every_zero_dampening(zero):
    """NumPy numbers count as known."""
    rule = oxe.rules.momentum(dampening=zero, nesterov=True)
    np.testing.assert_array_equal(
        ours(rule, GRADS[:5]), ours(oxe.rules.momentum(nesterov=True), GRADS[:5])
    )
