"""Which params of a Flax NNX module are matrices."""

from typing import Any

from optax_extras._check_values import static_count
from optax_extras._checks import AxesByPath, Paths, checked
from optax_extras._errors import refuse_kind
from optax_extras.layouts._kernels import (
    Kernel,
    Kernels,
    convolution,
    einsum,
    find_kernel,
    place,
)
from optax_extras.layouts._read import Layout, as_layout, paths


def _general(m: Any) -> Kernel:
    sizes = [tuple(m.batch_axis.values()), m.in_features, m.out_features]
    roles = "".join(x * len(y) for x, y in zip("bio", sizes, strict=True))
    return Kernel(roles, sum(sizes, ()))


def _convolution(m: Any) -> Kernel:
    groups = m.feature_group_count
    return convolution("sco", m.kernel_size, m.in_features, m.out_features, groups)


def _transposed(m: Any) -> Kernel:
    roles = "soc" if m.transpose_kernel else "sco"
    return convolution(roles, m.kernel_size, m.in_features, m.out_features)


_KERNELS: Kernels = {
    "Linear": {"kernel": lambda m: Kernel("io", (m.in_features, m.out_features))},
    "LinearGeneral": {"kernel": _general},
    "Einsum": {"kernel": lambda m: einsum(m.einsum_str, m.kernel_shape)},
    "Conv": {"kernel": _convolution},
    "ConvTranspose": {"kernel": _transposed},
}


@checked
def nnx(
    model: Any,
    *,
    others: Paths = (),
    matrices: AxesByPath | None = None,
    stack_axis: int | str = 0,
) -> Layout:
    """The layout of the params of a Flax NNX module, for :func:`muon`.

    Matrices are the kernels of ``Linear``, ``LinearGeneral`` (also those of
    ``MultiHeadAttention``: all heads are one matrix), ``Conv``, ``ConvTranspose``,
    ``Einsum`` and the cells made of them. In a grouped convolution each group is a
    matrix. In modules that ``nnx.vmap`` stacked each layer is a matrix.

    An array that several modules share is what its first path says: a last layer tied
    to an ``Embed`` may be either. Name it in `others`.

    Left to `others` of :func:`muon` are biases, norms, ``Embed``, ``LoRA``, ``PReLU``,
    depthwise convolutions, and params of fewer than two axes. Refused are params of
    other modules, and kernels whose shape is not what their module says.

    Args:
      model: The module. Its ``nnx.Param`` variables are read, or their shapes, as
        ``nnx.eval_shape`` returns them.
      others: More params for `others`, such as the last layer: a regular expression, or
        several, for the whole path, as in ``"head/.*"``; or a function
        ``(path, leaf) -> bool``. An expression that matches no path is an error.
      matrices: The axes of params of your own modules: a dict from regular expressions
        for the whole path to :class:`MatrixAxes`, of which the first that matches
        wins. It overrides what the module says, and `others` overrides it.
      stack_axis: The axis of the layers in stacks, where `out_axes` of ``nnx.vmap``
        says; or its name in the sharding metadata of the params, ``"layers"``, which
        ``nnx.PARTITION_NAME`` put there.

    Returns:
      A function ``(path, leaf) -> MatrixAxes | None``, with paths as in
      ``nnx.state(model, nnx.Param)``.

    Examples:
      >>> import optax_extras as oxe
      >>> from flax import nnx
      >>> model = nnx.Sequential(
      ...     nnx.Conv(3, 8, (3, 3), rngs=nnx.Rngs(0)),
      ...     nnx.MultiHeadAttention(2, 8, decode=False, rngs=nnx.Rngs(1)),
      ...     nnx.Linear(8, 10, rngs=nnx.Rngs(2)),
      ... )
      >>> layout = oxe.layouts.nnx(model, others="layers/2/.*")
      >>> layout("layers/0/kernel", None)
      MatrixAxes(inputs=(0, 1, 2), outputs=(3,), batch=(), split=())
      >>> tx = oxe.muon(0.02, layout=layout, others=oxe.adamw(3e-4))

      A matrix for each head of the queries:

      >>> by_head = oxe.MatrixAxes(inputs=0, outputs=2, batch=1)
      >>> layout = oxe.layouts.nnx(model, matrices={".*/query/kernel": by_head})
      >>> tx = oxe.muon(0.02, layout=layout, others=oxe.adamw(3e-4))
    """
    from flax import nnx as flax_nnx

    if not isinstance(model, flax_nnx.Module):
        refuse_kind("model", "be a module of Flax NNX", model)
    nodes = {"/".join(map(str, p)): x for p, x in flax_nnx.iter_graph(model)}
    if not isinstance(stack_axis, str):
        stack_axis = int(static_count("stack_axis", stack_axis, at_least=0))
    elif not any(stack_axis in _axis_names(x) for x in nodes.values()):
        refuse_kind("stack_axis", "be an axis, or its name in a param", stack_axis)
    found = {}
    for path, leaf in paths(flax_nnx.state(model, flax_nnx.Param)).items():
        parent, _, name = path.rpartition("/")
        kernel = find_kernel(nodes.get(parent), name, _KERNELS, "flax")
        stack: Any = stack_axis
        if isinstance(stack, str):
            axes = _axis_names(nodes[path])
            stack = tuple(i for i, axis in enumerate(axes) if axis == stack_axis)
        found[path] = leaf, place(kernel, leaf.shape, stack)
    return as_layout(found, others, matrices)


def _axis_names(variable: Any) -> tuple[Any, ...]:
    """The names of the axes of a variable; their key has changed between releases."""
    if not hasattr(variable, "get_metadata"):  # a module
        return ()
    metadata = variable.get_metadata()
    keys = ("out_sharding", "sharding_names", "sharding")
    found = [metadata[key] for key in keys if metadata.get(key) is not None]
    return tuple(found[0]) if found else ()
