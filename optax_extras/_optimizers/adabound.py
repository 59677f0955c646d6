"""AdaBound and AMSBound: Adam that turns into SGD gradually, weight by weight."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_extras._check_values import is_real, is_traced
from optax_extras._checks import (
    Decay,
    LearningRate,
    Mask,
    NonNegative,
    Positive,
    WeightDecay,
    checked_by_path,
    checked_rule,
)
from optax_extras._errors import refuse, refuse_kind
from optax_extras._kernel._assemble import chain_sign_and_decay
from optax_extras._kernel.rule import Rule
from optax_extras._kernel.tableau import Tableau
from optax_extras._learning_rates._source import (
    CONSTANT,
    RateState,
    Source,
    as_rate,
    rises,
    starts_at_zero,
)
from optax_extras._numerics import as_float, one_minus_power

Bounds = Callable[..., tuple[Any, Any]]


class AdaBoundState(NamedTuple):
    """The scalars that :func:`adabound` passes from one update to the next."""

    rate: RateState
    """The learning rate of the last update."""
    base_lr: jax.Array
    """Shape (), float32 (float64 under x64): the learning rate that belongs to
    `final_rate`; 0 until it is known."""

    restarted_fields = ()


@checked_rule
def adabound_rule(
    learning_rate: LearningRate,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    final_rate: NonNegative = 0.1,
    gamma: NonNegative = 1e-3,
    base_lr: Positive | None = None,
    bounds: Bounds | None = None,
    paper: bool = False,
) -> Rule:
    """Adam with bounds on the learning rate of each weight.

    Formula and arguments as in :func:`optax_extras.adabound`. The rule applies the
    learning rate itself, so follow it with ``optax.scale(-1.0)``; `oxe.learning_rate`
    finds it in the state. Buffers: `mu` and `nu`.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> rule = oxe.rules.adabound(1e-3)
      >>> tx = optax.chain(oxe.scale_by_moments(rule), optax.scale(-1.0))
    """
    rate = as_rate("learning_rate", learning_rate)
    if bounds is not None:
        defaults = ("final_rate", final_rate, 0.1), ("gamma", gamma, 1e-3)
        for argument, x, default in defaults:
            if not is_traced(x) and x != default:
                refuse(argument, f"be {default} with `bounds`", x)
        _check_pair(bounds)
    if paper and base_lr is not None:
        refuse("base_lr", "be None with `paper`", base_lr)
    if not paper:
        _check_base(rate, base_lr)

    def init():
        first = rate.init()
        base = first.learning_rate if base_lr is None else base_lr
        return AdaBoundState(first, as_float(base))

    def step(t, carry):
        eta, rate_state = rate.value_at(t - 1, carry.rate)
        base = carry.base_lr if base_lr is None else as_float(base_lr)
        # A first learning rate of 0 may have been set to another: that is the base.
        if rate.kind == CONSTANT and not isinstance(rate.given, jax.Array):
            base = jnp.where(base > 0, base, eta)
        time = as_float(t)
        if bounds is not None:
            lo, hi = map(as_float, bounds(t - 1))
        else:
            last, speed = as_float(final_rate), time * as_float(gamma)
            # final_rate (1 - 1 / (speed + 1)), without subtracting close numbers.
            lo = last * (speed / (speed + 1))
            # No upper bound at a gamma of 0, unless final_rate is 0. The divisor is
            # never 0, which keeps derivatives finite.
            above = jnp.where(speed > 0, last / jnp.where(speed > 0, speed, 1), jnp.inf)
            hi = last + jnp.where(last > 0, above, 0)
        if paper:
            size, momentum_factor = eta, 1 / jnp.sqrt(time)
        else:
            root = jnp.sqrt(one_minus_power(b2, t))
            size, momentum_factor = eta * root / one_minus_power(b1, t), 1
            scale = eta / jnp.where(eta > 0, base, 1)
            lo, hi = lo * scale, hi * scale
        # Selected and not multiplied: at a gamma of 0 `hi` is inf, and inf * 0 is NaN.
        lo, hi = (jnp.where(eta > 0, x, 0) for x in (lo, hi))
        return Tableau(
            a1=b1, c1=1 - b1, a2=b2, c2=1 - b2, n1=momentum_factor,
            s=size, d=1, e=eps, lo=lo, hi=hi,
        ), AdaBoundState(rate_state, base)  # fmt: skip

    def after(t, carry, /, *, grads, updates, params, **extra):
        del t, grads, updates, params
        return carry._replace(rate=rate.observe(carry.rate, **extra))

    return Rule(init, step, after if rate.needs_metric else None)


@checked_rule
def amsbound_rule(
    learning_rate: LearningRate,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    final_rate: NonNegative = 0.1,
    gamma: NonNegative = 1e-3,
    base_lr: Positive | None = None,
    bounds: Bounds | None = None,
    paper: bool = False,
) -> Rule:
    """`adabound` with the largest second moment so far.

    Formula and arguments as in :func:`optax_extras.amsbound`. The rule applies the
    learning rate itself, so follow it with ``optax.scale(-1.0)``; `oxe.learning_rate`
    finds it in the state. Buffers: `mu`, `nu` and `nu_max`.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> rule = oxe.rules.amsbound(1e-3)
      >>> tx = optax.chain(oxe.scale_by_moments(rule), optax.scale(-1.0))
    """
    rule = adabound_rule(
        learning_rate, b1, b2, eps,
        final_rate=final_rate, gamma=gamma, base_lr=base_lr, bounds=bounds, paper=paper,
    )  # fmt: skip
    return rule._replace(buffers=rule.buffers | {"nu_max"})


def _check_base(rate: Source, base_lr: Any) -> None:
    """Refuses a warm-up where nobody said which rate belongs to `final_rate`."""
    if base_lr is None and (starts_at_zero(rate) or rises(rate)):
        must = "be given if the learning rate starts at 0 or rises"
        hint = "It is the learning rate that belongs to `final_rate`: the highest one."
        refuse("base_lr", must, base_lr, hint)


def _check_pair(bounds: Any) -> None:
    """Checks the bounds of the first update."""
    pair = bounds(jnp.zeros((), jnp.int32))
    is_pair = isinstance(pair, tuple | list) and len(pair) == 2
    if not (is_pair and all(map(is_real, pair))):
        must = "return the pair (lower, upper) of real numbers"
        refuse_kind("bounds", must, pair)
    if not any(map(is_traced, pair)) and not pair[0] <= pair[1]:
        must = "return a lower bound not above the upper one"
        refuse("bounds", must, pair)


@checked_by_path
def adabound(
    learning_rate: LearningRate,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    final_rate: NonNegative = 0.1,
    gamma: NonNegative = 1e-3,
    base_lr: Positive | None = None,
    bounds: Bounds | None = None,
    paper: bool = False,
    weight_decay: WeightDecay = 0.0,
    mask: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Adam with bounds on the learning rate of each weight, which close in over time.

    It changes gradually from Adam to SGD with momentum, whose learning rate is
    `final_rate`. Prefer it if you know a good learning rate for SGD; :func:`swats`
    estimates one and switches in a single update. There is no ``scale_by_adabound``,
    because the bounds apply to the learning rate.

    .. math::
        \hat\eta = \mathrm{clip}\Big( \frac{\eta_t \sqrt{1 - \beta_2^t}}
            {(1 - \beta_1^t) (\sqrt{v} + \epsilon)},\; F_t
            \Big(1 - \frac{1}{\gamma t + 1}\Big),\; F_t
            \Big(1 + \frac{1}{\gamma t}\Big) \Big), \qquad
        w \leftarrow w - \hat\eta\, m

    at update :math:`t = 1, 2, \dots`, with Adam's :math:`m` (`mu` in the state) and
    :math:`v` (`nu`). The factor :math:`F_t` is :math:`F \eta_t / \eta_b`, so that a
    schedule scales the bounds too; :math:`\eta_b`, `base_lr`, is the value of
    `learning_rate` that belongs to :math:`F`. If :math:`\eta_t = 0`, nothing moves.

    This is the authors' code: Adam's bias correction is inside the clip, and :math:`m`
    has none. The paper's form has no correction and always :math:`F_t = F`, but it
    divides the step by :math:`\sqrt t`, which its proof needs:
    :math:`w \leftarrow w - \mathrm{clip}(\eta_t / (\sqrt v + \epsilon), lo, hi)\, m /
    \sqrt t`, with the same bounds.

    Args:
      learning_rate: The learning rate :math:`\eta_t`.
      b1: :math:`\beta_1`, the decay of the first moment.
      b2: :math:`\beta_2`, the decay of the second moment.
      eps: :math:`\epsilon`, added to the denominator; the paper has none.
      final_rate: :math:`F`, the learning rate of SGD at the end. The factor
        :math:`\eta_t / \eta_b` of a schedule multiplies it, except with `paper`.
      gamma: :math:`\gamma`, how fast the bounds close in; the paper has
        :math:`1 - \beta_2`. After :math:`1 / \gamma` updates they are :math:`F_t / 2`
        and :math:`2 F_t`; at 0 there are none.
      base_lr: :math:`\eta_b`, the value of `learning_rate` that belongs to :math:`F`.
        None: the first learning rate, which the state stores. For a schedule that
        rises, such as a warm-up, give its highest value.
      bounds: A traceable function that returns the pair (lower, upper), in place of the
        bounds of the formula. It is called with the number of updates already made. The
        factor :math:`\eta_t / \eta_b` multiplies both. None: the formula.
      paper: Use the paper's form; `base_lr` must then be None.
      weight_decay: Decoupled weight decay: each update also subtracts learning rate
        times weight decay times params. `update` then needs the params.
      mask: The leaves that decay: a tree of bools, or a function of the params that
        returns one. None: all.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.adabound(1e-3, final_rate=0.1)

    References:
      Luo et al., `Adaptive gradient methods with dynamic bound of learning rate
      <https://arxiv.org/abs/1902.09843>`_, 2019
    """
    rule = adabound_rule(
        learning_rate, b1, b2, eps,
        final_rate=final_rate, gamma=gamma, base_lr=base_lr, bounds=bounds, paper=paper,
    )  # fmt: skip
    return chain_sign_and_decay(rule, weight_decay, mask)


@checked_by_path
def amsbound(
    learning_rate: LearningRate,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    final_rate: NonNegative = 0.1,
    gamma: NonNegative = 1e-3,
    base_lr: Positive | None = None,
    bounds: Bounds | None = None,
    paper: bool = False,
    weight_decay: WeightDecay = 0.0,
    mask: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r""":func:`adabound` with the largest second moment so far, as in :func:`amsgrad`.

    Formula and arguments as in :func:`adabound`, but :math:`v` is replaced by its
    largest value so far (`nu_max` in the state), entry by entry; the bias correction
    comes after the maximum. It needs three buffers instead of two.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.amsbound(1e-3, gamma=1e-4)
    """
    rule = amsbound_rule(
        learning_rate, b1, b2, eps,
        final_rate=final_rate, gamma=gamma, base_lr=base_lr, bounds=bounds, paper=paper,
    )  # fmt: skip
    return chain_sign_and_decay(rule, weight_decay, mask)
