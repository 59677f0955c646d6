"""A function at many points: as many at a time as a memory limit permits."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._errors import refuse


def in_chunks(
    fun: Callable[..., jax.Array],
    data: Any,
    points: tuple[jax.Array, ...],
    limit: int | None,
    advance: Callable[[int], object],
) -> jax.Array:
    """The values of `fun(data, *point)`, (n,), from one compiled program.

    Args:
      fun: From the data and one point to a scalar; `vmap`ped over the points.
      data: Arrays that all points share.
      points: Arrays of shape (n,), one for each coordinate of a point.
      limit: The most bytes that a program may need, including its arguments and
        results. None: all points at once.
      advance: Called after each chunk with the number of its points.
    """
    program = jax.jit(lambda data, *points: jax.vmap(lambda *x: fun(data, *x))(*points))
    total = size = points[0].size
    compiled = _compile(program, data, points, size)
    while limit is not None and (needed := _bytes(compiled)) > limit:
        if size == 1:
            must = f"be at least {needed}, the bytes that one run needs"
            refuse("memory_limit", must, limit)
        fixed = sum(x.nbytes for x in jax.tree.leaves(data))
        fitting = size * max(limit - fixed, 0) // max(needed - fixed, 1)
        size = min(max(fitting, 1), size - 1)
        compiled = _compile(program, data, points, size)
    found = []
    for begin in range(0, total, size):
        # The last chunk repeats the last point, so that it fits the same program.
        places = np.minimum(np.arange(begin, begin + size), total - 1)
        values = compiled(data, *(x[places] for x in points))
        found.append(jax.block_until_ready(values))
        advance(min(size, total - begin))
    return jnp.concatenate(found)[:total]


def _compile(program: Any, data: Any, points: tuple[jax.Array, ...], size: int) -> Any:
    return program.lower(data, *(x[:size] for x in points)).compile()


def _bytes(compiled: Any) -> int:
    memory = compiled.memory_analysis()
    if memory is None:
        must = "be None where the compiler does not report the memory of a program"
        refuse("memory_limit", must, "a number")
    return (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
    )
