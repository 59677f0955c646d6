"""Which params of a Haiku function are matrices."""

from functools import partial
from typing import Any

import jax

from optax_extras._checks import AxesByPath, Paths, checked
from optax_extras._errors import refuse_kind
from optax_extras.layouts._kernels import (
    Kernel,
    Kernels,
    Unknown,
    convolution,
    find_kernel,
    place,
)
from optax_extras.layouts._read import Layout, as_layout, eval_shape


def _convolution(m: Any) -> Kernel:
    groups = m.feature_group_count
    return convolution("sco", m.kernel_shape, None, m.output_channels, groups)


def _transposed(m: Any) -> Kernel:
    return convolution("soc", m.kernel_shape, None, m.output_channels)


def _gates(m: Any) -> Kernel:
    return Kernel("io", (None, 3 * m.hidden_size), 3)


_KERNELS: Kernels = {
    "Linear": {"w": lambda m: Kernel("io", (None, m.output_size))},
    "ConvND": {"w": _convolution},
    "ConvNDTranspose": {"w": _transposed},
    "GRU": {"w_i": _gates, "w_h": _gates},
}


@checked
def haiku(
    model: Any,
    *args: Any,
    others: Paths = (),
    matrices: AxesByPath | None = None,
    **kwargs: Any,
) -> Layout:
    """The layout of the params of a Haiku function, for :func:`muon`.

    Matrices are the weights of ``Linear`` (also those of ``MultiHeadAttention`` and
    ``LSTM``: all heads or gates are one matrix), of convolutions, transposed ones too,
    and of ``GRU``. In a grouped convolution each group is a matrix, in ``GRU`` each
    gate. In layers stacked by ``hk.experimental.layer_stack`` each layer is a matrix.

    Left to `others` of :func:`muon` are biases, norms, ``Embed``, depthwise
    convolutions, and params of fewer than two axes. Refused are params of other
    modules, weights whose shape is not what their module says, and params of modules of
    two kinds that have one name in two stacks.

    Haiku modules exist only while their function runs, so ``model.init`` is traced for
    shapes; nothing is computed.

    Args:
      model: What ``hk.transform`` or ``hk.transform_with_state`` returns.
      *args: The inputs of the function, as for ``model.init``: arrays or
        their ``jax.ShapeDtypeStruct``.
      others: More params for `others`, such as ``"mlp/~/linear_2/.*"``, as in
        :func:`nnx`.
      matrices: The axes of params of your own modules, as in :func:`nnx`.
      **kwargs: Its inputs by name, and other arguments, as in ``is_training=False``.

    Returns:
      A function ``(path, leaf) -> MatrixAxes | None``.

    Examples:
      >>> import haiku as hk
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> model = hk.transform(lambda x: hk.nets.MLP([8, 8, 3])(x))
      >>> layout = oxe.layouts.haiku(
      ...     model, jnp.ones((1, 4)), others="mlp/~/linear_2/.*"
      ... )
      >>> layout("mlp/~/linear_0/w", None)
      MatrixAxes(inputs=(0,), outputs=(1,), batch=(), split=())
      >>> tx = oxe.muon(0.02, layout=layout, others=oxe.adamw(3e-4))
    """
    import haiku as hk

    if not isinstance(model, hk.Transformed | hk.TransformedWithState):
        refuse_kind("model", "be the result of hk.transform", model)
    modules: dict[str, list[Any]] = {}

    def record(function: Any, args: Any, kwargs: Any, context: Any) -> Any:
        result = function(*args, **kwargs)  # `__init__` gives the module its name
        modules.setdefault(context.module.module_name, []).append(context.module)
        return result

    with hk.intercept_methods(record):
        params = eval_shape(partial(model.init, jax.random.key(0)), args, kwargs)
    if isinstance(model, hk.TransformedWithState):
        params = params[0]
    found = {}
    for owner, leaves in params.items():
        for name, leaf in leaves.items():
            kernel = _find(owner, name, modules)
            found[f"{owner}/{name}"] = leaf, place(kernel, leaf.shape)
    return as_layout(found, others, matrices)


def _find(owner: str, name: str, modules: dict[str, list[Any]]) -> Any:
    """The kernel of a param; `layer_stack` and `hk.lift` put names before the owner."""
    names = owner.split("/")
    suffixes = ("/".join(names[i:]) for i in range(len(names)))
    same_name = next((modules[x] for x in suffixes if x in modules), [])
    kernels = [find_kernel(x, name, _KERNELS, "haiku") for x in same_name]
    is_one = kernels and all(x == kernels[0] for x in kernels)
    return kernels[0] if is_one else Unknown("a module")
