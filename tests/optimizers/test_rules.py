"""Every rule against its paper's formula in NumPy or against Optax; numerical traps."""

import decimal
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.optimizers import formulas
from tests.optimizers.paths import gradients
from tests.parity.programs import quick_jit

STEPS = 400
EPS32 = 2.0**-24
GRADS = gradients(STEPS, 5)


def directions(transforms, grads, dtype=np.float64):
    """All updates of each transformation, in one program."""

    def step(states, g):
        pairs = {name: transforms[name].update(g, s) for name, s in states.items()}
        us, states = ({name: x[i] for name, x in pairs.items()} for i in (0, 1))
        return states, us

    def run(grads):
        states = {name: tx.init(grads[0]) for name, tx in transforms.items()}
        return jax.lax.scan(step, states, grads)[1]

    with jax.enable_x64(dtype == np.float64):
        return jax.device_get(quick_jit(run)(jnp.asarray(grads, dtype)))


def of_rules(rules):
    return {name: oxe.scale_by_moments(rule) for name, rule in rules.items()}


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
    """A learning rate that changes at every step."""
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
        (oxe.rules.adagrad, formulas.adagrad, kw)
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
    options = [f"{k}={getattr(x, '__name__', x)}" for k, x in kw.items()]
    return f"{make.__name__}-{','.join(options)}"


CASES = {title(make, kw): (make, formula, kw) for make, formula, kw in CASES}


@cache
def expected(name):
    """The directions of a formula, and those for the absolute gradients."""
    _, formula, kw = CASES[name]
    return tuple(np.stack(list(formula(g, **kw))) for g in (GRADS, np.abs(GRADS)))


def found(dtype):
    rules = {
        name: make(**{NAMES.get(k, k): v for k, v in kw.items()})
        for name, (make, _, kw) in CASES.items()
    }
    return directions(of_rules(rules), GRADS, dtype)


def test_formulas_in_float64():
    for name, us in found(np.float64).items():
        exact, _ = expected(name)
        # In NumPy 1 - b**t has an error of 2**-53 / (1 - b); the rest is rounding.
        traveled = np.abs(np.cumsum(us - exact, 0)).max(0)
        assert np.all(traveled <= 1e-13 * np.abs(exact).sum(0)), name


def test_a_schedule_for_the_first_moment_of_adam():
    """As in PyTorch with scheduled betas: the bias correction uses the current b1."""
    b1 = np.linspace(0.95, 0.5, STEPS)
    us, m, v = [], 0.0, 0.0
    for t, g in enumerate(GRADS, 1):
        b = b1[t - 1]
        m, v = b * m + (1 - b) * g, 0.999 * v + 0.001 * g**2
        us.append(m / (1 - b**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8))
    rule = oxe.rules.adam(b1=lambda t: jnp.asarray(b1)[t])
    found = directions(of_rules({"adam": rule}), GRADS)["adam"]
    np.testing.assert_allclose(found, us, rtol=1e-12)


