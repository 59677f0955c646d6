"""NAdam, as in the paper and in PyTorch."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_extras._check_values import is_positive
from optax_extras._checks import (
    Decay,
    LearningRate,
    Mask,
    NonNegative,
    WeightDecay,
    checked_by_path,
    checked_rule,
)
from optax_extras._kernel._assemble import chain_decay_and_rate
from optax_extras._kernel.rule import Rule
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._kernel.tableau import Tableau
from optax_extras._numerics import as_float, one_minus_power


class NadamCarry(NamedTuple):
    """What `nadam` carries."""

    product: jax.Array
    """Shape (), float32 at least: the product of the momenta so far."""


@checked_rule
def nadam_rule(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    momentum_decay: NonNegative = 0.004,
) -> Rule:
    r"""Adam with Nesterov's look-ahead and a momentum that warms up.

    Formula and arguments as in :func:`optax_extras.nadam`. The rule has the buffers
    `mu` and `nu` and carries :math:`P_t`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.scale_by_moments(oxe.rules.nadam())
    """

    def step(t, carry):
        time = as_float(t)
        slope = as_float(momentum_decay) * math.log(0.96)
        now, then = (
            as_float(b1) * (1 - 0.5 * jnp.exp(s * slope)) for s in (time, time + 1)
        )
        product = carry.product * now
        root = jnp.sqrt(one_minus_power(b2, t))
        return Tableau(
            a1=b1, c1=1 - b1, a2=b2, c2=1 - b2,
            n0=(1 - now) / (1 - product), n1=then / (1 - product * then),
            s=root, d=1, e=eps * root,
        ), NadamCarry(product)  # fmt: skip

    never_zero = {"s", "n0"} | ({"n1"} if is_positive(b1) else set())
    return Rule(lambda: NadamCarry(as_float(1)), step, never_zero=frozenset(never_zero))


@checked_by_path
def scale_by_nadam(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    momentum_decay: NonNegative = 0.004,
) -> optax.GradientTransformationExtraArgs:
    """:func:`nadam` without learning rate and sign, with the same arguments."""
    return scale_by_moments(nadam_rule(b1, b2, eps, momentum_decay=momentum_decay))


@checked_by_path
def nadam(
    learning_rate: LearningRate,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    momentum_decay: NonNegative = 0.004,
    weight_decay: WeightDecay = 0.0,
    mask: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Adam with Nesterov's look-ahead and a momentum that warms up.

    The momentum rises from about half of `b1` to `b1`, so old gradients count less in
    the first updates than in Adam. This is the rule of the paper and of PyTorch; Keras'
    is the same with :math:`\psi = 1`. ``optax.nadam`` has a constant momentum: it is
    the limit of this rule for a large `momentum_decay`. With the default arguments, the
    first step of ``optax.nadam`` is 1.4 times as long.

    .. math::
        \mu_t &= \beta_1 \big(1 - \tfrac12\, 0.96^{t \psi}\big), \qquad
            P_t = \prod_{i=1}^{t} \mu_i \\
        w_t &= w_{t-1} - \frac{\eta_t}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon} \Big(
            \frac{1 - \mu_t}{1 - P_t} g_t +
            \frac{\mu_{t+1}}{1 - P_t\, \mu_{t+1}} m_t \Big)

    at update :math:`t = 1, 2, \dots`, with Adam's :math:`m_t` and :math:`v_t`. In its
    state `mu` is :math:`m_t`, `nu` is :math:`v_t` and `product` is :math:`P_t`.

    Args:
      learning_rate: The learning rate :math:`\eta_t`.
      b1: :math:`\beta_1`, the decay of the first moment and the limit of :math:`\mu_t`.
      b2: :math:`\beta_2`, the decay of the second moment.
      eps: :math:`\epsilon`, added to the denominator.
      momentum_decay: :math:`\psi`, how fast :math:`\mu_t` approaches :math:`\beta_1`.
        The difference is half of :math:`\beta_1` at first and halves every
        :math:`17 / \psi` updates, with 0.004 every 4245. At 0 it stays the same.
      weight_decay: Decoupled weight decay: each update also subtracts learning rate
        times weight decay times params. `update` then needs the params.
      mask: The leaves that decay: a tree of bools, or a function of the params that
        returns one. None: all.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.nadam(2e-3)

    References:
      Dozat, `Incorporating Nesterov momentum into Adam
      <https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ>`_, 2016
    """
    direction = scale_by_nadam(b1, b2, eps, momentum_decay=momentum_decay)
    return chain_decay_and_rate(direction, learning_rate, weight_decay, mask)
