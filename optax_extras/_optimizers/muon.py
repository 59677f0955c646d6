"""Muon: momentum for matrices, made orthogonal; and NorMuon."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_extras._boxes import align, fit_boxes, rebuild
from optax_extras._checks import (
    Decay,
    DecayOrSchedule,
    FloatingDtype,
    LearningRate,
    Mask,
    MatrixLayout,
    NonNegative,
    Transformation,
    WeightDecay,
    checked,
)
from optax_extras._groups._matrix_axes import (
    MatrixAxes,
    Stacks,
    find_axes,
)
from optax_extras._kernel._assemble import chain_decay_and_rate
from optax_extras._kernel._float32 import in_float32
from optax_extras._kernel.rule import Rule, as_schedule
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._kernel.tableau import Tableau
from optax_extras._leaves import compute_dtype, upcast_zeros, with_updates
from optax_extras._numerics import sqrt
from optax_extras._optimizers._newton_schulz import as_iteration, orthogonalize
from optax_extras._sharding import run_on_auto_axes, sharding_like
from optax_extras._types import Params, State, Updates

Scale = Literal["original", "spectral", "match_rms_adamw", "unit_rms"]
_SCALES = {
    "original": lambda inputs, outputs: max(1, outputs / inputs) ** 0.5,
    "spectral": lambda inputs, outputs: max(inputs, outputs) ** 0.5,
    "match_rms_adamw": lambda inputs, outputs: 0.2 * max(inputs, outputs) ** 0.5,
    "unit_rms": lambda inputs, outputs: (outputs / inputs) ** 0.5,
}


class NormalizedState(NamedTuple):
    """State of :func:`muon` with `normalize`, after its momentum."""

    nu: Any
    """Like the params, but of size 1 along the axes of inputs, float32 at least: the
    mean square of the steps of each output."""

    buffers_hold = (("nu", "nu_neuron"),)


@checked
def scale_by_muon(
    momentum: DecayOrSchedule = 0.95,
    *,
    layout: MatrixLayout,
    nesterov: bool = True,
    ns_coefficients: Any = "simple",
    scale: Scale = "original",
    normalize: Literal["normuon"] | None = None,
    b2: Decay = 0.95,
    eps: NonNegative = 1e-7,
    ns_dtype: FloatingDtype | None = None,
) -> optax.GradientTransformationExtraArgs:
    """:func:`muon` without learning rate, sign, weight decay and `others`.

    The arguments are those of the same name there. Every leaf must be a matrix.
    """
    iteration = as_iteration(ns_coefficients, eps, ns_dtype)
    options = (nesterov, iteration, _SCALES[scale], normalize, b2)
    return orthogonal_momentum(momentum, layout, *options)


def orthogonal_momentum(
    momentum: Any,
    layout: Any,
    nesterov: bool,
    iteration: Any,
    scale: Callable[[int, int], Any],
    normalize: str | None = None,
    b2: Any = 0.95,
) -> optax.GradientTransformationExtraArgs:
    """`scale_by_muon` for any iteration and any factor of inputs and outputs."""
    beta = as_schedule("momentum", momentum)

    def step(t, carry):
        now = beta(t - 1)
        n0, n1 = (1 - now, now) if nesterov else (0, 1)
        return Tableau(a1=now, c1=1 - now, n0=n0, n1=n1), carry

    average = scale_by_moments(Rule(lambda: (), step, buffers=frozenset({"mu"})))

    def steps(leaves, nus, axes):
        """The step of every leaf, and the new `nu` of each."""
        leaves = [x.astype(compute_dtype(x.dtype)) for x in leaves]
        stacks = Stacks(leaves, axes)
        us = orthogonalize(stacks.join(leaves), *iteration)
        if normalize is not None:
            squares = [jnp.mean(jnp.square(u), 1, keepdims=True) for u in us]
            # Leaf by leaf, so that each new `nu` is sharded as the old one.
            means = zip(nus, stacks.separate(squares, nus), strict=True)
            nus = [b2 * old + (1 - b2) * mean for old, mean in means]
            pairs = zip(us, stacks.join(nus), strict=True)
            us = [_normalized(u, nu) for u, nu in pairs]
        us = [scale(*u.shape[1:]) * u for u in us]
        return stacks.separate(us, leaves), nus

    def init(params: Params) -> Any:
        found = find_axes(layout, params)
        if normalize is None:
            return optax.EmptyState()
        nus = [None if leaf is None else _first_nu(leaf, x) for leaf, x in found]
        return NormalizedState(fit_boxes(rebuild(params, nus), params))

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        del params, extra
        found = find_axes(layout, updates)
        us, nus = [leaf for leaf, _ in found], [None] * len(found)
        if normalize is not None:
            nus = [nu for _, nu in align(updates, state.nu)]
        at = [i for i, (_, axes) in enumerate(found) if axes is not None]
        if at:
            axes = [found[i][1] for i in at]
            given = [us[i] for i in at], [nus[i] for i in at]
            shardings = jax.tree.map(lambda x: sharding_like(x, x.shape), given)
            run = run_on_auto_axes(partial(steps, axes=axes), given[0][0], shardings)
            for i, u, nu in zip(at, *run(*given), strict=True):
                us[i], nus[i] = u, nu
        us = rebuild(updates, us)
        return us, state if normalize is None else NormalizedState(
            rebuild(state.nu, nus)
        )

    orthogonal = optax.GradientTransformationExtraArgs(init, update)
    return in_float32(optax.chain(average, orthogonal))


def _first_nu(leaf: Any, axes: MatrixAxes | None) -> jax.Array:
    """Zeros for the mean squares of the outputs, with the leaf's sharding."""
    zeros = upcast_zeros(leaf)
    return zeros if axes is None else jnp.sum(zeros, axes.inputs, keepdims=True)


