"""Keras' Muon: matrices by Muon, all other params by Adam."""

import re
from typing import Any

import jax.numpy as jnp
import optax

from optax_extras import rules
from optax_extras._checks import (
    Decay,
    Fraction,
    LearningRate,
    NonNegative,
    Paths,
    Real,
    SizeOrZero,
    StepCount,
    WeightDecay,
)
from optax_extras._groups._matrix_axes import MatrixAxes
from optax_extras._kernel._assemble import chain_decay_and_rate
from optax_extras._kernel._weight_decay import add_decayed_weights
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._optimizers._newton_schulz import Iteration
from optax_extras._optimizers.muon import orthogonal_momentum, partition_by_layout
from optax_extras.keras import _unsupported
from optax_extras.keras._ema import with_ema
from optax_extras.keras._optimizers import or_zero

_ADDED = 1e-7  # to the norm of Keras' momentum, which is a sum and not an average


@_unsupported.other_optimizer
def Muon(
    learning_rate: LearningRate = 0.001,
    adam_beta_1: Decay = 0.9,
    adam_beta_2: Decay = 0.999,
    adam_weight_decay: WeightDecay | None = 0.004,
    epsilon: NonNegative = 1e-7,
    weight_decay: WeightDecay | None = 0.004,
    *,
    use_ema: bool = False,
    ema_momentum: Fraction = 0.99,
    ema_overwrite_frequency: StepCount | None = None,
    exclude_layers: Paths | None = None,
    exclude_embeddings: bool = True,
    muon_a: Real = 3.4445,
    muon_b: Real = -4.775,
    muon_c: Real = 2.0315,
    adam_lr_ratio: NonNegative = 1,
    momentum: Decay = 0.95,
    ns_steps: SizeOrZero = 5,
    nesterov: bool = True,
    rms_rate: NonNegative | None = 0.2,
) -> optax.GradientTransformationExtraArgs:
    r"""``keras.optimizers.Muon``: :func:`muon` for matrices, :func:`Adam` for others.

    It takes every leaf of two axes for a matrix, but for those whose path contains
    "embedding" or matches one of `exclude_layers`. The path of a leaf is its keys
    joined by ``/``, as in Keras; Keras does not see which layer is the last one, so
    exclude it. Kernels of convolutions go to Adam. :func:`muon` takes those, too, and
    attention heads and scanned layers, if you pass their axes.

    The step of a matrix of m rows and n columns is `rms_rate` times :math:`\sqrt{\max(
    m, n)}`, in either layout. Keras' iteration divides by the norm of the momentum plus
    1e-7. Its momentum is a sum, as the one that :func:`muon` has, an average, divided
    by 1 - `momentum`: the steps are the same.

    Args:
      learning_rate: The learning rate.
      adam_beta_1: Adam's decay of the first moment.
      adam_beta_2: Adam's decay of the second moment.
      adam_weight_decay: Decoupled weight decay of Adam's params: each update also
        subtracts learning rate times weight decay times params. None: no decay.
      epsilon: Adam's, added to the denominator before its bias correction.
      weight_decay: The same for the matrices.
      use_ema: Keep an average of the params, which :func:`averaged` reads.
      ema_momentum: The decay of the average.
      ema_overwrite_frequency: Copy it to the params every so many updates. None: never.
      exclude_layers: Regular expressions: a leaf goes to Adam if one matches any part
        of its path. Or a function of path and leaf.
      exclude_embeddings: Give leaves to Adam whose path contains "embedding", in upper
        or lower case.
      muon_a: The first coefficient of the Newton-Schulz iteration, as in :func:`muon`.
      muon_b: The second.
      muon_c: The third.
      adam_lr_ratio: Multiplies the learning rate of Adam, but not in its weight decay.
      momentum: The decay of the matrices' momentum.
      ns_steps: The number of iterations.
      nesterov: Use Nesterov momentum for the matrices.
      rms_rate: The factor of a matrix's step, 0.2 for learning rates that were tuned
        for AdamW. None: steps do not depend on the shape of a matrix.

    Returns:
      Its state has one learning rate, for all params, which :func:`learning_rate`
      reads.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.Muon(learning_rate=1e-3, exclude_layers=["head"])
    """

    def layout(path: str, leaf: Any) -> MatrixAxes | None:
        is_matrix = jnp.ndim(leaf) == 2 and jnp.size(leaf) > 0
        is_embedding = exclude_embeddings and "embedding" in path.lower()
        if is_embedding or not is_matrix or _matches(exclude_layers, path, leaf):
            return None
        return MatrixAxes(inputs=0, outputs=1)

    def scale(m: int, n: int) -> Any:
        return 1 if rms_rate is None else rms_rate * max(m, n) ** 0.5

    # In terms of the average, Keras adds this to the norm.
    added = (1 - momentum) * _ADDED
    iteration = Iteration(0.0, 1.0, by_rows=False, dtype=None, added=added)
    steps = ((muon_a, muon_b, muon_c),) * ns_steps, iteration
    matrices = optax.chain(
        orthogonal_momentum(momentum, layout, nesterov, steps, scale),
        add_decayed_weights(or_zero(weight_decay)),
    )
    adam = rules.adam(adam_beta_1, adam_beta_2, epsilon, eps_hat=True)
    others = optax.chain(
        scale_by_moments(adam),
        optax.scale(adam_lr_ratio),
        add_decayed_weights(or_zero(adam_weight_decay)),
    )
    direction = partition_by_layout(layout, matrices, others)
    tx = chain_decay_and_rate(direction, learning_rate)
    return with_ema(tx, use_ema, ema_momentum, ema_overwrite_frequency)


def _matches(exclude_layers: Any, path: str, leaf: Any) -> bool:
    if callable(exclude_layers):
        return bool(exclude_layers(path, leaf))
    return any(re.search(x, path) for x in exclude_layers or ())
