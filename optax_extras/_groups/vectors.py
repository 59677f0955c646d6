"""Which params are vectors, in models of which some layers are stacked."""

import re
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from optax_extras._checks import Paths, checked


@checked
def vectors(stacked: Paths = ()) -> Callable[[str, Any], bool]:
    """A selector for :func:`by_path`: biases and scales, also those of scanned layers.

    Usually they do not decay. A mask such as ``p.ndim > 1`` does not know that the bias
    of scanned layers has two axes, the first one for the layers, and lets it decay.

    Args:
      stacked: The leaves whose first axis counts layers: regular expressions that match
        whole paths, or a function ``(path, leaf) -> bool``.

    Returns:
      A function ``(path, leaf) -> bool``: whether the leaf has at most one axis, not
      counting that of the layers.

    Examples:
      >>> import optax_extras as oxe
      >>> decay = oxe.by_path({oxe.vectors(stacked="blocks/.*"): 0.0}, default=0.1)
      >>> tx = oxe.adamw(1e-3, weight_decay=decay)
    """

    def is_stacked(path: str, leaf: Any) -> bool:
        if callable(stacked):
            return bool(stacked(path, leaf))
        return any(re.fullmatch(x, path) for x in stacked)

    def vectors(path: str, leaf: Any) -> bool:
        return jnp.ndim(leaf) - is_stacked(path, leaf) <= 1

    return vectors
