"""Maximal update parametrization: learning rates that fit a model of any width."""

from fractions import Fraction
from typing import Any, Literal

import jax.numpy as jnp

from optax_extras._by_path import ByPath, Leaves, leaves_with_paths
from optax_extras._checks import LearningRate, MatrixLayout, WeightDecay, checked
from optax_extras._errors import refuse, refuse_kind
from optax_extras._groups._by_name import by_name
from optax_extras._groups._matrix_axes import MatrixAxes, find_axes
from optax_extras._lifted import is_by_path
from optax_extras._types import Params

# How many times larger than in the base model a leaf's widths are, by their name.
Growth = dict[str, Fraction]


@checked
def mup(
    params: Params,
    base: Params,
    *,
    layout: MatrixLayout,
    learning_rate: LearningRate | None = None,
    weight_decay: WeightDecay = 0.0,
    optimizer: Literal["adam", "sgd"] = "adam",
) -> tuple[ByPath, ByPath]:
    r"""The learning rate and weight decay of each param in muP.

    In the maximal update parametrization the best learning rate does not depend on the
    width: tune it with a small base model, and use it for wide ones. The two values
    returned go to an optimizer in place of the tuned ones, ``oxe.adamw(rate,
    weight_decay=decay)``. The base model is as deep as the model, and narrower. For a
    model as wide as the base model nothing changes.

    A param's inputs or outputs grow if there are more of them than in the base model,
    :math:`m_{in}` and :math:`m_{out}` times as many. The learning rate is multiplied by

    .. math::
        \begin{array}{lcc}
        \text{what grows} & \text{adam} & \text{sgd} \\
        \text{inputs and outputs (hidden matrices)} & 1 / m_{in} & m_{out} / m_{in} \\
        \text{inputs (readout)} & 1 & m_{in} \\
        \text{outputs (embeddings), vectors} & 1 & m_{out} \\
        \text{neither} & 1 & 1
        \end{array}

    and the weight decay is divided by the same number, so that their product, and with
    it the time over which weights are forgotten, stays as it was tuned. These are the
    numbers of ``MuAdamW`` and ``MuSGD`` of the authors' package ``mup``, 1.0.0. That
    package refuses params that grow along three axes; here several axes together, such
    as heads and their size, may be the inputs or the outputs of a matrix.

    This is half of muP. The other half is up to the model, with :math:`m_{in}` of each
    layer and :math:`d` for the size of a head:

    * Hidden matrices start with a standard deviation proportional to
      :math:`1/\sqrt{\text{inputs}}`, as most initializers have it. That of embeddings,
      of the first layer and of biases does not depend on the width (by default that of
      Flax' ``Embed`` and of Equinox' biases does).
    * The readout starts at zero, or as that of the base model, and its inputs are
      divided by :math:`m_{in}`: ``logits = readout(x / m)``.
    * Attention divides ``q @ k`` by :math:`d`, not by :math:`\sqrt d`, and multiplies
      it by the root of the base model's :math:`d`.
    * The gradients of wide models are smaller: Adam's `eps` has to be far below them.

    If all is right, the outputs change by about the same amount in the first updates
    for every width. :func:`describe_groups` shows what grows in each param.

    Args:
      params: The params of the model, or their shapes, as from ``jax.eval_shape``.
      base: Those of the base model: the same tree with other sizes.
      layout: Which axes are inputs and outputs, as in :func:`muon`: ``"in_out"``,
        ``"out_in"`` or a function ``(path, leaf) -> MatrixAxes | None``, which
        ``oxe.layouts`` makes for models of Flax, Haiku and Equinox. None, and with the
        two words all leaves of less than two axes: a vector. The bias of several heads
        may grow along both axes: ``MatrixAxes(inputs=(), outputs=(0, 1))``.
      learning_rate: The learning rate tuned for the base model: a number, a schedule or
        a metric schedule. None: the first value returned is of multiples, for the
        default of a :func:`by_path`, which has `times` of its own.
      weight_decay: The weight decay tuned for the base model.
      optimizer: ``"adam"``, for those that divide by the size of the gradients
        (:func:`adamw`, :func:`nadam`, :func:`amsgrad`, :func:`rmsprop`,
        :func:`adagrad`), or ``"sgd"`` (:func:`sgd`, :func:`heavy_ball`).

    Returns:
      The learning rate and the weight decay. The groups are called after what grows,
      such as ``"inputs x4, outputs x4"``, ``"inputs x4"``, ``"width x4"`` for a vector,
      and ``"same size"``.

    Raises:
      ValueError: If the two trees do not have the same leaves, of as many axes; if a
        leaf grows along a batch axis, or along two axes and is not a matrix of the
        layout. At `init`, for a leaf that `params` does not have.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> def shapes(width):
      ...     return {
      ...         "embed": jnp.ones((50, width)),
      ...         "hidden": jnp.ones((width, width)),
      ...         "bias": jnp.ones(width),
      ...         "readout": jnp.ones((width, 50)),
      ...     }
      >>> schedule = oxe.schedules.cosine(1e-2, 1000)
      >>> rate, decay = oxe.mup(
      ...     shapes(256),
      ...     shapes(64),
      ...     layout="in_out",
      ...     learning_rate=schedule,
      ...     weight_decay=0.1,
      ... )
      >>> tx = oxe.adamw(rate, weight_decay=decay)

      With other groups: a learning rate tuned for the embedding, no decay of biases.

      >>> rate, decay = oxe.mup(
      ...     shapes(256), shapes(64), layout="in_out", weight_decay=0.1
      ... )
      >>> tx = oxe.adamw(
      ...     oxe.by_path({"embed": 5.0}, default=rate, times=schedule),
      ...     weight_decay=oxe.by_path({"bias": 0.0}, default=decay),
      ... )

    References:
      Yang et al., `Tensor Programs V: Tuning Large Neural Networks via Zero-Shot
      Hyperparameter Transfer <https://arxiv.org/abs/2203.03466>`_, 2022.
    """
    given = {"learning_rate": learning_rate, "weight_decay": weight_decay}
    for name, x in given.items():
        if is_by_path(x):
            hint = "Give what is returned to `by_path`, as its default."
            refuse_kind(name, "not depend on the path", x, hint)
    leaves = leaves_with_paths(params)
    bases = _like(leaves, leaves_with_paths(base))
    rows = zip(
        leaves, bases, find_axes(layout, params, may_be_others=True), strict=True
    )
    growths = {
        path: _growth(path, jnp.shape(leaf), jnp.shape(of_base), axes)
        for (path, leaf), of_base, (_, axes) in rows
        if leaf is not None
    }
    multiples = {_name(x): _multiple(x, optimizer) for x in growths.values()}

    def name_of(path: str, leaf: Any) -> str:
        if path not in growths:
            refuse("params", f"have the leaf {path!r} of the optimizer's", [*growths])
        return _name(growths[path])

    rates = {name: float(x) for name, x in multiples.items()}
    rate = by_name("mup", name_of, rates, learning_rate)
    factor, times = (
        (1.0, weight_decay) if callable(weight_decay) else (weight_decay, None)
    )
    decays = {name: float(1 / x) * factor for name, x in multiples.items()}
    return rate, by_name("mup", name_of, decays, times)


