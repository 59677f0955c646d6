"""Layouts for :func:`muon`: which leaves of a model are matrices, and by which axes.

Each function reads a model of one library and returns a function of a path and a leaf,
to pass as `layout`. The kernels of linear layers, attention and convolutions are
matrices. Biases, norms and embeddings are left to `others` of :func:`muon`. A model
does not say which layer is its last: give that to `others`, too, by its path.

>>> import optax_extras as oxe
>>> import equinox as eqx
>>> import jax
>>> model = eqx.nn.MLP(4, 3, width_size=8, depth=2, key=jax.random.key(0))
>>> layout = oxe.layouts.equinox(model, others="layers/2/.*")
>>> tx = oxe.muon(0.02, layout=layout, others=oxe.adamw(3e-4))

A param with two or more axes of a module that the reader does not know is refused, with
its path, unless `others` or `matrices` says what it is.
"""

from optax_extras.layouts._equinox import equinox as equinox
from optax_extras.layouts._haiku import haiku as haiku
from optax_extras.layouts._linen import linen as linen
from optax_extras.layouts._nnx import nnx as nnx

__all__ = [name for name in dir() if not name.startswith("_")]
