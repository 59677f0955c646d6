"""The elementwise update that the classical optimizers share, for one leaf."""

import functools
import operator
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._check_values import is_traced
from optax_extras._kernel.tableau import Tableau, is_known
from optax_extras._leaves import along_first_axis, compute_dtype, real_dtype
from optax_extras._numerics import sqrt


class LeafUpdater:
    """Updates leaves by one tableau, whose scalars are cast once for each dtype."""

    def __init__(
        self,
        make: Callable[[], Tableau],
        never_zero: frozenset[str] = frozenset(),
        jitted: dict[Any, Any] | None = None,
    ):
        """`jitted` holds jitted functions, which the updaters of one update share."""
        self._make, self._never_zero, self._bound = make, never_zero, {}
        self._jitted = {} if jitted is None else jitted
        self.tableau = tableau = make()
        self._has_vectors = 1 in map(np.ndim, tableau)

    def copy(self) -> "LeafUpdater":
        """Another one, for use inside a branch of a conditional.

        It casts the tableau inside the branch; if each leaf has a carry, it also
        computes it there. What a branch takes from outside is materialized.
        """
        return LeafUpdater(self._make, self._never_zero, self._jitted)

    def update(
        self, g: Any, mu: Any, nu: Any, nu_max: Any
    ) -> tuple[Any, Any, Any, Any]:
        """The direction u of a leaf and its new buffers, all in their old dtypes."""
        if g is None:
            return None, mu, nu, nu_max
        g = jnp.asarray(g)
        return self._function(_update, g, mu, nu)(g, mu, nu, nu_max)

    def direction(self, g: Any, mu: Any, nu: Any, nu_max: Any) -> Any:
        """The u of `update` again, from the new buffers, which must not be rounded."""
        if g is None:
            return None
        g = jnp.asarray(g)
        return self._function(_recompute_direction, g, mu, nu)(g, mu, nu, nu_max)

    def _function(self, function: Any, g: jax.Array, mu: Any, nu: Any) -> Any:
        """A function of leaves like these, with the scalars in their dtype."""
        dtypes = (g.dtype, getattr(mu, "dtype", None), getattr(nu, "dtype", None))
        key = function, dtypes, g.ndim if self._has_vectors else None
        if key not in self._bound:
            dtype = compute_dtype(*filter(None, dtypes))
            c = _cast_scalars(self.tableau, real_dtype(dtype))
            if self._has_vectors:
                c = Tableau(*(x if x is None else along_first_axis(x, g) for x in c))
            c = _fold(c, nu is not None, real_dtype(dtype), self._never_zero)
            bind = self._bind_traced if is_traced(g) else partial
            self._bound[key] = bind(function, c, dtype)
        return self._bound[key]

    def _bind_traced(self, function: Any, c: "_Scalars", dtype: Any) -> Any:
        """`function` with its scalars, to be traced and lowered once for each shape.

        It is jitted, and traced scalars are its arguments: leaves of all groups use it.
        """
        scalars, treedef = jax.tree.flatten(c)
        arrays = [x for x in scalars if isinstance(x, jax.Array)]
        known = tuple(None if isinstance(x, jax.Array) else x for x in scalars)
        key = function, dtype, treedef, known
        if key not in self._jitted:

            def call(arrays: Any, *leaf: Any) -> Any:
                rest = iter(arrays)
                c = treedef.unflatten([next(rest) if x is None else x for x in known])
                return function(c, dtype, *leaf)

            self._jitted[key] = jax.jit(call)
        return partial(self._jitted[key], arrays)


def _update(
    c: "_Scalars", dtype: Any, g: jax.Array, mu: Any, nu: Any, nu_max: Any
) -> tuple[Any, Any, Any, Any]:
    x = g.astype(dtype)
    m: Any = None
    v: Any = None
    if mu is not None:
        old = mu.astype(x.dtype)
        m = _sum_of_products((c.a1, old), (c.c1, x))
        mu = m.astype(mu.dtype)
    if nu is not None:
        old = nu.astype(x.real.dtype)
        v = _sum_of_products((c.a2, old), (c.c2, _abs_squared(x)))
        nu = v.astype(nu.dtype)
    if nu_max is not None:
        old = _sum_of_products((c.r, nu_max.astype(x.real.dtype)))
        v = jnp.maximum(old, v)
        nu_max = v.astype(nu_max.dtype)
    return _direction(c, x, m, v).astype(g.dtype), mu, nu, nu_max


def _recompute_direction(
    c: "_Scalars", dtype: Any, g: jax.Array, mu: Any, nu: Any, nu_max: Any
) -> jax.Array:
    x, v = g.astype(dtype), nu if nu_max is None else nu_max
    return _direction(c, x, mu, v).astype(g.dtype)


class _Scalars(NamedTuple):
    """A tableau for the leaves of a dtype; scalars are multiplied with each other once.

    Those of `_FACTORS` are a Python number, or the pair of an array and whether it is
    never 0. A pair is never equal to 0, so `c.d != 0` asks for a known 0.
    """

    a1: Any
    c1: Any
    a2: Any
    c2: Any
    n0: Any
    n1: Any
    d: Any
    q: Any
    r: Any
    k: Any
    e: Any
    """Added to the root; None: no division."""
    size: Any
    """`s`, but NaN where a bound is NaN; used only with `lo` or `hi`."""
    lo: Any
    hi: Any