def _like(leaves: Leaves, bases: Leaves) -> list[Any]:
    """The leaves of the base model, in the order of the model's."""
    found, paths = dict(bases), [path for path, _ in leaves]
    for path in sorted({*paths} ^ {*found}):
        names = ("base", "params") if path in paths else ("params", "base")
        got = [*found] if path in paths else paths
        refuse(names[0], f"have the leaf {path!r} of `{names[1]}`", got)
    for path, leaf in leaves:
        shape, of_base = jnp.shape(leaf), jnp.shape(found[path])
        if len(shape) != len(of_base) or (0 in of_base and shape != of_base):
            must = f"have as many axes as `params` at {path!r}, none of size 0"
            refuse("base", must, f"{of_base} for {shape}")
    return [found[path] for path in paths]


def _growth(
    path: str, shape: tuple[int, ...], base: tuple[int, ...], axes: MatrixAxes | None
) -> Growth:
    """What of a leaf grows, and how many times larger it is."""
    if axes is None:
        rows = zip(["width"] * len(shape), shape, base, strict=True)
    else:
        names = ("batch", "inputs", "outputs")
        rows = zip(names, axes.sizes(shape), axes.sizes(base), strict=True)
    grown = [(name, Fraction(n, of_base)) for name, n, of_base in rows if n != of_base]
    growth, got = dict(grown), f"{shape} for a base of {base}"
    if len(grown) > len(growth):
        hint = "Let `layout` return `oxe.MatrixAxes`, with `inputs=()` for a bias."
        must = f"grow along one axis at {path!r}, which is not a matrix of the layout"
        refuse("params", must, got, hint)
    if "batch" in growth:
        hint = "Heads belong to inputs or outputs; the base model has as many layers."
        must = f"not grow along a batch axis at {path!r}"
        refuse("params", must, got, hint)
    return growth


def _multiple(growth: Growth, optimizer: str) -> Fraction:
    """What the learning rate is multiplied by: as in the authors' package."""
    one, is_matrix = Fraction(1), len(growth) == 2
    if optimizer == "adam":
        return 1 / growth["inputs"] if is_matrix else one
    if is_matrix:
        return growth["outputs"] / growth["inputs"]
    return next(iter(growth.values()), one)


def _name(growth: Growth) -> str:
    """The name of the group of leaves that grow so."""
    return ", ".join(f"{name} x{m}" for name, m in growth.items()) or "same size"
