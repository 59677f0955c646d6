"""Which params of a Flax Linen module are matrices."""

import functools
from typing import Any

import jax

from optax_extras._boxes import without_boxes
from optax_extras._by_path import path_of
from optax_extras._checks import AxesByPath, Paths, checked
from optax_extras._errors import refuse_kind
from optax_extras.layouts._kernels import (
    Kernel,
    Kernels,
    Unknown,
    convolution,
    einsum,
    find_kernel,
    place,
)
from optax_extras.layouts._read import Layout, as_layout, eval_shape, paths


def _general(m: Any) -> Kernel:
    counts = [1 if isinstance(x, int) else len(x) for x in (m.batch_dims, m.axis)]
    features = (m.features,) if isinstance(m.features, int) else tuple(m.features)
    roles = "b" * counts[0] + "i" * counts[1] + "o" * len(features)
    return Kernel(roles, (*(None,) * sum(counts), *features))


def _convolution(m: Any) -> Kernel:
    return convolution("sco", m.kernel_size, None, m.features, m.feature_group_count)


def _transposed(m: Any) -> Kernel:
    roles = "soc" if m.transpose_kernel else "sco"
    return convolution(roles, m.kernel_size, None, m.features)


def _dense(m: Any) -> Kernel:
    return Kernel("io", (None, m.features))


_KERNELS: Kernels = {
    "Dense": {"kernel": _dense},
    "DenseParams": {"kernel": _dense},  # of OptimizedLSTMCell
    "DenseGeneral": {"kernel": _general},
    "Einsum": {"kernel": lambda m: einsum(m.einsum_str, m.shape)},
    "Conv": {"kernel": _convolution},
    "ConvTranspose": {"kernel": _transposed},
}


@checked
def linen(
    model: Any,
    *args: Any,
    others: Paths = (),
    matrices: AxesByPath | None = None,
    **kwargs: Any,
) -> Layout:
    """The layout of the params of a Flax Linen module, for :func:`muon`.

    Matrices are the kernels of ``Dense``, ``DenseGeneral`` (also those of
    ``MultiHeadDotProductAttention``: all heads are one matrix), ``Conv``,
    ``ConvTranspose``, ``Einsum`` and the cells made of them. In a grouped convolution
    each group is a matrix. In modules that ``nn.scan`` or ``nn.vmap`` stacked, along
    whichever axis, each layer is a matrix.

    Left to `others` of :func:`muon` are biases, norms, ``Embed``, ``PReLU``, depthwise
    convolutions, and params of fewer than two axes. Refused are params of other
    modules, and kernels whose shape is not what their module says. In a model whose
    code reads the params of a submodule, as for tied weights, no module is recognized:
    give the axes of all by `matrices` and `others`. A *square* kernel that a module
    stores transposed, as by ``nn.map_variables``, looks like any other: name it in
    `matrices`.

    Linen modules make their params when they are called, so ``model.init`` is traced
    for shapes, twice; nothing is computed.

    Args:
      model: The module.
      *args: The inputs of the module, as for ``model.init``: arrays or
        their ``jax.ShapeDtypeStruct``.
      others: More params for `others`, such as ``"Dense_2/.*"``, as in :func:`nnx`. The
        path is without ``"params/"``.
      matrices: The axes of params of your own modules, as in :func:`nnx`.
      **kwargs: Its inputs by name, and other arguments, as in ``train=False``.

    Returns:
      A function ``(path, leaf) -> MatrixAxes | None``, for the params and for
      ``{"params": params}``.

    Examples:
      >>> import flax.linen as nn
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> model = nn.Sequential([nn.Conv(8, (3, 3)), nn.LayerNorm(), nn.Dense(10)])
      >>> layout = oxe.layouts.linen(
      ...     model, jnp.ones((1, 8, 8, 3)), others="layers_2/.*"
      ... )
      >>> layout("layers_0/kernel", None)
      MatrixAxes(inputs=(0, 1, 2), outputs=(3,), batch=(), split=())
      >>> tx = oxe.muon(0.02, layout=layout, others=oxe.adamw(3e-4))
    """
    from flax import linen as nn

    if not isinstance(model, nn.Module):
        refuse_kind("model", "be a module of Flax Linen", model)

    def init(*args: Any, **kwargs: Any) -> Any:
        return model.init(jax.random.key(0), *args, **kwargs).get("params", {})

    def init_recorded(*args: Any, **kwargs: Any) -> Any:
        with nn.intercept_methods(_record):
            return init(*args, **kwargs)

    record, owner = _record_class(), "a module"
    try:
        recorded = eval_shape(init_recorded, args, kwargs)
    except (AttributeError, TypeError, ValueError):
        recorded = {}
        owner = f"{type(model).__name__}, whose code reads params of a submodule"
    flat = jax.tree_util.tree_leaves_with_path(
        recorded, is_leaf=lambda x: isinstance(x, record)
    )
    records = {path_of(keys): x for keys, x in flat if isinstance(x, record)}
    found, unknown = {}, record(None, Unknown(owner))
    for path, leaf in paths(eval_shape(init, args, kwargs)).items():
        x = records.get(path, unknown)
        found[path] = leaf, place(x.kernel, leaf.shape, x.stack)
    return as_layout(found, others, matrices, prefix="params/")


def _record(function: Any, args: Any, kwargs: Any, context: Any) -> Any:
    """Runs a method of a module, then boxes its own params with their kernels."""
    result = function(*args, **kwargs)
    module, record = context.module, _record_class()
    if module.scope is None or not module.is_mutable_collection("params"):
        return result
    for name, x in module.variables.get("params", {}).items():
        if not hasattr(x, "items") and not isinstance(x, record):
            kernel = find_kernel(module, name, _KERNELS, "flax")
            module.put_variable("params", name, record(without_boxes(x), kernel))
    return result


@functools.cache
def _record_class() -> Any:
    """A box that lifted transformations tell which axes they add."""
    from flax import linen as nn, struct

    class Record(struct.PyTreeNode, nn.meta.AxisMetadata):
        value: Any
        kernel: Any = struct.field(pytree_node=False)
        stack: tuple[int, ...] = struct.field(pytree_node=False, default=())

        def unbox(self) -> Any:
            return self.value

        def replace_boxed(self, val: Any) -> Any:
            return self.replace(value=val)

        def add_axis(self, index: int, params: Any) -> Any:
            new = index % self.value.ndim  # the value has the new axis
            moved = (axis + (axis >= new) for axis in self.stack)
            return self.replace(stack=(new, *moved))

        def remove_axis(self, index: int, params: Any) -> Any:
            old = index % self.value.ndim  # the value still has it
            left = (axis for axis in self.stack if axis != old)
            return self.replace(stack=tuple(a - (a > old) for a in left))

    return Record
