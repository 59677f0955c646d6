"""The elementwise update that the classical optimizers share, for one leaf.

As a Runge-Kutta code keeps one stepping routine and describes a method by its Butcher
tableau, this file keeps one update and describes an optimizer by a `Tableau`.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._errors import refuse
from optax_extras._numerics import compute_dtype, float_dtype, real_dtype, sqrt


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
    """How much of the old `mu` stays."""
    c1: Any = 0
    """The gradient's weight in the new `mu`."""
    a2: Any = 0
    """How much of the old `nu` stays."""
    c2: Any = 0
    """The squared gradient's weight in the new `nu`."""
    n0: Any = 0
    """The gradient's weight in the direction."""
    n1: Any = 0
    """The new `mu`'s weight in the direction."""
    s: Any = 1
    """The numerator of the step size."""
    d: Any = 0
    """The root's weight in the denominator of the step size; 0: no root is taken."""
    e: Any = 1
    """What is added to the root in the denominator: the epsilon."""
    q: Any = 0
    """How much of the squared `mu` is subtracted inside the root (centred RMSProp)."""
    k: Any = 0
    """What is added inside the root."""
    lo: Any = None
    """The lower bound of the step size; None: none."""
    hi: Any = None
    """The upper bound of the step size; None: none."""
    r: Any = 1
    """How much of the old `nu_max` stays; 0 forgets it."""


def select(which: Any, tableaus: Sequence[Tableau]) -> Tableau:
    """The tableau at an index that may be traced; a true bool means the second.

    A constant that is the same in all stays one. A bound that only some have is
    infinite in the others.
    """
    for name, infinity in (("lo", -math.inf), ("hi", math.inf)):
        if any(getattr(x, name) is not None for x in tableaus):
            tableaus = [
                x if getattr(x, name) is not None else x._replace(**{name: infinity})
                for x in tableaus
            ]
    dtype, by_bool = float_dtype(), jnp.result_type(which) == np.bool_
    selected = {}
    for name, *column in zip(Tableau._fields, *tableaus, strict=True):
        if _is_same_constant(column):
            selected[name] = column[0]
        elif by_bool:
            first, second = column
            first, second = jnp.asarray(first, dtype), jnp.asarray(second, dtype)
            selected[name] = jnp.where(which, second, first)
        else:
            scalars = [jnp.asarray(x, dtype).reshape(()) for x in column]
            selected[name] = jnp.stack(scalars)[which]
    return Tableau(**selected)


def _is_same_constant(column: Sequence[Any]) -> bool:
    first = column[0]
    if first is None:
        return True
    for x in column:
        if not isinstance(x, int | float | np.generic) or x != first:
            return False
    return True


# What a coefficient other than 0 needs.
_NEEDS = {"mu": ("a1", "c1", "n1", "q"), "nu": ("a2", "c2", "d")}


def check_buffers(buffers: Any, tableaus: list[Tableau]) -> None:
    """Refuses a coefficient of a buffer that the rule did not ask for."""
    for buffer in _NEEDS.keys() - buffers:
        for tableau in tableaus:
            for name in _NEEDS[buffer]:
                if not is_known(getattr(tableau, name), 0):
                    must = f"hold {buffer!r} where `{name}` is not 0"
                    refuse("rule.buffers", must, set(buffers))