def roundings(b, contributions):
    """How many float32 rounding errors a moment contains, in ulps of the moment.

    Each step adds three (coefficient, product and sum). The part of a moment that
    remains from earlier steps contains their errors too.
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


def test_formulas_in_float32():
    sizes = np.abs(GRADS)
    for name, us in found(np.float32).items():
        make, _, kw = CASES[name]
        exact, magnitudes = expected(name)
        ulps = np.full(sizes.shape, 8.0)  # from the scalars, the root and the quotient
        if make in MU:
            b1 = kw.get("b1", kw.get("beta", kw.get("mu", 0.9)))
            rate = np.array([[falling(t)] for t in range(STEPS)])
            gains = rate if kw.get("rate") is falling else np.ones((STEPS, 1))
            gains[1:] *= 1 - kw.get("dampening", 0.0)
            ulps += np.stack(list(roundings(b1, gains * sizes)))
        if make in NU:  # the root halves them
            b2 = kw.get("b2", kw.get("decay", NU[make]))
            ulps += np.stack(list(roundings(b2, sizes**2))) / 2
        error = np.abs(us - exact)
        assert np.all(error <= EPS32 * ulps * magnitudes + 1e-38), name


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


def beside_optax(grads, dtype):
    ours = directions(of_rules({name: x[0] for name, x in OPTAX.items()}), grads, dtype)
    theirs = directions({name: x[1] for name, x in OPTAX.items()}, grads, dtype)
    return {name: (ours[name], theirs[name]) for name in OPTAX}


WITHOUT_ZEROS = np.where(GRADS == 0, 1e-3, GRADS)  # another test has 0 / 0


def test_optax_in_float64():
    for name, (us, exact) in beside_optax(WITHOUT_ZEROS, np.float64).items():
        traveled = np.abs(np.cumsum(us - exact, 0)).max(0)
        assert np.all(traveled <= 1e-12 * np.abs(exact).sum(0)), name


@pytest.mark.full
def test_as_exact_as_optax_in_float32():
    exact = beside_optax(WITHOUT_ZEROS, np.float64)
    scales = beside_optax(np.abs(WITHOUT_ZEROS), np.float64)
    for name, pair in beside_optax(WITHOUT_ZEROS, np.float32).items():
        scale = np.abs(scales[name][1])
        ours, theirs = ((np.abs(x - exact[name][1]) / scale).max() for x in pair)
        assert ours <= 2 * theirs + 4 * EPS32, name


# ---- RAdam: when the rectification begins, and its accuracy --------------------------


@cache
def rectification(b2, t):
    """(rho_t, rho_inf, r_t) to sixty digits; r_t is None up to rho_t = 4."""
    with decimal.localcontext(prec=60):
        b2 = decimal.Decimal(b2)  # the exact value of the double
        limit = 2 / (1 - b2) - 1
        rho = limit - 2 * t * b2**t / (1 - b2**t)
        if rho <= 4 or limit <= 4:
            return rho, limit, None
        top = (rho - 4) * (rho - 2) * limit
        return rho, limit, (top / ((limit - 4) * (limit - 2) * rho)).sqrt()


TIMES = [*range(1, 12), 35, 38, 39, 100, 250, 251, 1000, 10**4, 10**6, 2**31 - 1]


def tableau(rule, t):
    return rule.step(t, rule.init())[0]


BEGINNINGS = [
    *[(b2, 5.0) for b2 in (0.0, 0.65, 0.9, 0.99, 0.999)],
    *[(b2, 4.0) for b2 in (0.55, 0.65, 0.9, 0.9999)],
]


def test_radam_begins_when_it_should():
    """With known and with traced numbers."""
    times = jnp.asarray(TIMES, jnp.int32)

    def coefficients(b2, threshold):
        def at(t):
            rule = oxe.rules.radam(b2=b2, threshold=threshold, eps=1e-3)
            got = tableau(rule, t)
            return jnp.stack(
                [jnp.asarray(x, jnp.float32) for x in (got.d, got.s, got.e)]
            )

        return jax.vmap(at)(times)

    known = quick_jit(lambda: [coefficients(*pair) for pair in BEGINNINGS])()
    traced = quick_jit(jax.vmap(coefficients))(*np.float32(BEGINNINGS).T)
    for (b2, threshold), *ways in zip(BEGINNINGS, known, traced, strict=True):
        for exact, way in zip((b2, float(np.float32(b2))), ways, strict=True):
            for t, dse in zip(TIMES, np.asarray(way, np.float64), strict=True):
                check_beginning(exact, threshold, t, *dse)


def check_beginning(b2, threshold, t, d, s, e):
    rho, limit, rect = rectification(b2, t)
    ready = limit > 4 and rho > threshold
    assert d == ready, (b2, t)
    assert e == (np.float32(1e-3) if ready else 1), (b2, t)
    if not ready:
        assert s == 1, (b2, t)
        return
    with decimal.localcontext(prec=60):
        expected = float(rect * (1 - decimal.Decimal(b2) ** t).sqrt())
    # With b2 in float32 the power b2**t has an error of t ulps of b2.
    assert abs(s / expected - 1) < 1e-5, (b2, t)


def test_radam_in_float64():
    """To a dozen ulps, before and after the change from the series to the formula."""
    b2s = [0.8, 0.9, 0.99, 0.999, 0.9999]
    with jax.enable_x64(True):
        times = jnp.asarray(TIMES, jnp.int32)

        def steps(b2):
            return jax.vmap(lambda t: tableau(oxe.rules.radam(b2=b2), t).s)(times)

        found = quick_jit(lambda: [steps(b2) for b2 in b2s])()
    for b2, way in zip(b2s, np.asarray(found), strict=True):
        for t, got in zip(TIMES, way, strict=True):
            rho, _, rect = rectification(b2, t)
            with decimal.localcontext(prec=60):
                root = (1 - decimal.Decimal(b2) ** t).sqrt()
                expected = float(rect * root) if rho > 5 else 1.0
            assert abs(got / expected - 1) < 12 * 2.0**-52, (b2, t)


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


# Without the centered one: a constant gradient has no variance, and g / 0 is large.
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


WITHOUT_MU = ["sgd", "adagrad", "rmsprop", "rmsprop, zero", "rmsprop, eps_in_root"]


def test_one_large_gradient_makes_no_nan():
    """Its square is inf; the rule continues to work, though nu may stay inf.

    An infinite gradient gives no finite update; without a first moment later updates
    are finite again.
    """
    grads = np.ones((8, 4))
    grads[0, 0] = grads[5, 1] = 1e20
    grads[2, 2] = np.inf
    rules = {name: make() for name, make in RULES.items()}
    for name, us in directions(of_rules(rules), grads, np.float32).items():
        assert np.all(np.isfinite(us[:, [0, 1, 3]])), name
        assert name not in WITHOUT_MU or np.all(np.isfinite(us[3:])), name


def test_derivatives_at_a_gradient_of_zero():
    """The root has no derivative at 0; that of u = g / eps is large but finite."""

    def total(make, grads):
        tx = oxe.scale_by_moments(make())
        first, state = tx.update(grads, tx.init(grads))
        return jnp.sum(first + tx.update(grads, state)[0])

    def slopes(grads):
        rooted = [*ROOTED, "rmsprop, centered"]
        return {name: jax.grad(partial(total, RULES[name]))(grads) for name in rooted}

    for name, slope in quick_jit(slopes)(jnp.array([0.0, 1.0])).items():
        assert np.all(np.isfinite(slope)), name


def swept(name, argument, x, grads):
    """All updates of a rule with one hyperparameter set, which may be traced."""
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


# Variants of the others, which are unlikely to fail alone at 0.
LATER = ("nesterov", "heavy_ball, nesterov", "adam, eps_hat", "amsgrad, raw")


@pytest.mark.parametrize("later", [False, pytest.param(True, marks=pytest.mark.full)])
def test_derivatives_in_a_hyperparameter(later):
    """Also at 0, against finite differences in float64."""
    grads = np.random.default_rng(3).normal(size=(6, 2))
    cases = [x for x in HYPERPARAMETERS if (x[-1] != 0 or x[0] in LATER) == later]
    h = 1e-6

    def around(name, argument, at):
        run = partial(swept, name, argument, grads=jnp.asarray(grads))
        points = at + h * jnp.arange(-1.0, 3.0)
        return jax.vmap(lambda x: jax.jvp(run, (x,), (jnp.ones(()),)))(points)

    with jax.enable_x64(True):
        found = jax.device_get(quick_jit(lambda: [around(*x) for x in cases])())
    for case, (values, slopes) in zip(cases, found, strict=True):
        below, here, above, ahead = values
        # At 0 take a one-sided difference: powers of a negative b1 or b2 are NaN.
        one_sided = (4 * above - 3 * here - ahead) / (2 * h)
        expected = one_sided if case[-1] == 0 else (above - below) / (2 * h)
        np.testing.assert_allclose(slopes[1], expected, 1e-4, 1e-4, err_msg=str(case))


def test_no_epsilon_and_no_gradient():
    """0 / 0 gives 0, for an eps known to be 0 and for a traced one."""
    grads = np.zeros((8, 2), np.float32)
    grads[:, 1] = 1

    def both(eps):
        traced = {name: swept(name, "eps", eps, grads) for name in ROOTED}
        return traced, {name: swept(name, "eps", 0, grads) for name in ROOTED}

    for way in quick_jit(both)(0.0):
        for name, us in way.items():
            np.testing.assert_array_equal(us[:, 0], 0, err_msg=name)
            assert np.all(np.isfinite(us)), name


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


@pytest.mark.full  # tests/contract has a smaller test
@pytest.mark.parametrize(("name", "argument", "values"), SWEEPS)
def test_vmap_over_a_hyperparameter(name, argument, values):
    """A traced value may be 0; the state keeps its tree structure."""
    grads = jnp.asarray(np.where(GRADS[:20] == 0, 1.0, GRADS[:20]), jnp.float32)

    run = partial(swept, name, argument, grads=grads)
    together = quick_jit(jax.vmap(run))(jnp.array(values, jnp.float32))
    for got, x in zip(together, values, strict=True):
        expected = run(x)
        # 1 - b**t is accurate, known or traced; the rest is rounding.
        scale = np.maximum(np.abs(expected).max(), 1e-3)
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-6 * scale)


# ---- Wrong arguments -----------------------------------------------------------------

OUT_OF_RANGE = {
    ("momentum", "momentum"): (-0.1, 1.0, np.nan, np.inf),
    ("momentum", "dampening"): (-0.1, 1.1),
    ("heavy_ball", "momentum"): (-0.1, 1.0),
    ("heavy_ball", "learning_rate"): (-0.1, np.inf),
    ("adagrad", "eps"): (-1e-8, np.inf),
    ("adam", "b1"): (-0.1, 1.0),
    ("adam", "b2"): (-0.1, 1.0),
    ("adam", "eps"): (-1e-8,),
    ("radam", "b1"): (-0.1, 1.0),
    ("radam", "b2"): (-0.1, 1.0),
    ("radam", "eps"): (-1e-8,),
    ("radam", "threshold"): (3.9, np.nan),
    ("adagrad", "lr_decay"): (-0.1, np.inf),
    ("adagrad", "initial_accumulator_value"): (-0.1, np.inf),
    ("rmsprop", "decay"): (-0.1, 1.0),
    ("rmsprop", "eps"): (-1e-8, np.inf),
    ("nadam", "b1"): (-0.1, 1.0),
    ("nadam", "b2"): (-0.1, 1.0),
    ("nadam", "eps"): (-1e-8,),
    ("nadam", "momentum_decay"): (-0.1, np.inf),
    ("amsgrad", "b1"): (-0.1, 1.0),
    ("amsgrad", "b2"): (-0.1, 1.0),
    ("amsgrad", "eps"): (-1e-8,),
}
FLAGS = [
    ("momentum", "nesterov"), ("heavy_ball", "nesterov"), ("adam", "eps_hat"),
    ("rmsprop", "centered"), ("rmsprop", "eps_in_root"),
    ("amsgrad", "bias_correction"), ("amsgrad", "eps_hat"),
]  # fmt: skip


def refuses(error, name, argument, value):
    required = {"learning_rate": 0.1} if name == "heavy_ball" else {}
    with pytest.raises(error, match=f"^{name}: `{argument}` must .*got "):
        getattr(oxe.rules, name)(**{**required, argument: value})


def test_numbers():
    for (name, argument), values in OUT_OF_RANGE.items():
        for value in values:
            refuses(ValueError, name, argument, value)
        refuses(TypeError, name, argument, "0.9")
    for kind in (np.float32, jnp.float32):
        refuses(ValueError, "adam", "b1", kind(1))
    for value in (None, [0.9], 1j, True, np.array([0.9]), jnp.zeros(1)):
        refuses(TypeError, "momentum", "momentum", value)


def test_flags_and_words():
    for name, argument in FLAGS:
        refuses(TypeError, name, argument, 1)
    for value in (0, None, "yes", jnp.bool_(True)):
        refuses(TypeError, "adam", "eps_hat", value)
    for value in ("first", "", None, 0, True):
        refuses(ValueError, "rmsprop", "initial", value)


def test_nesterov_takes_no_dampening():
    """Every zero is accepted, because NumPy numbers count as known."""
    for dampening in (0.5, np.float32(0.5), jnp.float32(0.5)):
        with pytest.raises(
            ValueError, match=r"^momentum: `dampening` must .*`nesterov`"
        ):
            oxe.rules.momentum(dampening=dampening, nesterov=True)
    programs = set()
    for zero in (0, 0.0, np.float32(0), np.float64(0)):
        rule = oxe.rules.momentum(dampening=zero, nesterov=True)
        tx, g = oxe.scale_by_moments(rule), jnp.ones(2)
        programs.add(str(jax.make_jaxpr(tx.update)(g, tx.init(g))))
    assert len(programs) == 1
