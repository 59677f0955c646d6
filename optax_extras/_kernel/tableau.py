"""The scalars of one update: what tells one classical optimizer from another.

As a Runge-Kutta code keeps one stepping routine and describes a method by its Butcher
tableau, `leaf_update` keeps one update and a `Tableau` describes an optimizer.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from optax_extras._errors import refuse
from optax_extras._numerics import float_dtype


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


_OPEN = {"lo": -math.inf, "hi": math.inf}  # a bound where only others have one


def select(which: Any, tableaus: Sequence[Tableau]) -> Tableau:
    """The tableau at an index that may be traced; a true bool means the second.

    A constant that is the same in all stays one. A bound that only some have is
    infinite in the others.
    """
    dtype, by_bool = float_dtype(), jnp.result_type(which) == np.bool_
    selected = {}
    for name, *column in zip(Tableau._fields, *tableaus, strict=True):
        if name in _OPEN:
            column = _bounded(column, _OPEN[name])
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


def is_known(coefficient: Any, value: int) -> bool:
    """Whether the coefficient is known, while tracing, to be 0 or 1."""
    is_constant = isinstance(coefficient, int | float | np.generic)
    return is_constant and bool(coefficient == value)
