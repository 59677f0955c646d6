"""Lion."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from optax_extras._checks import (
    Decay,
    FloatingDtype,
    Fraction,
    LearningRate,
    Mask,
    WeightDecay,
    checked,
)
from optax_extras._kernel._assemble import chain_decay_and_rate
from optax_extras._kernel._map_leaves import map_leaves, zeros
from optax_extras._types import Params, State, Updates


class ScaleByLionState(NamedTuple):
    """State of `scale_by_lion`."""

    count: ArrayLike
    """Shape (), int32: updates made; it stops at 2**31 - 1."""
    mu: Any
    """Like the params, in `mu_dtype`, or else float32 at least: the average of the
    gradients."""

    buffers_hold = (("mu", "mu"),)


@checked
def scale_by_lion(
    b1: Fraction = 0.9, b2: Decay = 0.99, mu_dtype: FloatingDtype | None = None
) -> optax.GradientTransformationExtraArgs:
    """:func:`lion` without learning rate and sign, with the same arguments."""

    def init(params: Params) -> ScaleByLionState:
        return ScaleByLionState(jnp.zeros((), jnp.int32), zeros(params, mu_dtype))

    def leaf(g, mu):
        u = jnp.sign(b1 * mu + (1 - b1) * g)
        return u, b2 * mu + (1 - b2) * g

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        del params, extra
        us, mu = map_leaves(leaf, updates, state.mu)
        t: Any = optax.safe_increment(state.count)
        return us, ScaleByLionState(t, mu)

    return optax.GradientTransformationExtraArgs(init, update)


@checked
def lion(
    learning_rate: LearningRate,
    b1: Fraction = 0.9,
    b2: Decay = 0.99,
    mu_dtype: FloatingDtype | None = None,
    weight_decay: WeightDecay = 1e-3,
    mask: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Steps by the sign of an average of the gradients, with one buffer.

    Every weight moves by the learning rate, whatever the size of its gradient. Prefer
    it to Adam for large batches or if the state has to be small: it stores one average
    instead of two. The authors advise a learning rate 3 to 10 times smaller than Adam's
    and a weight decay 3 to 10 times larger.

    It has the arguments and numbers of ``optax.lion``. Unlike Optax's it stores its
    learning rate, so that :func:`learning_rate` reads it, takes a metric schedule for
    it, takes numbers :func:`by_path`, and computes in float32 at least.

    .. math::
        w_t &= w_{t-1} - \eta_t \big(\mathrm{sign}(\beta_1 m_{t-1} + (1 - \beta_1) g_t)
            + \lambda w_{t-1}\big), \\
        m_t &= \beta_2 m_{t-1} + (1 - \beta_2) g_t

    with :math:`m_0 = 0`, in the state `mu`. Where the average is exactly 0, the sign is
    0. The sign of a complex number :math:`z` is :math:`z / |z|`.

    Args:
      learning_rate: The learning rate :math:`\eta_t`.
      b1: :math:`\beta_1`, how much of the average is in the direction. With 0 it is the
        sign of the gradient.
      b2: :math:`\beta_2`, the decay of the average.
      mu_dtype: The dtype of `mu`. None: the params', float32 at least.
      weight_decay: :math:`\lambda`, the decoupled weight decay. `update` then needs the
        params. The default is Optax's; the authors' code has 0.
      mask: The leaves that decay: a tree of bools, or a function of the params that
        returns one. None: all.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.lion(1e-4, weight_decay=0.1)

    References:
      Chen et al., `Symbolic discovery of optimization algorithms
      <https://arxiv.org/abs/2302.06675>`_, 2023
    """
    direction = scale_by_lion(b1, b2, mu_dtype)
    return chain_decay_and_rate(direction, learning_rate, weight_decay, mask)
