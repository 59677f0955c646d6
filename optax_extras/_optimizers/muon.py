"""Muon, as in its author's code and in PyTorch."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_extras._checks import (
    Decay,
    FloatingDtype,
    LearningRate,
    Mask,
    NonNegative,
    Real,
    SizeOrZero,
    WeightDecay,
    checked,
)
from optax_extras._errors import refuse
from optax_extras._kernel._float32 import in_float32
from optax_extras._kernel._weight_decay import chain_decay_and_rate
from optax_extras._kernel.scale_by_moments import Rule, scale_by_moments
from optax_extras._kernel.tableau import Tableau
from optax_extras._numerics import compute_dtype, dtype_of, is_key
from optax_extras._sharding import run_on_auto_axes, sharding_like
from optax_extras._types import Params, State, Updates

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


@checked
def scale_by_muon(
    momentum: Decay = 0.95,
    *,
    nesterov: bool = True,
    ns_coefficients: tuple[Real, Real, Real] = _COEFFICIENTS,
    ns_steps: SizeOrZero = 5,
    eps: NonNegative = 1e-7,
    adjust: Literal["original", "match_rms_adamw"] = "original",
    ns_dtype: FloatingDtype | None = None,
) -> optax.GradientTransformationExtraArgs:
    """:func:`muon` without learning rate and sign, with the same arguments."""
    if ns_steps >= 100:
        refuse("ns_steps", "be an integer below 100", ns_steps)

    def step(t, carry):
        del t
        n0, n1 = (1 - momentum, momentum) if nesterov else (0, 1)
        return Tableau(a1=momentum, c1=1 - momentum, n0=n0, n1=n1), carry

    average = scale_by_moments(Rule(lambda: (), step, buffers=frozenset({"mu"})))

    def leaf(u):
        dtype = compute_dtype(u.dtype)

        def orthogonal(x):
            x = x.astype(dtype)
            return _orthogonal(x, ns_coefficients, ns_steps, eps, ns_dtype)

        x = run_on_auto_axes(orthogonal, u, sharding_like(u, u.shape))(u)
        return _ADJUSTMENTS[adjust](*u.shape) * x

    def init(params: Params):
        _refuse_other_than_matrices(params)
        return average.init(params)

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        _refuse_other_than_matrices(updates)
        averages, state = average.update(updates, state, params, **extra)
        return jax.tree.map(leaf, averages), state

    return in_float32(optax.GradientTransformationExtraArgs(init, update))


@checked
def muon(
    learning_rate: LearningRate,
    momentum: Decay = 0.95,
    *,
    nesterov: bool = True,
    ns_coefficients: tuple[Real, Real, Real] = _COEFFICIENTS,
    ns_steps: SizeOrZero = 5,
    eps: NonNegative = 1e-7,
    adjust: Literal["original", "match_rms_adamw"] = "original",
    ns_dtype: FloatingDtype | None = None,
    weight_decay: WeightDecay = 0.0,
    mask: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Momentum for matrices, whose every step is made nearly orthogonal.

    Use it for the weight matrices of hidden layers. A step moves a matrix about equally
    far in all directions. Its author uses Adam for embeddings, the last layer and
    vectors: give those another optimizer, with ``optax.partition``. Leaves other than
    real matrices are refused.

    This is PyTorch's form. ``optax.contrib.muon`` corrects the bias of its average,
    which changes the weight of Nesterov's look-ahead in the first steps. It also scales
    by another factor of the shape, and applies Adam to leaves that are not matrices.

    .. math::
        B_t &= \mu B_{t-1} + (1 - \mu)\, g_t, \qquad
            \tilde B_t = (1 - \mu)\, g_t + \mu B_t \;\text{ (Nesterov) or } B_t \\
        w_t &= w_{t-1} - \eta_t\, s\, \mathrm{NS}(\tilde B_t), \qquad
            \mathrm{NS}: X \leftarrow a X + b\, X X^\top X + c\,(X X^\top)^2 X

    The Newton-Schulz iteration NS starts from :math:`\tilde B_t / \max(|\tilde B_t|,
    \epsilon)`, where the norm is the root of the sum of squares. The default
    coefficients do not converge: after 5 iterations every singular value that was above
    a 500th of the norm is between 0.68 and 1.21. The state holds :math:`B_t` as `mu`.

    Inside ``jax.shard_map`` every device needs complete matrices. Under ``jax.jit``
    they may be sharded.

    Args:
      learning_rate: The learning rate :math:`\eta_t`.
      momentum: :math:`\mu`, the decay of the average.
      nesterov: Look ahead, as in the formula.
      ns_coefficients: The coefficients :math:`(a, b, c)` of the iteration.
      ns_steps: The number of iterations, below 100.
      eps: :math:`\epsilon`. A matrix whose norm is smaller is divided by
        :math:`\epsilon` instead of its norm.
      adjust: The factor :math:`s` for a matrix of m rows and n columns:
        ``"original"``, :math:`\sqrt{\max(1, m / n)}`, or ``"match_rms_adamw"``,
        :math:`0.2 \sqrt{\max(m, n)}`, for learning rates that were tuned for AdamW.
      ns_dtype: The dtype of the iteration. None: the leaf's, float32 at least. PyTorch
        uses bfloat16, which is faster on hardware that supports it.
      weight_decay: Decoupled weight decay: each update also subtracts learning rate
        times weight decay times params. `update` then needs the params.
      mask: The leaves that decay: a tree of bools, or a function of the params that
        returns one. None: all.

    Examples:
      >>> import jax
      >>> import optax
      >>> import optax_extras as oxe
      >>> def kind(params):  # label embeddings and the last layer "adam", too
      ...     return jax.tree.map(lambda w: "muon" if w.ndim == 2 else "adam", params)
      >>> txs = {"muon": oxe.muon(0.02), "adam": optax.adam(3e-4)}
      >>> tx = optax.partition(txs, kind)

    References:
      Jordan et al., `Muon: An optimizer for hidden layers in neural networks
      <https://kellerjordan.github.io/posts/muon/>`_, 2024;
      Liu et al., `Muon is scalable for LLM training
      <https://arxiv.org/abs/2502.16982>`_, 2025
    """
    direction = scale_by_muon(
        momentum, nesterov=nesterov, ns_coefficients=ns_coefficients,
        ns_steps=ns_steps, eps=eps, adjust=adjust, ns_dtype=ns_dtype,
    )  # fmt: skip
    return chain_decay_and_rate(direction, learning_rate, weight_decay, mask)


