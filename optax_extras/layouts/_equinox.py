"""Which params of an Equinox module are matrices."""

from typing import Any

import jax

from optax_extras._by_path import path_of
from optax_extras._checks import AxesByPath, Paths, checked
from optax_extras._errors import refuse_kind
from optax_extras.layouts._kernels import (
    Kernel,
    Kernels,
    convolution,
    find_kernel,
    place,
)
from optax_extras.layouts._read import Layout, as_layout


def _linear(m: Any) -> Kernel:
    sizes = (m.out_features, m.in_features)
    return Kernel("oi", tuple(1 if size == "scalar" else size for size in sizes))


def _convolution(m: Any) -> Kernel:
    return convolution("ocs", m.kernel_size, m.in_channels, m.out_channels, m.groups)


def _cell(gates: int) -> dict[str, Any]:
    names = {"weight_ih": "input_size", "weight_hh": "hidden_size"}

    def rule(size: str) -> Any:
        return lambda m: Kernel("oi", (gates * m.hidden_size, getattr(m, size)), gates)

    return {name: rule(size) for name, size in names.items()}


_KERNELS: Kernels = {
    "Linear": {"weight": _linear},
    "Conv": {"weight": _convolution},
    "ConvTranspose": {"weight": _convolution},
    "GRUCell": _cell(3),
    "LSTMCell": _cell(4),
}


@checked
def equinox(
    model: Any, *, others: Paths = (), matrices: AxesByPath | None = None
) -> Layout:
    """The layout of the params of an Equinox module, for :func:`muon`.

    Matrices are the weights of ``Linear`` (also those of ``MLP`` and
    ``MultiheadAttention``: all heads are one matrix), ``Conv``, ``ConvTranspose``,
    ``GRUCell`` and ``LSTMCell``. In a grouped convolution each group is a matrix, in a
    cell each gate. In modules that ``eqx.filter_vmap`` stacked along the first axis,
    each layer is a matrix.

    An array that several modules share is what its first path says: a last layer tied
    to an ``Embedding`` may be either. Name it in `others`.

    Left to `others` of :func:`muon` are biases, norms, ``Embedding``, ``PReLU``,
    depthwise convolutions, and arrays of fewer than two axes. Refused are arrays of
    other modules, and weights whose shape is not what their module says.

    Args:
      model: The module, or a tree of modules.
      others: More params for `others`, such as ``"layers/2/.*"``, as in :func:`nnx`.
      matrices: The axes of params of your own modules, as in :func:`nnx`.

    Returns:
      A function ``(path, leaf) -> MatrixAxes | None``, with paths as in
      ``eqx.filter(model, eqx.is_inexact_array)``.

    Examples:
      >>> import equinox as eqx
      >>> import jax
      >>> import optax_extras as oxe
      >>> model = eqx.nn.MLP(4, 3, width_size=8, depth=2, key=jax.random.key(0))
      >>> layout = oxe.layouts.equinox(model, others="layers/2/.*")
      >>> layout("layers/0/weight", None)
      MatrixAxes(inputs=(1,), outputs=(0,), batch=(), split=())
      >>> tx = oxe.muon(0.02, layout=layout, others=oxe.adamw(3e-4))
    """
    found, is_equinox = {}, _is_module(model)
    for path, leaf in jax.tree_util.tree_leaves_with_path(model):
        node = model
        for key in path[:-1]:
            node = _child(node, key)
            is_equinox = is_equinox or _is_module(node)
        if hasattr(leaf, "shape"):
            kernel = find_kernel(node, path_of(path[-1:]), _KERNELS, "equinox")
            found[path_of(path)] = leaf, place(kernel, leaf.shape)
    if not is_equinox:
        refuse_kind("model", "be a module of Equinox, or a tree of them", model)
    return as_layout(found, others, matrices)


def _child(node: Any, key: Any) -> Any:
    if hasattr(key, "name"):
        return getattr(node, key.name)
    return node[key.key if hasattr(key, "key") else key.idx]


def _is_module(x: Any) -> bool:
    classes = type(x).__mro__
    return any(cls.__module__.partition(".")[0] == "equinox" for cls in classes)
