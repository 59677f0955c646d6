"""Kernels of known modules: which axis of a leaf has which role."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from optax_extras._groups._matrix_axes import MatrixAxes


class Kernel(NamedTuple):
    """The axes of a kernel, without those of stacks."""

    roles: str
    """A letter for each axis: i input, o output, b batch, c the input channels of a
    convolution."""
    sizes: tuple[int | None, ...]
    """The size of each axis, None where the module does not say it."""
    parts: int = 1
    """The number of separate maps side by side along the outputs."""


class Unknown(NamedTuple):
    """What the reader cannot place."""

    owner: str
    """The class of its module."""


Kernels = Mapping[str, Mapping[str, Callable[[Any], Kernel]]]
"""By the name of a class and of its parameter."""

Found = MatrixAxes | Unknown | None

_BIASES = ("bias", "bias_n", "b")
_WITHOUT_MATRICES = re.compile(r".*Norm|Embed.*|PReLU|LoRA|Depthwise.*")


def find_kernel(
    module: Any, name: str, known: Kernels, library: str
) -> Kernel | Unknown | None:
    """The kernel that is the parameter `name` of a module; None for `others`.

    A class of a user's own counts as the class of the library that it is derived from.
    """
    for cls in type(module).__mro__:
        if cls.__module__.partition(".")[0] != library:
            continue
        kernels = known.get(cls.__name__, {})
        if name in kernels:
            return kernels[name](module)
        if _WITHOUT_MATRICES.fullmatch(cls.__name__) or (kernels and name in _BIASES):
            return None
    return Unknown(type(module).__name__)


def place(
    kernel: Kernel | Unknown | None,
    shape: tuple[int, ...],
    stack: Sequence[int] | int = 0,
) -> Found:
    """The axes of a leaf of that shape.

    `stack` are the axes that count layers, or the first of those that the kernel lacks.
    """
    if isinstance(stack, int):
        extra = len(shape) - len(kernel.roles) if isinstance(kernel, Kernel) else 0
        stack = range(stack, stack + extra)
    rest = [axis for axis in range(len(shape)) if axis not in stack]
    if not isinstance(kernel, Kernel):
        return None if len(rest) < 2 else kernel
    named = list(zip(rest, kernel.roles, kernel.sizes, strict=False))
    fits = all(size in (None, shape[axis]) for axis, _, size in named)
    if not fits or not len(rest) == len(kernel.roles) >= 2:
        return Unknown("a module that says another shape")
    inputs, outputs, batch = (
        tuple(axis for axis, role, _ in named if role in roles)
        for roles in ("ic", "o", "b")
    )
    axes = MatrixAxes(inputs, outputs, (*stack, *batch))
    if kernel.parts == 1:
        return axes
    if any(role == "c" and shape[axis] == 1 for axis, role, _ in named):
        return None  # depthwise: the kernel of a channel is a vector
    size = axes.sizes(shape)[2] // kernel.parts
    return axes._replace(split=(size,) * kernel.parts)


def convolution(
    roles: str, spatial: Any, inputs: Any, outputs: Any, groups: int = 1
) -> Kernel:
    """The kernel of a convolution; an s of `roles` is for all its spatial axes."""
    n = 1 if isinstance(spatial, int) else len(spatial)
    sizes = {"i": None, "c": inputs and inputs // groups, "o": outputs}
    roles = roles.replace("s", "i" * n)
    return Kernel(roles, tuple(sizes[role] for role in roles), groups)


def einsum(equation: str | None, shape: Sequence[int]) -> Kernel:
    """The kernel that is the second operand of an equation."""
    operands, _, result = re.sub(r"[ .]", "", equation or "").partition("->")
    inputs, _, kernel = operands.partition(",")
    roles = {(True, True): "b", (True, False): "i", (False, True): "o"}
    found = [roles.get((x in inputs, x in result), "") for x in kernel]
    is_map = "" not in found and {"i", "o"} <= {*found}
    return Kernel("".join(found) if is_map else "", tuple(shape))