_ADJUSTMENTS = {
    "original": lambda rows, columns: max(1, rows / max(columns, 1)) ** 0.5,
    "match_rms_adamw": lambda rows, columns: 0.2 * max(rows, columns) ** 0.5,
}


def _orthogonal(x: jax.Array, coefficients, steps: int, eps: Any, dtype: Any):
    """The Newton-Schulz iteration, with the smaller of the two Gram matrices."""
    a, b, c = coefficients
    before, tall = x.dtype, x.shape[0] > x.shape[1]
    x = x.T if tall else x
    least = np.sqrt(jnp.finfo(before).tiny)  # at an epsilon of 0: 0 / 0 is 0
    norm = jnp.maximum(jnp.sqrt(jnp.sum(jnp.square(x))), jnp.maximum(eps, least))
    x = (x / norm).astype(before if dtype is None else dtype)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    x = x.astype(before)
    return x.T if tall else x


def _refuse_other_than_matrices(tree: Any) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        shape, dtype = jnp.shape(leaf), dtype_of(leaf)
        is_matrix = len(shape) == 2 and not jnp.issubdtype(dtype, jnp.complexfloating)
        if not is_matrix and not is_key(leaf):
            must = "be a real matrix (use `optax.partition` for other leaves)"
            where = f"params{jax.tree_util.keystr(path)}"
            refuse(where, must, f"{dtype}{list(shape)}")
