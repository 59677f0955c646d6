"""AdaBound and AMSBound: the rate of each weight between bounds that close in."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras._numerics import as_float, one_minus_power
from optax_extras._rates.rate import as_rate
from optax_extras.rules._kernel import Rule
from optax_extras.rules._tableau import Tableau

Bounds = Callable[..., tuple[Any, Any]] | None


def adabound(
    learning_rate: ArrayLike | optax.Schedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    *,
    final_rate: ArrayLike = 0.1,
    gamma: ArrayLike = 1e-3,
    bounds: Bounds = None,
    paper: bool = False,
) -> Rule:
    """Adam between bounds on the rate of each weight; see `oxe.adabound`.

    The formula is there. The rate is inside: chain a change of sign behind the
    direction, and no rate.

    Args:
      learning_rate: At least 0: a number, a schedule, which is called with the number
        of updates that the rule has made before, or a metric schedule.
      b1: In [0, 1).
      b2: In [0, 1).
      eps: At least 0.
      final_rate: What both bounds close in on, at least 0.
      gamma: How fast they do, at least 0; 0 means no bounds.
      bounds: Other bounds: a function from the number of updates made before to the
        pair (lower, upper). `final_rate` and `gamma` must then be left alone.
      paper: Whether it is the paper's form instead of that of the authors' code.

    Returns:
      An `oxe.Rule` with the buffers `mu` and `nu`, that carries its rate, for
      `oxe.learning_rate` to read.

    Raises:
      ValueError: If a number is out of range, the first lower bound above the upper,
        or `final_rate` or `gamma` changed together with `bounds`.
      TypeError: If what must be a number is not one, `learning_rate` neither number nor
        schedule, `bounds` no function to a pair, or `paper` no bool.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> rule = oxe.rules.adabound(1e-3)
      >>> tx = optax.chain(oxe.scale_by_moments(rule), optax.scale(-1.0))
    """
    options = {"final_rate": final_rate, "gamma": gamma}
    rest: dict[str, Any] = {**options, "bounds": bounds, "paper": paper}
    return _bounded("adabound", {"mu", "nu"}, learning_rate, b1, b2, eps, **rest)


def amsbound(
    learning_rate: ArrayLike | optax.Schedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    *,
    final_rate: ArrayLike = 0.1,
    gamma: ArrayLike = 1e-3,
    bounds: Bounds = None,
    paper: bool = False,
) -> Rule:
    """`adabound` with the largest second moment so far; see `oxe.amsbound`.

    Args:
      learning_rate: At least 0: a number, a schedule, which is called with the number
        of updates that the rule has made before, or a metric schedule.
      b1: In [0, 1).
      b2: In [0, 1).
      eps: At least 0.
      final_rate: What both bounds close in on, at least 0.
      gamma: How fast they do, at least 0; 0 means no bounds.
      bounds: Other bounds: a function from the number of updates made before to the
        pair (lower, upper). `final_rate` and `gamma` must then be left alone.
      paper: Whether it is the paper's form instead of that of the authors' code.

    Returns:
      An `oxe.Rule` with the buffers `mu`, `nu` and `nu_max`, that carries its rate, for
      `oxe.learning_rate` to read.

    Raises:
      ValueError: If a number is out of range, the first lower bound above the upper,
        or `final_rate` or `gamma` changed together with `bounds`.
      TypeError: If what must be a number is not one, `learning_rate` neither number nor
        schedule, `bounds` no function to a pair, or `paper` no bool.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> rule = oxe.rules.amsbound(1e-3)
      >>> tx = optax.chain(oxe.scale_by_moments(rule), optax.scale(-1.0))
    """
    buffers = {"mu", "nu", "nu_max"}
    options = {"final_rate": final_rate, "gamma": gamma}
    rest: dict[str, Any] = {**options, "bounds": bounds, "paper": paper}
    return _bounded("amsbound", buffers, learning_rate, b1, b2, eps, **rest)


def _bounded(
    name: str,
    buffers: set[str],
    learning_rate: Any,
    b1: Any,
    b2: Any,
    eps: Any,
    *,
    final_rate: Any,
    gamma: Any,
    bounds: Any,
    paper: bool,
) -> Rule:
    rate = as_rate(name, "learning_rate", learning_rate)
    b1 = _checks.real(name, "b1", b1, "[0, 1)")
    b2 = _checks.real(name, "b2", b2, "[0, 1)")
    eps = _checks.real(name, "eps", eps, "[0, inf)")
    final_rate = _checks.real(name, "final_rate", final_rate, "[0, inf)")
    gamma = _checks.real(name, "gamma", gamma, "[0, inf)")
    paper = _checks.flag(name, "paper", paper)
    if bounds is not None:
        for argument, x, default in (
            ("final_rate", final_rate, 0.1),
            ("gamma", gamma, 1e-3),
        ):
            if not _checks.is_traced(x) and x != default:
                _checks.refuse(name, argument, f"be {default} with `bounds`", x)
        _check_pair(name, _checks.function(name, "bounds", bounds))

    def step(t, carry):
        eta, carry = rate.now(t - 1, carry)
        time = as_float(t)
        if bounds is not None:
            lo, hi = map(as_float, bounds(t - 1))
        else:
            last, speed = as_float(final_rate), time * as_float(gamma)
            # final_rate (1 - 1 / (speed + 1)), without the difference of near ones.
            lo = last * (speed / (speed + 1))
            above = jnp.where(speed > 0, last / jnp.where(speed > 0, speed, 1), jnp.inf)
            hi = last + jnp.where(last > 0, above, 0)
        if paper:
            size, share = eta, 1 / jnp.sqrt(time)
        else:
            root = jnp.sqrt(one_minus_power(b2, t))
            size, share = eta * root / one_minus_power(b1, t), 1
            if callable(learning_rate):
                first = rate.init().learning_rate
                scale = jnp.where(first > 0, eta / jnp.where(first > 0, first, 1), 1)
                lo, hi = lo * scale, hi * scale
        return Tableau(
            a1=b1, c1=1 - b1, a2=b2, c2=1 - b2, n1=share,
            s=size, d=1, e=eps, lo=lo, hi=hi,
        ), carry  # fmt: skip

    def after(t, carry, /, *, grads, updates, params, **extra):
        del t, grads, updates, params
        return rate.after(carry, **extra) if rate.after else carry

    return Rule(rate.init, step, after if rate.after else None, frozenset(buffers))


def _check_pair(name: str, bounds: Any) -> None:
    """Looks at the first ones."""
    pair = bounds(jnp.zeros((), jnp.int32))
    is_pair = isinstance(pair, tuple | list) and len(pair) == 2
    if not (is_pair and all(map(_checks.is_real, pair))):
        must = "return the pair (lower, upper) of real numbers"
        _checks.refuse_kind(name, "bounds", must, pair)
    if not any(map(_checks.is_traced, pair)) and not pair[0] <= pair[1]:
        must = "return a lower bound not above the upper one"
        _checks.refuse(name, "bounds", must, pair)