_FACTORS = ("a1", "c1", "a2", "c2", "n0", "n1", "d", "q", "r")


def _fold(c: Tableau, has_nu: bool, dtype: Any, never_zero: frozenset[str]) -> _Scalars:
    """The scalars, with those of the numerator multiplied."""
    bounded = c.lo is not None or c.hi is not None
    known_e = isinstance(c.e, int | float)
    divides = has_nu and not is_known(c.d, 0)
    e = _above_zero(c.e, dtype) if divides else None
    if divides:
        scale = 1 if bounded else c.s
    elif not known_e and not bounded:
        # It may be 0 at run time: divide by it, raised above 0, as with a root.
        scale, e = c.s, _above_zero(c.e, dtype)
    else:
        scale = c.s if known_e and c.e == 1 else c.s / c.e
        scale = jnp.clip(scale, c.lo, c.hi) if bounded else scale
    size = c.s
    for bound in (c.lo, c.hi):  # a NaN bound makes the update NaN
        if divides and isinstance(bound, jax.Array):
            size = jnp.where(jnp.isnan(bound), bound, size)
    # n0 and n1 become products with s, and are 0 where it is.
    if "s" not in never_zero and not _is_constant_factor(scale):
        never_zero = never_zero - {"n0", "n1"}
    c = c._replace(n0=_times(scale, c.n0), n1=_times(scale, c.n1))
    factors: dict[str, Any] = {}
    for name in _FACTORS:
        factor = getattr(c, name)
        is_number = isinstance(factor, int | float)
        factors[name] = factor if is_number else (factor, name in never_zero)
    lo, hi = (c.lo, c.hi) if bounded and divides else (None, None)
    return _Scalars(**factors, k=c.k, e=e, size=size, lo=lo, hi=hi)


def _is_constant_factor(x: Any) -> bool:
    return isinstance(x, int | float) and x != 0


def _direction(c: _Scalars, g: jax.Array, mu: Any, nu: Any) -> jax.Array:
    """The direction u of `Tableau`."""
    products = [(c.n0, g)] if mu is None else [(c.n0, g), (c.n1, mu)]
    numerator = _sum_of_products(*products)
    if c.e is None:
        return numerator
    denominator = c.e
    if c.d != 0:
        denominator = _sum_of_products((c.d, sqrt(_inside(c, mu, nu)))) + c.e
    if c.lo is None and c.hi is None:
        return numerator / denominator
    return _clipped(c.size / denominator, c.lo, c.hi) * numerator


def _clipped(x: jax.Array, low: Any, high: Any) -> jax.Array:
    """`jnp.clip` by comparisons: twice as fast on a CPU; a NaN in x stays NaN, too."""
    x = x if low is None else jnp.where(x < low, low, x)
    return x if high is None else jnp.where(x > high, high, x)


def _above_zero(e: Any, dtype: Any) -> Any:
    """The epsilon; for 0 the root of the least normal number, so that 0/0 is 0."""
    least = float(np.sqrt(jnp.finfo(dtype).tiny))
    return max(e, least) if isinstance(e, int | float) else jnp.maximum(e, least)


def _inside(c: _Scalars, mu: Any, nu: Any) -> jax.Array:
    """The radicand."""
    if mu is not None and c.q != 0:
        center = _sum_of_products((c.q, _abs_squared(mu)))
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


def _sum_of_products(*products: tuple[Any, jax.Array]) -> jax.Array:
    """The sum of factors times arrays, without terms known to be 0."""
    like, terms = products[0][1], []
    for factor, x in products:
        if not isinstance(factor, int | float):
            c, is_never_zero = factor
            # Without a selection XLA compiles the loops of Adam in 0.85 of the time.
            terms.append(c * x if is_never_zero else _zero_safe_product(c, x))
        elif factor != 0:
            terms.append(x if factor == 1 else factor * x)
    return functools.reduce(operator.add, terms) if terms else jnp.zeros_like(like)


@jax.custom_jvp
def _zero_safe_product(c: jax.Array, x: jax.Array) -> jax.Array:
    """The product, but 0 where c is 0: 0 * inf would be NaN, and stay in a buffer.

    One gradient of 1e20 is enough: its square is inf. The selection alone would also
    remove the slope in c at c = 0, hence the rule below.
    """
    product, is_zero = c * x, c == 0
    if is_zero.ndim:
        return jnp.where(is_zero, 0, product)
    # `jnp.where` would broadcast the scalar, one more operation to trace.
    return jax.lax.select_n(is_zero, product, jnp.zeros_like(product))


@_zero_safe_product.defjvp
def _zero_safe_product_jvp(primals, tangents):
    (c, x), (d_c, d_x) = primals, tangents
    slope = _zero_safe_product(c, d_x) + d_c * x
    return _zero_safe_product(c, x), slope


def _abs_squared(x: jax.Array) -> jax.Array:
    """|x|^2, real."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return jnp.square(x.real) + jnp.square(x.imag)
    return jnp.square(x)
