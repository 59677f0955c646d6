"""RMSProp."""

from typing import Literal

import jax.numpy as jnp
import optax

from optax_extras._checks import Decay, LearningRate, Mask, NonNegative, checked
from optax_extras._kernel._decay_and_rate import chain_decay_and_rate
from optax_extras._kernel._float32 import in_float32
from optax_extras._kernel.scale_by_moments import Rule, scale_by_moments
from optax_extras._kernel.tableau import Tableau
from optax_extras._optimizers.sgd import momentum_rule


@checked
def rmsprop_rule(
    decay: Decay = 0.99,
    eps: NonNegative = 1e-8,
    *,
    initial: Literal["first_gradient", "zero"] = "first_gradient",
    centered: bool = False,
    eps_in_root: bool = False,
) -> Rule:
    r"""The gradient over the root of an average of its squares: that of `oxe.rmsprop`.

    Its formula and its arguments are those of `oxe.rmsprop`.

    Returns:
      An `oxe.Rule` with the buffer `nu`, and `mu` (:math:`\bar g`) where it is centred.

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
    return Rule(lambda: (), step, None, frozenset(buffers))


@checked
def scale_by_rmsprop(
    decay: Decay = 0.99,
    eps: NonNegative = 1e-8,
    *,
    initial: Literal["first_gradient", "zero"] = "first_gradient",
    centered: bool = False,
    eps_in_root: bool = False,
    momentum: Decay | None = None,
) -> optax.GradientTransformationExtraArgs:
    """The direction of `rmsprop` and its arguments, without rate and sign."""
    rule = rmsprop_rule(
        decay, eps, initial=initial, centered=centered, eps_in_root=eps_in_root
    )
    if momentum is None:
        return scale_by_moments(rule)
    velocity = momentum_rule(momentum)
    return in_float32(optax.chain(scale_by_moments(rule), scale_by_moments(velocity)))


@checked
def rmsprop(
    learning_rate: LearningRate,
    decay: Decay = 0.99,
    eps: NonNegative = 1e-8,
    *,
    initial: Literal["first_gradient", "zero"] = "first_gradient",
    centered: bool = False,
    eps_in_root: bool = False,
    momentum: Decay | None = None,
    weight_decay: NonNegative = 0.0,
    mask: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Gradient descent with each weight's gradient brought to one scale.

    Where the average of squares starts at zero, as in PyTorch, Keras and Optax, the
    first step is :math:`1/\sqrt{1 - \alpha}` times too long, ten times for 0.99; here
    it starts with the square of the first gradient unless ``initial="zero"`` is asked
    for. ``optax.rmsprop`` is another form: decay 0.9, epsilon inside the root, and its
    momentum gathers updates that carry their rate already. Prefer Adam, which averages
    the gradients too and corrects for the start, unless one buffer has to do.

    .. math::
        v_t = \alpha v_{t-1} + (1 - \alpha) g_t^2, \qquad
        u_t = \frac{g_t}{\sqrt{v_t} + \epsilon}, \qquad
        w_t = w_{t-1} - \eta_t u_t

    with :math:`v_1 = g_1^2`. Centred, :math:`v_t - m_t^2` stands under the root, with
    :math:`m` the same average of the gradients. With momentum, :math:`z_t = \beta
    z_{t-1} + u_t` takes the place of :math:`u_t`.

    Args:
      learning_rate: :math:`\eta_t \ge 0`: a number, a schedule, which is called with
        the number of updates already made, or a metric schedule.
      decay: :math:`\alpha` in [0, 1).
      eps: :math:`\epsilon \ge 0`, added to the root.
      initial: ``"first_gradient"``, :math:`v_1 = g_1^2`; or ``"zero"``,
        :math:`v_0 = 0`, as PyTorch, Keras and Optax have it.
      centered: Whether the variance takes the place of the mean square. The average
        gradient starts at zero in either case: started with the first gradient it would
        leave no variance, and the first step would be :math:`g/\epsilon`.
      eps_in_root: Whether :math:`\epsilon` stands inside the root, as in Keras.
      momentum: :math:`\beta` in [0, 1), or None for none; it takes one more buffer, as
        `centered` does.
      weight_decay: :math:`\lambda \ge 0`, decoupled: :math:`\eta_t \lambda w` is
        subtracted as well, for which `update` needs the params.
      mask: What is decayed: a tree of bools like the params, or a function from the
        params to one. None means all.

    Returns:
      An `optax.GradientTransformationExtraArgs`; :func:`learning_rate` reads its rate.
      The average of squares is `nu` in its state.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.rmsprop(1e-3, decay=0.9)

    References:
      Tieleman and Hinton, `Lecture 6.5: RMSprop
      <https://www.cs.toronto.edu/~hinton/coursera/lecture6/lec6.pdf>`_, 2012;
      Graves, `Generating sequences with recurrent neural networks
      <https://arxiv.org/abs/1308.0850>`_, 2013 (centred)
    """
    direction = scale_by_rmsprop(
        decay,
        eps,
        initial=initial,
        centered=centered,
        eps_in_root=eps_in_root,
        momentum=momentum,
    )
    return chain_decay_and_rate(direction, learning_rate, weight_decay, mask)
