"""The elementwise update that the classical optimizers share, for one leaf."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._kernel.tableau import Tableau, is_known
from optax_extras._numerics import along_first_axis, compute_dtype, real_dtype, sqrt


class LeafUpdater:
    """Updates leaves by one tableau, whose scalars are cast once for each dtype."""

    def __init__(self, tableau: Tableau):
        self._tableau, self._cast = tableau, {}
        self._has_vectors = any(np.ndim(x) == 1 for x in tableau if x is not None)

    def update(
        self, g: Any, mu: Any, nu: Any, nu_max: Any
    ) -> tuple[Any, Any, Any, Any]:
        """The direction u of a leaf and its new buffers, all in their old dtypes."""
        if g is None:
            return None, mu, nu, nu_max
        g = jnp.asarray(g)
        x, c = self._prepared(g, mu, nu)
        m: Any = None
        v: Any = None
        if mu is not None:
            old = mu.astype(x.dtype)
            m = _sum(old, _term(c.a1, old), _term(c.c1, x))
            mu = m.astype(mu.dtype)
        if nu is not None:
            old = nu.astype(x.real.dtype)
            v = _sum(old, _term(c.a2, old), _term(c.c2, _abs_squared(x)))
            nu = v.astype(nu.dtype)
        if nu_max is not None:
            old = _term(c.r, nu_max.astype(x.real.dtype))
            v = v if old is None else jnp.maximum(old, v)
            nu_max = v.astype(nu_max.dtype)
        return _direction(c, x, m, v).astype(g.dtype), mu, nu, nu_max

    def direction(self, g: Any, mu: Any, nu: Any, nu_max: Any) -> Any:
        """The u of `update` again, from the new buffers, which must not be rounded."""
        if g is None:
            return None
        g = jnp.asarray(g)
        x, c = self._prepared(g, mu, nu)
        return _direction(c, x, mu, nu if nu_max is None else nu_max).astype(g.dtype)

    def _prepared(self, g: jax.Array, mu: Any, nu: Any) -> tuple[jax.Array, Tableau]:
        """The gradient and the scalars in the dtype to compute in."""
        dtypes = [x.dtype for x in (g, mu, nu) if x is not None]
        dtype = compute_dtype(*dtypes)
        if dtype not in self._cast:
            self._cast[dtype] = _cast_scalars(self._tableau, real_dtype(dtype))
        c = self._cast[dtype]
        if self._has_vectors:
            c = Tableau(*(x if x is None else along_first_axis(x, g) for x in c))
        return g.astype(dtype), c


def _direction(c: Tableau, g: jax.Array, mu: Any, nu: Any) -> jax.Array:
    """The direction u of `Tableau`. Scalars are multiplied with each other first."""
    root = None if nu is None else _term(c.d, sqrt(_inside(c, mu, nu)))
    bounded = c.lo is not None or c.hi is not None
    unknown = not isinstance(c.e, int | float)  # then divide, as with a root
    if root is None and unknown and not bounded:
        root = jnp.zeros((), g.real.dtype)
    if root is None:
        scale = c.s if isinstance(c.e, int | float) and c.e == 1 else c.s / c.e
        scale = jnp.clip(scale, c.lo, c.hi) if bounded else scale
    else:
        scale = 1 if bounded else c.s
    n0, n1 = _times(scale, c.n0), _times(scale, c.n1)
    numerator = _sum(g, _term(n0, g), None if mu is None else _term(n1, mu))
    if root is None:
        return numerator
    denominator = root + _above_zero(c.e, root.dtype)
    if not bounded:
        return numerator / denominator
    size = c.s
    for bound in (c.lo, c.hi):  # a NaN bound makes the update NaN
        if isinstance(bound, jax.Array):
            size = jnp.where(jnp.isnan(bound), bound, size)
    return _clipped(size / denominator, c.lo, c.hi) * numerator


def _clipped(x: jax.Array, low: Any, high: Any) -> jax.Array:
    """`jnp.clip` by comparisons: twice as fast on a CPU; a NaN in x stays NaN, too."""
    x = x if low is None else jnp.where(x < low, low, x)
    return x if high is None else jnp.where(x > high, high, x)


def _above_zero(e: Any, dtype: Any) -> Any:
    """The epsilon; for 0 the root of the least normal number, so that 0/0 is 0."""
    least = float(np.sqrt(jnp.finfo(dtype).tiny))
    return max(e, least) if isinstance(e, int | float) else jnp.maximum(e, least)


def _inside(c: Tableau, mu: Any, nu: Any) -> jax.Array:
    """The radicand."""
    if mu is not None and not is_known(c.q, 0):
        center = _term(c.q, _abs_squared(mu))
        finite = jnp.minimum(center, jnp.finfo(nu.dtype).max)  # inf - inf is NaN
        nu = jnp.maximum(nu - finite, 0)  # rounding can make it negative
    return nu if isinstance(c.k, int | float) and c.k == 0 else nu + c.k


def _cast_scalars(tableau: Tableau, dtype: Any) -> Tableau:
    """The coefficients: Python numbers if they are known, else arrays of `dtype`."""
    scalars = [
        c
        if c is None or isinstance(c, int | float)
        else c.item()
        if isinstance(c, np.generic)
        else jnp.asarray(c, dtype)
        for c in tableau
    ]
    return Tableau(*scalars)


def _times(a: Any, b: Any) -> Any:
    """The product of two coefficients, without factors known to be 0 or 1."""
    for x, other in ((a, b), (b, a)):
        if isinstance(x, int | float) and x in (0, 1):
            return 0 if x == 0 else other
    return a * b


def _term(c: Any, x: jax.Array) -> Any:
    """The product; None if the coefficient is known to be 0."""
    if isinstance(c, int | float):
        return None if c == 0 else x if c == 1 else c * x
    return _product(c, x)


@jax.custom_jvp
def _zero_safe_product(c: jax.Array, x: jax.Array) -> jax.Array:
    """The product, but 0 where c is 0: 0 * inf would be NaN, and stay in a buffer.

    One gradient of 1e20 is enough: its square is inf. The selection alone would also
    remove the slope in c at c = 0, hence the rule below.
    """
    return jnp.where(c == 0, 0, c * x)


@_zero_safe_product.defjvp
def _zero_safe_product_jvp(primals, tangents):
    (c, x), (d_c, d_x) = primals, tangents
    return _zero_safe_product(c, x), _zero_safe_product(c, d_x) + d_c * x


# Under jit, to be traced once for all leaves of a shape.
_product = jax.jit(_zero_safe_product, inline=True)


def _sum(like: jax.Array, a: Any, b: Any) -> Any:
    """The sum of the terms that are not None."""
    if a is None and b is None:
        return jnp.zeros_like(like)
    return b if a is None else a if b is None else a + b


def _abs_squared(x: jax.Array) -> jax.Array:
    """|x|^2, real."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return jnp.square(x.real) + jnp.square(x.imag)
    return jnp.square(x)
