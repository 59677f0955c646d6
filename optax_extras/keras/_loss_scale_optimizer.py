"""Keras' loss scale."""

import optax

from optax_extras._checks import Positive, StepCount, Transformation
from optax_extras._state._loss_scale import with_loss_scale
from optax_extras.keras import _unsupported


@_unsupported.loss_scale
def LossScaleOptimizer(
    inner_optimizer: Transformation,
    initial_scale: Positive = 2.0**15,
    dynamic_growth_steps: StepCount = 2000,
) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.LossScaleOptimizer``: a loss scale for float16.

    Small gradients of float16 are rounded to 0. So the loss is multiplied by a scale,
    and the optimizer divides its gradients by it, in float32 at least. If a gradient is
    infinite or NaN, the update is dropped: the params and the state of
    `inner_optimizer` stay as they are, and the scale is halved. After
    `dynamic_growth_steps` updates with finite gradients in a row it is doubled. With
    bfloat16 no loss scale is needed.

    Keras multiplies the loss in ``fit``. Here you do, by `dynamic_scale` of the state.
    In the state of a chain, ``optax.tree.get(state, "dynamic_scale")`` finds it.
    Clip gradients in `inner_optimizer`, where they are divided. The scale stays in the
    range of float32; Keras' may become 0 or infinite, and then no update is ever made.

    Args:
      inner_optimizer: The optimizer; any of Optax's, too. It counts its own updates.
      initial_scale: The initial scale. Take a large one: it is halved much faster than
        it is doubled.
      dynamic_growth_steps: Updates after which the scale is doubled.

    Returns:
      Its state is a `LossScaleState`.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.LossScaleOptimizer(oxe.keras.SGD(0.5), initial_scale=1024.0)
      >>> def scaled_loss(w, scale):  # its gradient in float16 without scale: 0
      ...     return scale * jnp.float16(1e-4) * (w * jnp.float16(1e-4))
      >>> params = jnp.float32(1.0)
      >>> state = tx.init(params)
      >>> grads = jax.grad(scaled_loss)(params, state.dynamic_scale)
      >>> updates, state = tx.update(grads, state, params)
    """
    return with_loss_scale(inner_optimizer, initial_scale, dynamic_growth_steps)
