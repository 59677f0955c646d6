"""AdaBound and AMSBound: Adam that turns into SGD gradually, weight by weight."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax

from optax_extras._checks import Decay, LearningRate, Mask, NonNegative, checked
from optax_extras._errors import refuse, refuse_kind
from optax_extras._kernel._decay_and_rate import add_decay_with_inner_rate
from optax_extras._kernel.scale_by_moments import Rule, scale_by_moments
from optax_extras._kernel.tableau import Tableau
from optax_extras._learning_rates._source import as_rate
from optax_extras._numerics import as_float, one_minus_power
from optax_extras._values import is_real, is_traced

Bounds = Callable[..., tuple[Any, Any]]


@checked
def adabound_rule(
    learning_rate: LearningRate,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    final_rate: NonNegative = 0.1,
    gamma: NonNegative = 1e-3,
    bounds: Bounds | None = None,
    paper: bool = False,
) -> Rule:
    """Adam between bounds on the rate of each weight: the rule of `oxe.adabound`.

    Its formula and its arguments are those of `oxe.adabound`. The learning rate is
    applied inside: follow it with ``optax.scale(-1.0)``.

    Returns:
      An `oxe.Rule` with the buffers `mu` and `nu`, that carries its rate, for
      `oxe.learning_rate` to read.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> rule = oxe.rules.adabound(1e-3)
      >>> tx = optax.chain(oxe.scale_by_moments(rule), optax.scale(-1.0))
    """
    options = {"final_rate": final_rate, "gamma": gamma}
    rest: dict[str, Any] = {**options, "bounds": bounds, "paper": paper}
    return _bounded({"mu", "nu"}, learning_rate, b1, b2, eps, **rest)


@checked
def amsbound_rule(
    learning_rate: LearningRate,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    final_rate: NonNegative = 0.1,
    gamma: NonNegative = 1e-3,
    bounds: Bounds | None = None,
    paper: bool = False,
) -> Rule:
    """`adabound` with the largest second moment so far: the rule of `oxe.amsbound`.

    Its formula and its arguments are those of `oxe.amsbound`. The learning rate is
    applied inside: follow it with ``optax.scale(-1.0)``.

    Returns:
      An `oxe.Rule` with the buffers `mu`, `nu` and `nu_max`, that carries its rate, for
      `oxe.learning_rate` to read.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> rule = oxe.rules.amsbound(1e-3)
      >>> tx = optax.chain(oxe.scale_by_moments(rule), optax.scale(-1.0))
    """
    buffers = {"mu", "nu", "nu_max"}
    options = {"final_rate": final_rate, "gamma": gamma}
    rest: dict[str, Any] = {**options, "bounds": bounds, "paper": paper}
    return _bounded(buffers, learning_rate, b1, b2, eps, **rest)


def _bounded(
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
    rate = as_rate("learning_rate", learning_rate)
    if bounds is not None:
        for argument, x, default in (
            ("final_rate", final_rate, 0.1),
            ("gamma", gamma, 1e-3),
        ):
            if not is_traced(x) and x != default:
                refuse(argument, f"be {default} with `bounds`", x)
        _check_pair(bounds)

    def step(t, carry):
        eta, carry = rate.value_at(t - 1, carry)
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
            size, momentum_factor = eta, 1 / jnp.sqrt(time)
        else:
            root = jnp.sqrt(one_minus_power(b2, t))
            size, momentum_factor = eta * root / one_minus_power(b1, t), 1
            if callable(learning_rate):
                first = rate.init().learning_rate
                scale = jnp.where(first > 0, eta / jnp.where(first > 0, first, 1), 1)
                lo, hi = lo * scale, hi * scale
        return Tableau(
            a1=b1, c1=1 - b1, a2=b2, c2=1 - b2, n1=momentum_factor,
            s=size, d=1, e=eps, lo=lo, hi=hi,
        ), carry  # fmt: skip

    def after(t, carry, /, *, grads, updates, params, **extra):
        del t, grads, updates, params
        return rate.observe(carry, **extra)

    return Rule(
        rate.init, step, after if rate.needs_metric else None, frozenset(buffers)
    )


def _check_pair(bounds: Any) -> None:
    """Looks at the first ones."""
    pair = bounds(jnp.zeros((), jnp.int32))
    is_pair = isinstance(pair, tuple | list) and len(pair) == 2
    if not (is_pair and all(map(is_real, pair))):
        must = "return the pair (lower, upper) of real numbers"
        refuse_kind("bounds", must, pair)
    if not any(map(is_traced, pair)) and not pair[0] <= pair[1]:
        must = "return a lower bound not above the upper one"
        refuse("bounds", must, pair)


@checked
def adabound(
    learning_rate: LearningRate,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    final_rate: NonNegative = 0.1,
    gamma: NonNegative = 1e-3,
    bounds: Bounds | None = None,
    paper: bool = False,
    weight_decay: NonNegative = 0.0,
    mask: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Adam whose rate for each weight is held between bounds that close in.

    It begins as Adam and ends as SGD with momentum at the rate `final_rate`, weight by
    weight and without a moment of switching. Prefer it where that rate is known;
    :func:`swats` finds the rate itself and switches at once. Bounds on a rate need the
    rate inside: there is no ``scale_by_adabound``.

    .. math::
        \hat\eta = \mathrm{clip}\Big( \frac{\eta_t \sqrt{1 - \beta_2^t}}
            {(1 - \beta_1^t) (\sqrt{v} + \epsilon)},\; F_t
            \Big(1 - \frac{1}{\gamma t + 1}\Big),\; F_t
            \Big(1 + \frac{1}{\gamma t}\Big) \Big), \qquad
        w \leftarrow w - \hat\eta\, m

    at update :math:`t = 1, 2, \dots`, with Adam's :math:`m` and :math:`v`. The factor
    :math:`F_t` is :math:`F \eta_t / \eta_1`, so that a schedule acts on the bounds too
    (:math:`F` for a number, or where :math:`\eta_1 = 0`). Behind a warm-up it is thus
    larger than :math:`F`: multiply `final_rate` by the first rate over the highest one.

    That is the authors' code: Adam's bias correction stands inside the clip, and
    :math:`m` has none. The paper's form has no correction and always :math:`F_t = F`,
    but it divides the step by :math:`\sqrt t`, which its proof needs:
    :math:`w \leftarrow w - \mathrm{clip}(\eta_t / (\sqrt v + \epsilon), lo, hi)\, m /
    \sqrt t`, between the same bounds.

    Args:
      learning_rate: :math:`\eta_t \ge 0`: a number, a schedule, which is called with
        the number of updates already made, or a metric schedule.
      b1: :math:`\beta_1` in [0, 1).
      b2: :math:`\beta_2` in [0, 1).
      eps: :math:`\epsilon \ge 0`; the paper has none.
      final_rate: :math:`F \ge 0`, the rate of SGD at the end.
      gamma: :math:`\gamma \ge 0`, how fast the bounds close in; the paper has
        :math:`1 - \beta_2`. After :math:`1 / \gamma` updates they are :math:`F_t / 2`
        and :math:`2 F_t`; at 0 there are none.
      bounds: Other bounds in the place of those two: a function, traceable, from the
        number of updates already made to the pair (lower, upper). It is multiplied by
        :math:`\eta_t / \eta_1` as they are. None: those of the formula.
      paper: Whether to take the paper's form.
      weight_decay: :math:`\lambda \ge 0`, decoupled: :math:`\eta_t \lambda w` is
        subtracted as well, for which `update` needs the params.
      mask: What is decayed: a tree of bools like the params, or a function from the
        params to one. None means all.

    Returns:
      An `optax.GradientTransformationExtraArgs`; :func:`learning_rate` reads its
      :math:`\eta_t`, ``optax.tree.get(state, "mu")`` its :math:`m`, ``"nu"`` its
      :math:`v`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.adabound(1e-3, final_rate=0.1)

    References:
      Luo et al., `Adaptive gradient methods with dynamic bound of learning rate
      <https://arxiv.org/abs/1902.09843>`_, 2019
    """
    options: dict[str, Any] = {"final_rate": final_rate, "gamma": gamma}
    options |= {"bounds": bounds, "paper": paper}
    rule = adabound_rule(learning_rate, b1, b2, eps, **options)
    return _downhill(rule, weight_decay, mask)


