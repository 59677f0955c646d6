"""Gradient descent, plain and with momentum, with the learning rate outside."""

import jax.numpy as jnp
import numpy as np
import optax

from optax_extras._check_values import is_traced
from optax_extras._checks import (
    DecayOrSchedule,
    FloatingDtype,
    Fraction,
    LearningRate,
    checked_by_path,
    checked_rule,
)
from optax_extras._errors import refuse
from optax_extras._kernel._assemble import chain_decay_and_rate
from optax_extras._kernel.rule import Rule, as_schedule
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._kernel.tableau import Tableau


@checked_rule
def sgd_rule() -> Rule:
    r"""Plain gradient descent: the direction is the gradient itself; no buffers.

    .. math::
        u = g

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.scale_by_moments(oxe.rules.sgd())
    """
    return Rule(lambda: (), lambda t, carry: (Tableau(n0=1), carry), None, frozenset())


@checked_rule
def momentum_rule(
    momentum: DecayOrSchedule = 0.9,
    *,
    dampening: Fraction = 0.0,
    nesterov: bool = False,
) -> Rule:
    r"""Momentum as in PyTorch's ``SGD`` and Optax's ``trace``.

    The learning rate multiplies the complete velocity, so a change of it takes effect
    at once. In :func:`heavy_ball` it is inside the velocity.

    .. math::
        z \leftarrow \beta z + (1 - \tau)\, g, \qquad
        u = z \;\text{ or, with Nesterov, }\; g + \beta z

    As in PyTorch the first update is not dampened: :math:`z = g`. With a momentum of 0
    PyTorch ignores the dampening; this rule does not. The buffer `mu` is :math:`z`.

    Args:
      momentum: :math:`\beta`, the decay of the velocity. A schedule is called with the
        number of updates that this rule has already made; its range is not checked.
      dampening: :math:`\tau`, which must be 0 with `nesterov`.
      nesterov: Look ahead along the new velocity.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.scale_by_moments(oxe.rules.momentum(0.9, nesterov=True))

    References:
      Sutskever et al., `On the importance of initialization and momentum in deep
      learning <https://proceedings.mlr.press/v28/sutskever13.html>`_, 2013
    """
    momentum_at = as_schedule("momentum", momentum)
    undampened = isinstance(dampening, int | float) and dampening == 0
    if nesterov and not is_traced(dampening) and np.any(np.asarray(dampening) != 0):
        refuse("dampening", "be 0 with `nesterov`", dampening)

    def step(t, carry):
        beta = momentum_at(t - 1)
        gain = 1 if undampened else jnp.where(t == 1, 1, 1 - dampening)
        n0, n1 = (1, beta) if nesterov else (0, 1)
        return Tableau(a1=beta, c1=gain, n0=n0, n1=n1), carry

    return Rule(lambda: (), step, None, frozenset({"mu"}))


@checked_by_path
def sgd(
    learning_rate: LearningRate,
    momentum: DecayOrSchedule | None = None,
    nesterov: bool = False,
    accumulator_dtype: FloatingDtype | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Gradient descent, with or without momentum, as ``optax.sgd``.

    Unlike Optax's it stores its learning rate, so that :func:`learning_rate` reads it,
    takes a metric schedule for it, and computes in float32 at least. A change of the
    learning rate takes effect at once; in :func:`heavy_ball`, Keras' form, it is inside
    the velocity.

    .. math::
        z_t = \beta z_{t-1} + g_t, \qquad
        w_t = w_{t-1} - \eta_t\, z_t
        \;\text{ or, with Nesterov, }\; w_{t-1} - \eta_t\, (g_t + \beta z_t)

    Args:
      learning_rate: The learning rate :math:`\eta_t`.
      momentum: :math:`\beta`, the decay of the velocity, `mu` in the state; a schedule
        works as in :func:`rules.momentum`. None: no velocity.
      nesterov: Look ahead along the new velocity.
      accumulator_dtype: The dtype of the velocity. None: the params', float32 at least.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.sgd(oxe.schedules.step(0.1, 30), momentum=0.9, nesterov=True)
    """
    rule = (
        sgd_rule() if momentum is None else momentum_rule(momentum, nesterov=nesterov)
    )
    direction = scale_by_moments(rule, moments_dtype=accumulator_dtype)
    return chain_decay_and_rate(direction, learning_rate)
