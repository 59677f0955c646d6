"""The scalars of one update, in which the classical optimizers differ.

A Runge-Kutta code has one stepping routine and describes a method by its Butcher
tableau. Here `leaf_update` has one update, and a `Tableau` describes an optimizer.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from optax_extras._numerics import float_dtype


class Tableau(NamedTuple):
    r"""The scalars of one update.

    The params move by minus the learning rate times the direction :math:`u`:

    .. math::
        m' &= a_1 m + c_1 g, \qquad v' = a_2 v + c_2 |g|^2 \\
        u &= \mathrm{clip}\Big(\frac{s}{d \sqrt{v' - q |m'|^2 + k} + e},
            lo, hi\Big) (n_0 g + n_1 m')

    Here :math:`g` is the gradient. :math:`m` and :math:`v` are the buffers `mu` and
    `nu`, zero before the first update. The other letters are the fields. A bound that
    is None does not clip.

    In a rule with the buffer `nu_max`, the running maximum :math:`\hat v' = \max(r
    \hat v, v')` replaces :math:`v'` in the root; an `r` of 0 resets it. The
    difference in the root is clipped below at 0. `e` beside a root is raised a little
    above 0, so that 0/0 is 0.

    A coefficient of 0 removes its term, even if the other factor is inf or NaN. If it
    is a Python or NumPy number, the compiled program does not contain the term at all,
    nor a multiplication by 1. The value of a `jax.Array` is not read while tracing, so
    the program contains its term.
    """

    a1: Any = 0
    """The factor of the old `mu`."""
    c1: Any = 0
    """The factor of the gradient in the new `mu`."""
    a2: Any = 0
    """The factor of the old `nu`."""
    c2: Any = 0
    """The factor of the squared gradient in the new `nu`."""
    n0: Any = 0
    """The factor of the gradient in the direction."""
    n1: Any = 0
    """The factor of the new `mu` in the direction."""
    s: Any = 1
    """The numerator of the step size."""
    d: Any = 0
    """The factor of the root in the denominator of the step size; 0: no root."""
    e: Any = 1
    """Added to the root in the denominator: the epsilon. Without a root it must not be
    0."""
    q: Any = 0
    """The factor of the squared `mu`, subtracted inside the root (centered RMSProp)."""
    k: Any = 0
    """Added inside the root."""
    lo: Any = None
    """The lower bound of the step size; None: none."""
    hi: Any = None
    """The upper bound of the step size; None: none."""
    r: Any = 1
    """The factor of the old `nu_max`; 0 resets it."""


# For a tableau without a bound that another one has.
_UNBOUNDED = {"lo": -math.inf, "hi": math.inf}


def select(which: Any, tableaus: Sequence[Tableau]) -> Tableau:
    """The tableau at an index that may be traced; True means the second.

    A constant that is the same in all tableaus stays a constant. A bound that only some
    tableaus have is infinite in the others.
    """
    dtype, by_bool = float_dtype(), jnp.result_type(which) == np.bool_
    selected = {}
    for name, *column in zip(Tableau._fields, *tableaus, strict=True):
        if name in _UNBOUNDED:
            column = _bounded(column, _UNBOUNDED[name])
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


def _bounded(bounds: Sequence[Any], infinity: float) -> Sequence[Any]:
    some = [x for x in bounds if x is not None]
    return [infinity if x is None else x for x in bounds] if some else bounds


def _is_same_constant(column: Sequence[Any]) -> bool:
    first = column[0]
    for x in column if first is not None else ():
        if not isinstance(x, int | float | np.generic) or x != first:
            return False
    return True


def varying_scalars(tableaus: Sequence[Tableau]) -> list[str]:
    """The fields that differ between tableaus and are a constant 0 or 1 in none."""
    return [
        name
        for name, column in zip(
            Tableau._fields, zip(*tableaus, strict=True), strict=True
        )
        if None not in column
        and not _is_same_constant(column)
        and not any(is_known(x, 0) or is_known(x, 1) for x in column)
    ]


def is_known(coefficient: Any, value: int) -> bool:
    """Whether the coefficient is known, while tracing, to be `value`."""
    is_constant = isinstance(coefficient, int | float | np.generic)
    return is_constant and bool(coefficient == value)
