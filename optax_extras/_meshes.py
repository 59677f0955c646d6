"""Meshes with explicit axes, on which JAX wants to know how every result is split."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def on_auto_axes(function: Callable[..., Any], like: jax.Array, out: Any) -> Any:
    """The function, within which the compiler settles how arrays are split.

    What it returns is split as `out` says: a tree of what `split_as` returns.
    """
    mesh = jax.typeof(like).sharding.mesh
    kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
    explicit = tuple(name for name, kind in kinds if kind == AxisType.Explicit)
    if not explicit:
        return function
    # As one program: by operation, jax 0.8 refuses arrays that come out uneven.
    return jax.sharding.auto_axes(jax.jit(function), axes=explicit, out_sharding=out)


def split_as(like: jax.Array, shape: tuple[int, ...]) -> NamedSharding:
    """Axis by axis as `like` is, which has as many; whole where it comes out uneven."""
    sharding = jax.typeof(like).sharding
    spec = [
        names if n % _devices(sharding.mesh, names) == 0 else None
        for n, names in zip(shape, sharding.spec, strict=True)
    ]
    return NamedSharding(sharding.mesh, PartitionSpec(*spec))


def _devices(mesh: Any, names: Any) -> int:
    names = () if names is None else (names,) if isinstance(names, str) else names
    return math.prod(mesh.shape[name] for name in names)
