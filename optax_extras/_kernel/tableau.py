"""The elementwise update that the classical optimizers share, for one leaf.

As a Runge-Kutta code keeps one stepping routine and describes a method by its Butcher
tableau, this file keeps one update and describes an optimizer by a `Tableau`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._checks import refuse
from optax_extras._numerics import compute_dtype, real_dtype, sqrt


class Tableau(NamedTuple):
    r"""The scalars of one update.

    The weights move by minus the rate times the direction :math:`u`.

    .. math::
        \mu' &= a_1 \mu + c_1 g, \qquad \nu' = a_2 \nu + c_2 |g|^2 \\
        u &= \mathrm{clip}\Big(\frac{s}{d \sqrt{\nu' - q |\mu'|^2 + k} + e},
            lo, hi\Big) (n_0 g + n_1 \mu')

    Here :math:`g` is the gradient, :math:`\mu` and :math:`\nu` are the buffers `mu` and
    `nu`, zero before the first update, and the other letters the fields; a bound that
    is None does not clip.

    In a rule with the buffer `nu_max`, the root is taken of the running maximum
    :math:`\hat\nu' = \max(r \hat\nu, \nu')` in the place of :math:`\nu'`; an `r` of 0
    forgets it. The difference inside the root is kept from falling below 0, and the `e`
    beside the root a little above 0, so that 0/0 is 0.

    A coefficient of 0 means that its term is absent, even where the other factor is
    inf or NaN. A Python or NumPy 0 or 1 is known while tracing: the term, or the
    multiplication, is not in the program at all. A `jax.Array` never counts as known.
    """

    a1: Any = 0
    c1: Any = 0
    a2: Any = 0
    c2: Any = 0
    n0: Any = 0
    n1: Any = 0
    s: Any = 1
    d: Any = 0
    e: Any = 1
    q: Any = 0
    k: Any = 0
    lo: Any = None
    hi: Any = None
    r: Any = 1


# What a coefficient other than 0 needs.
_NEEDS = {"mu": ("a1", "c1", "n1", "q"), "nu": ("a2", "c2", "d")}


def check_buffers(buffers: Any, tableaus: list[Tableau]) -> None:
    """Refuses a coefficient of a buffer that the rule did not ask for."""
    for buffer in _NEEDS.keys() - buffers:
        for tableau in tableaus:
            for name in _NEEDS[buffer]:
                if not is_known(getattr(tableau, name), 0):
                    must = f"hold {buffer!r} where `{name}` is not 0"
                    refuse("scale_by_moments", "rule.buffers", must, set(buffers))


def move(
    tableau: Tableau, g: Any, mu: Any, nu: Any, nu_max: Any
) -> tuple[Any, Any, Any, Any]:
    """The update of one leaf, u, and its buffers, each in the dtype that it had."""
    if g is None:
        return None, mu, nu, nu_max
    g = jnp.asarray(g)
    dtype = compute_dtype(*(x.dtype for x in (g, mu, nu) if x is not None))
    real = real_dtype(dtype)
    x, c = g.astype(dtype), _scalars(tableau, real)
    m: Any = None
    v: Any = None
    top: Any = None
    if mu is not None:
        old = mu.astype(dtype)
        m = _sum(old, _term(c.a1, old), _term(c.c1, x))
    if nu is not None:
        old = nu.astype(real)
        v = _sum(old, _term(c.a2, old), _term(c.c2, _abs_squared(x)))
    if nu_max is not None:
        old = _term(c.r, nu_max.astype(real))
        top = v if old is None else jnp.maximum(old, v)
    u = _direction(c, x, m, v if top is None else top)
    new = (m, mu), (v, nu), (top, nu_max)
    return u.astype(g.dtype), *(_cast_like(*pair) for pair in new)


def direct(tableau: Tableau, g: Any, mu: Any, nu: Any, nu_max: Any) -> Any:
    """The u of `move` once more, from the new buffers; they must not be rounded."""
    if g is None:
        return None
    g = jnp.asarray(g)
    dtype = compute_dtype(*(x.dtype for x in (g, mu, nu) if x is not None))
    c = _scalars(tableau, real_dtype(dtype))
    u = _direction(c, g.astype(dtype), mu, nu if nu_max is None else nu_max)
    return u.astype(g.dtype)


def _direction(c: Tableau, g: jax.Array, mu: Any, nu: Any) -> jax.Array:
    """The direction u of `Tableau`, its scalars multiplied before any leaf."""
    root = None if nu is None else _term(c.d, sqrt(_inside(c, mu, nu)))
    bounded = c.lo is not None or c.hi is not None
    unknown = not isinstance(c.e, int | float)  # a division then, as with a root
    if root is None and unknown and not bounded:
        root = jnp.zeros((), g.real.dtype)
    if root is None:
        scale = c.s if is_known(c.e, 1) else c.s / c.e
        scale = jnp.clip(scale, c.lo, c.hi) if bounded else scale
    else:
        scale = 1 if bounded else c.s
    n0, n1 = _times(scale, c.n0), _times(scale, c.n1)
    top = _sum(g, _term(n0, g), None if mu is None else _term(n1, mu))
    if root is None:
        return top
    bottom = root + _above_zero(c.e, root.dtype)
    if not bounded:
        return top / bottom
    size = c.s
    for bound in (c.lo, c.hi):  # one that is NaN stays to be seen
        if bound is not None and not is_constant(bound):
            size = jnp.where(jnp.isnan(bound), bound, size)
    return _within(size / bottom, c.lo, c.hi) * top


def _within(x: jax.Array, low: Any, high: Any) -> jax.Array:
    """`jnp.clip`, by comparisons: twice as fast on a CPU, and a NaN in x stays too."""
    x = x if low is None else jnp.where(x < low, low, x)
    return x if high is None else jnp.where(x > high, high, x)


def _above_zero(e: Any, dtype: Any) -> Any:
    """The epsilon; for one of 0 the smallest root there is, so that 0 / 0 is 0."""
    least = float(np.sqrt(jnp.finfo(dtype).tiny))
    return max(e, least) if isinstance(e, int | float) else jnp.maximum(e, least)


def _inside(c: Tableau, mu: Any, nu: Any) -> jax.Array:
    """What the root is taken of."""
    if mu is not None and not is_known(c.q, 0):
        centre = _term(c.q, _abs_squared(mu))
        # A difference of averages, which rounding can make negative.
        finite = jnp.minimum(centre, jnp.finfo(nu.dtype).max)  # inf - inf is NaN
        nu = jnp.maximum(nu - finite, 0)
    return nu if is_known(c.k, 0) else nu + c.k


def _scalars(tableau: Tableau, dtype: Any) -> Tableau:
    """The coefficients as Python numbers where they are known, else in `dtype`."""

    def scalar(c):
        if c is None or isinstance(c, int | float):
            return c
        return c.item() if isinstance(c, np.generic) else jnp.asarray(c, dtype)

    return Tableau(*map(scalar, tableau))


def is_constant(coefficient: Any) -> bool:
    """Whether the coefficient is a number that is known while tracing."""
    return isinstance(coefficient, int | float | np.generic)


def is_known(coefficient: Any, value: int) -> bool:
    """Whether the coefficient is known, while tracing, to be 0 or 1."""
    return is_constant(coefficient) and bool(coefficient == value)


def _times(a: Any, b: Any) -> Any:
    """The product of two coefficients; known zeros and ones leave no trace."""
    if is_known(a, 0) or is_known(b, 0):
        return 0
    return b if is_known(a, 1) else a if is_known(b, 1) else a * b


def _term(c: Any, x: jax.Array) -> Any:
    """The product, None where the coefficient is known to be 0."""
    if is_known(c, 0):
        return None
    if isinstance(c, int | float):
        return x if c == 1 else c * x
    return _scaled(c, x)


@jax.custom_jvp
def _present(c: jax.Array, x: jax.Array) -> jax.Array:
    """The product, but 0 where c is 0 and x is inf: 0 * inf would be NaN for ever.

    One gradient of 1e20 is enough, its square is inf. The selection alone would also
    remove the slope in c at c = 0, hence the rule below.
    """
    return jnp.where(c == 0, 0, c * x)


@_present.defjvp
def _present_jvp(primals, tangents):
    (c, x), (d_c, d_x) = primals, tangents
    return _present(c, x), _present(c, d_x) + d_c * x


_scaled = jax.jit(_present, inline=True)  # traced once for all leaves of a shape


def _sum(like: jax.Array, *terms: Any) -> Any:
    """The sum of the terms that are there."""
    there = [term for term in terms if term is not None]
    return sum(there[1:], start=there[0]) if there else jnp.zeros_like(like)


def _abs_squared(x: jax.Array) -> jax.Array:
    """|x|^2, real."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return jnp.square(x.real) + jnp.square(x.imag)
    return jnp.square(x)


def _cast_like(new: Any, old: Any) -> Any:
    return None if old is None else new.astype(old.dtype)
