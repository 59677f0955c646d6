"""An average of the weights, as a value."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from optax_extras._errors import named


class Average(NamedTuple):
    r"""Which weights an average takes, for :func:`optax_extras.with_average`.

    With the weights :math:`w_t` after update :math:`t = 1, 2, ...`:

    .. math::
        a_0 = w_0, \qquad a_t = a_{t-1} + c_t\, (w_t - a_{t-1})
    """

    weight: Callable[[jax.Array], Any]
    """t -> :math:`c_t` in [0, 1]: t of shape (), int32, at least 1. 1 makes the average
    a copy of the weights, 0 leaves it as it is."""
    gamma: Any = None
    """The exponent of a power average, which snapshots need; None for all others."""

    def renamed(self, name: str) -> "Average":
        """The average whose later errors begin with `name`."""
        return self._replace(weight=named(name, self.weight))