class Mover:
    """The update of leaves by one tableau, whose scalars are cast once for a dtype."""

    def __init__(self, tableau: Tableau):
        """For all leaves of one update."""
        self._tableau, self._cast = tableau, {}

    def move(self, g: Any, mu: Any, nu: Any, nu_max: Any) -> tuple[Any, Any, Any, Any]:
        """The direction u of a leaf, and its buffers, each in the dtype that it had."""
        if g is None:
            return None, mu, nu, nu_max
        g = jnp.asarray(g)
        x, c = self._prepared(g, mu, nu)
        m: Any = None
        v: Any = None
        top: Any = None
        if mu is not None:
            old = mu.astype(x.dtype)
            m = _sum(old, _term(c.a1, old), _term(c.c1, x))
            mu = m.astype(mu.dtype)
        if nu is not None:
            old = nu.astype(x.real.dtype)
            top = v = _sum(old, _term(c.a2, old), _term(c.c2, _abs_squared(x)))
            nu = v.astype(nu.dtype)
        if nu_max is not None:
            old = _term(c.r, nu_max.astype(x.real.dtype))
            top = v if old is None else jnp.maximum(old, v)
            nu_max = top.astype(nu_max.dtype)
        return _direction(c, x, m, top).astype(g.dtype), mu, nu, nu_max

    def direction(self, g: Any, mu: Any, nu: Any, nu_max: Any) -> Any:
        """The u of `move` again, from the new buffers, which must not be rounded."""
        if g is None:
            return None
        g = jnp.asarray(g)
        x, c = self._prepared(g, mu, nu)
        return _direction(c, x, mu, nu if nu_max is None else nu_max).astype(g.dtype)

    def _prepared(self, g: jax.Array, mu: Any, nu: Any) -> tuple[jax.Array, Tableau]:
        """The gradient in the dtype to compute in, and the scalars that go with it."""
        dtypes = [x.dtype for x in (g, mu, nu) if x is not None]
        dtype = compute_dtype(*dtypes)
        if dtype not in self._cast:
            self._cast[dtype] = _cast_scalars(self._tableau, real_dtype(dtype))
        return g.astype(dtype), self._cast[dtype]


def _direction(c: Tableau, g: jax.Array, mu: Any, nu: Any) -> jax.Array:
    """The direction u of `Tableau`, its scalars multiplied before any leaf."""
    root = None if nu is None else _term(c.d, sqrt(_inside(c, mu, nu)))
    bounded = c.lo is not None or c.hi is not None
    unknown = not isinstance(c.e, int | float)  # a division then, as with a root
    if root is None and unknown and not bounded:
        root = jnp.zeros((), g.real.dtype)
    if root is None:
        scale = c.s if isinstance(c.e, int | float) and c.e == 1 else c.s / c.e
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
    for bound in (c.lo, c.hi):  # one that is NaN makes the update NaN
        if isinstance(bound, jax.Array):
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
    return nu if isinstance(c.k, int | float) and c.k == 0 else nu + c.k


def _cast_scalars(tableau: Tableau, dtype: Any) -> Tableau:
    """The coefficients as Python numbers where they are known, else in `dtype`."""
    scalars = [
        c
        if c is None or isinstance(c, int | float)
        else c.item()
        if isinstance(c, np.generic)
        else jnp.asarray(c, dtype)
        for c in tableau
    ]
    return Tableau(*scalars)


def is_known(coefficient: Any, value: int) -> bool:
    """Whether the coefficient is known, while tracing, to be 0 or 1."""
    is_constant = isinstance(coefficient, int | float | np.generic)
    return is_constant and bool(coefficient == value)


def _times(a: Any, b: Any) -> Any:
    """The product of two coefficients; known zeros and ones leave no trace."""
    for x, other in ((a, b), (b, a)):
        if isinstance(x, int | float) and x in (0, 1):
            return 0 if x == 0 else other
    return a * b


def _term(c: Any, x: jax.Array) -> Any:
    """The product, None where the coefficient is known to be 0."""
    if isinstance(c, int | float):
        return None if c == 0 else x if c == 1 else c * x
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


def _sum(like: jax.Array, a: Any, b: Any) -> Any:
    """The sum of the terms that are present."""
    if a is None and b is None:
        return jnp.zeros_like(like)
    return b if a is None else a if b is None else a + b


def _abs_squared(x: jax.Array) -> jax.Array:
    """|x|^2, real."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return jnp.square(x.real) + jnp.square(x.imag)
    return jnp.square(x)