@checked
def amsbound(
    learning_rate: LearningRate,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    final_rate: NonNegative = 0.1,
    gamma: NonNegative = 1e-3,
    bounds: Bounds | None = None,
    paper: bool = False,
    weight_decay: NonNegative = 0.0,
    mask: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r""":func:`adabound` whose second moment never shrinks, as in :func:`amsgrad`.

    In the formula of :func:`adabound`, :math:`v` is replaced by its largest value so
    far, entry by entry; it is corrected after the maximum is taken. It keeps three
    buffers, :func:`adabound` two.

    Args:
      learning_rate: :math:`\eta_t \ge 0`: a number, a schedule, which is called with
        the number of updates already made, or a metric schedule.
      b1: :math:`\beta_1` in [0, 1).
      b2: :math:`\beta_2` in [0, 1).
      eps: :math:`\epsilon \ge 0`; the paper has none.
      final_rate: :math:`F \ge 0`, the rate of SGD at the end.
      gamma: :math:`\gamma \ge 0`, how fast the bounds close in; at 0 there are none.
      bounds: Other bounds in the place of those two: a function, traceable, from the
        number of updates already made to the pair (lower, upper). None: those of
        :func:`adabound`.
      paper: Whether to take the paper's form.
      weight_decay: :math:`\lambda \ge 0`, decoupled: :math:`\eta_t \lambda w` is
        subtracted as well, for which `update` needs the params.
      mask: What is decayed: a tree of bools like the params, or a function from the
        params to one. None means all.

    Returns:
      An `optax.GradientTransformationExtraArgs`; :func:`learning_rate` reads its
      :math:`\eta_t`, ``optax.tree.get(state, "nu_max")`` the largest :math:`v` so far.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.amsbound(1e-3, gamma=1e-4)

    References:
      Luo et al., `Adaptive gradient methods with dynamic bound of learning rate
      <https://arxiv.org/abs/1902.09843>`_, 2019
    """
    options: dict[str, Any] = {"final_rate": final_rate, "gamma": gamma}
    options |= {"bounds": bounds, "paper": paper}
    rule = amsbound_rule(learning_rate, b1, b2, eps, **options)
    return _downhill(rule, weight_decay, mask)


def _downhill(rule: Rule, weight_decay: Any, mask: Mask | None) -> Any:
    tx = optax.chain(scale_by_moments(rule), optax.scale(-1.0))
    return add_decay_with_inner_rate(tx, weight_decay, mask)