def _normalized(x: jax.Array, nu: jax.Array) -> jax.Array:
    """Divides by the root of the mean square of each output; keeps the norm."""
    u = x / (sqrt(nu) + 1e-10)
    return u * (_norm(x) / (_norm(u) + 1e-10))


def _norm(x: jax.Array) -> jax.Array:
    return sqrt(jnp.sum(jnp.square(x), (1, 2), keepdims=True))


@checked
def muon(
    learning_rate: LearningRate,
    momentum: DecayOrSchedule = 0.95,
    *,
    layout: MatrixLayout,
    others: Transformation | None = None,
    nesterov: bool = True,
    ns_coefficients: Any = "simple",
    scale: Scale = "original",
    normalize: Literal["normuon"] | None = None,
    b2: Decay = 0.95,
    eps: NonNegative = 1e-7,
    ns_dtype: FloatingDtype | None = None,
    weight_decay: WeightDecay = 0.0,
    mask: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Momentum for matrices, whose every step is made nearly orthogonal.

    Use it for the weight matrices of hidden layers. A step moves a matrix about equally
    far in all directions. Its author uses Adam for embeddings, the last layer and
    vectors: `others` is the optimizer for those.

    .. math::
        B_t &= \mu B_{t-1} + (1 - \mu)\, g_t, \qquad
            \tilde B_t = (1 - \mu)\, g_t + \mu B_t \;\text{ (Nesterov) or } B_t \\
        w_t &= w_{t-1} - \eta_t\, s\, \mathrm{NS}(\tilde B_t), \qquad
            \mathrm{NS}: X \leftarrow a X + b\, X X^\top X + c\,(X X^\top)^2 X

    The Newton-Schulz iteration NS starts from :math:`\tilde B_t / \max(|\tilde B_t|,
    \epsilon)`, where the norm is the root of the sum of squares. The state holds
    :math:`B_t` as `mu`.

    The scale :math:`s` depends on which axis of a kernel is the output, and kernels of
    Flax and PyTorch are transposes of each other, so `layout` has to be given.
    ``optax.contrib.muon`` takes (in, out) for granted; it corrects the bias of its
    average, which changes the weight of Nesterov's look-ahead in the first steps, and
    iterates leaf by leaf. Here all matrices of one shape, transposed ones too, are
    iterated in one stack.

    NorMuon (`normalize`) then divides each output neuron's part of :math:`o =
    \mathrm{NS}(\tilde B_t)` by the root of its mean square :math:`v` (`nu` in the
    state, one number for each output), and keeps the norm of the matrix:

    .. math::
        v \leftarrow \beta_2 v + (1 - \beta_2)\,\mathrm{mean}_{in}(o^2), \qquad
        o \leftarrow \frac{o}{\sqrt v + 10^{-10}} \cdot
            \frac{|o|}{|o / (\sqrt v + 10^{-10})|}

    Inside ``jax.shard_map`` every device needs complete matrices. Under ``jax.jit``
    they may be sharded along any axis, leaves of one shape in the same way. Along a
    batch axis devices do not communicate, except for a leaf that is `split`. Along the
    longer side of the matrices they add up the norms, and in each iteration the Gram
    matrices of one shape, of all layers together; along the shorter side there are
    three collectives in each iteration. Of several inputs or outputs, such as (heads,
    head size), shard only the first, or the leaf is gathered.

    Args:
      learning_rate: The learning rate :math:`\eta_t`.
      momentum: :math:`\mu`, the decay of the average. A schedule is called with the
        number of updates already made, as in ``schedules.linear(0.85, 300, 0.95)``.
      layout: ``"in_out"`` for kernels of shape (in, out), as in Flax, Haiku and Keras;
        ``"out_in"`` for (out, in), as in Equinox and PyTorch; or a function
        ``(path, leaf) -> MatrixAxes | None`` for other leaves, such as convolutions,
        attention heads and scanned layers; ``oxe.layouts`` makes it for models of Flax,
        Haiku and Equinox. The path is a string, ``"block/kernel"``; None gives the leaf
        to `others`. With the two words, vectors and numbers go to `others`, every
        matrix is taken, embeddings and the last layer too, and a leaf of three or more
        axes is refused.
      others: The optimizer for leaves that are not matrices. None: refuse them.
      nesterov: Look ahead, as in the formula.
      ns_coefficients: The triples :math:`(a, b, c)`, one for each iteration, or the
        name of a set: ``"simple"`` (5 iterations of (3.4445, -4.775, 2.0315); singular
        values above a 500th of the norm end between 0.68 and 1.21), ``"quintic"`` (5),
        ``"polar_express"`` (5; the norm is enlarged by 1.02), ``"polar_express_8"``
        (8), ``"cans"`` (5), ``"aol"`` (4; the first iteration divides the rows of
        :math:`X` by the roots of the sums of :math:`|X X^\top|`), ``"deepseek_v4"``
        (10) or ``"cubic"`` (5, without :math:`c`).
      scale: The factor :math:`s` for a matrix of m inputs and n outputs:
        ``"original"``, :math:`\sqrt{\max(1, n / m)}`; ``"spectral"``,
        :math:`\sqrt{\max(m, n)}`; ``"match_rms_adamw"``, :math:`0.2 \sqrt{\max(m, n)}`,
        for learning rates that were tuned for AdamW; ``"unit_rms"``,
        :math:`\sqrt{n / m}`.
      normalize: ``"normuon"``, or None.
      b2: :math:`\beta_2` of NorMuon.
      eps: :math:`\epsilon`. A matrix whose norm is smaller is divided by
        :math:`\epsilon` instead of its norm.
      ns_dtype: The dtype of the iteration. None: the leaf's, float32 at least. PyTorch
        uses bfloat16, which is faster on hardware that supports it; sums are rounded
        once, as there.
      weight_decay: Decoupled weight decay of the matrices: each update also subtracts
        learning rate times weight decay times params. `update` then needs the params.
      mask: The leaves that decay: a tree of bools, or a function of the params that
        returns one. None: all matrices.

    Returns:
      With `others`, its state is that of ``optax.partition`` with the labels
      ``"matrices"`` and ``"others"``. If `others` stores its learning rate, as
      :func:`adamw` does and ``optax.adamw`` does not, :func:`hyperparameters` lists
      ``"matrices/learning_rate"`` and ``"others/learning_rate"``.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.muon(0.02, layout="in_out", others=oxe.adamw(3e-4))

      For ``layout=layout``: the embedding and the last layer, by name, left to AdamW:

      >>> def layout(path, leaf):
      ...     if leaf.ndim < 2 or "embed" in path or "head" in path:
      ...         return None
      ...     return oxe.MatrixAxes(inputs=0, outputs=1)

      The axes read from a Flax model, with attention and convolutions:

      >>> from flax import nnx
      >>> model = nnx.Sequential(
      ...     nnx.MultiHeadAttention(2, 8, decode=False, rngs=nnx.Rngs(0)),
      ...     nnx.Linear(8, 10, rngs=nnx.Rngs(1)),
      ... )
      >>> layout = oxe.layouts.nnx(model, others="layers/1/.*")  # the last layer

    References:
      Jordan et al., `Muon: An optimizer for hidden layers in neural networks
      <https://kellerjordan.github.io/posts/muon/>`_, 2024;
      Liu et al., `Muon is scalable for LLM training
      <https://arxiv.org/abs/2502.16982>`_, 2025;
      Amsel et al., `The Polar Express <https://arxiv.org/abs/2505.16932>`_, 2025;
      Li et al., `NorMuon <https://arxiv.org/abs/2510.05491>`_, 2025
    """
    direction = scale_by_muon(
        momentum, layout=layout, nesterov=nesterov, ns_coefficients=ns_coefficients,
        scale=scale, normalize=normalize, b2=b2, eps=eps, ns_dtype=ns_dtype,
    )  # fmt: skip
    tx = chain_decay_and_rate(direction, learning_rate, weight_decay, mask)
    return tx if others is None else partition_by_layout(layout, tx, others)


def partition_by_layout(
    layout: Any, matrices: Any, others: Any
) -> optax.GradientTransformationExtraArgs:
    """One transformation of the leaves with axes, and one of the others."""

    def labels(params: Params) -> Any:
        found = find_axes(layout, params, may_be_others=True)
        names = ["others" if axes is None else "matrices" for _, axes in found]
        pairs = zip(names, found, strict=True)
        return rebuild(params, [None if x is None else name for name, (x, _) in pairs])

    both = optax.partition({"matrices": matrices, "others": others}, labels)

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        # Optax finds the labels of the updates, which may be None, and applies them to
        # the params.
        params = None if params is None else with_updates(updates, params)
        return both.update(updates, state, params, **extra)

    return optax.GradientTransformationExtraArgs(both.init, update)
