"""RMSProp."""

from typing import Literal, NamedTuple

import jax.numpy as jnp
import optax

from optax_extras._checks import (
    Decay,
    LearningRate,
    Mask,
    NonNegative,
    WeightDecay,
    checked_by_path,
    checked_rule,
)
from optax_extras._errors import SUBTRACTS_MOMENTS
from optax_extras._kernel._assemble import chain_decay_and_rate
from optax_extras._kernel._float32 import in_float32
from optax_extras._kernel.rule import Rule
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._kernel.tableau import Tableau
from optax_extras._optimizers.sgd import momentum_rule


class _Centered(NamedTuple):
    """The carry of the centered rule: no numbers, but a fact about its buffers."""

    needs_float32 = SUBTRACTS_MOMENTS


@checked_rule
def rmsprop_rule(
    decay: Decay = 0.99,
    eps: NonNegative = 1e-8,
    *,
    initial: Literal["first_gradient", "zero"] = "first_gradient",
    centered: bool = False,
    eps_in_root: bool = False,
) -> Rule:
    r"""The gradient over the root of an average of its squares.

    Formula and arguments as in :func:`optax_extras.rmsprop`, without its `momentum`.
    Buffers: `nu`, and with `centered` also `mu`, the average gradient :math:`m`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.scale_by_moments(oxe.rules.rmsprop(0.9))
    """

    def step(t, carry):
        gain = 1 - decay
        if initial == "first_gradient":
            gain = jnp.where(t == 1, 1, gain)
        outside, inside = (0, eps) if eps_in_root else (eps, 0)
        tableau = Tableau(a2=decay, c2=gain, n0=1, d=1, e=outside, k=inside)
        if centered:
            tableau = tableau._replace(a1=decay, c1=1 - decay, q=1)
        return tableau, carry

    buffers = {"mu", "nu"} if centered else {"nu"}
    init = _Centered if centered else tuple
    return Rule(init, step, buffers=frozenset(buffers), never_zero=frozenset({"c2"}))


@checked_by_path
def scale_by_rmsprop(
    decay: Decay = 0.99,
    eps: NonNegative = 1e-8,
    *,
    initial: Literal["first_gradient", "zero"] = "first_gradient",
    centered: bool = False,
    eps_in_root: bool = False,
    momentum: Decay | None = None,
) -> optax.GradientTransformationExtraArgs:
    """:func:`rmsprop` without learning rate and sign, with the same arguments."""
    rule = rmsprop_rule(
        decay, eps, initial=initial, centered=centered, eps_in_root=eps_in_root
    )
    if momentum is None:
        return scale_by_moments(rule)
    velocity = momentum_rule(momentum)
    # In float32: a chain would round half-precision directions before the momentum.
    return in_float32(optax.chain(scale_by_moments(rule), scale_by_moments(velocity)))


@checked_by_path
def rmsprop(
    learning_rate: LearningRate,
    decay: Decay = 0.99,
    eps: NonNegative = 1e-8,
    *,
    initial: Literal["first_gradient", "zero"] = "first_gradient",
    centered: bool = False,
    eps_in_root: bool = False,
    momentum: Decay | None = None,
    weight_decay: WeightDecay = 0.0,
    mask: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Gradient descent with each weight's gradient scaled to about the same size.

    In PyTorch, Keras and Optax the average of squares starts at zero, which makes the
    first step :math:`1/\sqrt{1 - \alpha}` times too long, ten times for 0.99. Here it
    starts at the square of the first gradient, unless you ask for ``initial="zero"``.
    ``optax.rmsprop`` is another form: its decay is 0.9, its epsilon is inside the root,
    and its momentum adds up updates that are already multiplied by their learning rate.
    Adam also averages the gradients, and corrects the bias of the first averages.
    Prefer Adam, unless there is memory for only one buffer.

    .. math::
        v_t = \alpha v_{t-1} + (1 - \alpha) g_t^2, \qquad
        u_t = \frac{g_t}{\sqrt{v_t} + \epsilon}, \qquad
        w_t = w_{t-1} - \eta_t u_t

    with :math:`v_1 = g_1^2`. With `centered` the root is that of :math:`v_t - m_t^2`,
    where :math:`m` is the same average of the gradients. With `momentum`, :math:`z_t =
    \beta z_{t-1} + u_t` replaces :math:`u_t`. The state holds :math:`v_t` as `nu`.

    Args:
      learning_rate: The learning rate :math:`\eta_t`.
      decay: :math:`\alpha`, the decay of the average.
      eps: :math:`\epsilon`, added to the denominator.
      initial: ``"first_gradient"``, :math:`v_1 = g_1^2`; or ``"zero"``,
        :math:`v_0 = 0`, as in PyTorch, Keras and Optax.
      centered: Replace the mean square by the variance; this takes one more buffer. The
        average gradient always starts at zero: if it started at the first gradient, the
        variance would be 0 and the first step :math:`g/\epsilon`.
      eps_in_root: Add :math:`\epsilon` inside the root, as in Keras.
      momentum: :math:`\beta`, which takes one more buffer. None: no momentum.
      weight_decay: Decoupled weight decay: each update also subtracts learning rate
        times weight decay times params. `update` then needs the params.
      mask: The leaves that decay: a tree of bools, or a function of the params that
        returns one. None: all.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.rmsprop(1e-3, decay=0.9)

    References:
      Tieleman and Hinton, `Lecture 6.5: RMSprop
      <https://www.cs.toronto.edu/~hinton/coursera/lecture6/lec6.pdf>`_, 2012;
      Graves, `Generating sequences with recurrent neural networks
      <https://arxiv.org/abs/1308.0850>`_, 2013 (centered)
    """
    direction = scale_by_rmsprop(
        decay, eps, initial=initial, centered=centered, eps_in_root=eps_in_root,
        momentum=momentum,
    )  # fmt: skip
    return chain_decay_and_rate(direction, learning_rate, weight_decay, mask)
