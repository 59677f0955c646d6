"""Power averages taken out of a state, to decide on a decay after the run."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_extras._checks import checked
from optax_extras._errors import refusal, refuse
from optax_extras._numerics import as_float, upcast_half
from optax_extras._types import Params, State
from optax_extras.averages._in_state import averaged_states

_WEIGHTS = "weights"


class Snapshot(NamedTuple):
    """The power averages of a run at one of its updates, made by :func:`snapshot`."""

    count: jax.Array
    """Shape (), int32: the number of updates that were averaged."""
    averages: dict[str, Any]
    """By name, like the params: the averages in float32 at least."""
    gammas: dict[str, jax.Array]
    """By name, shape (): the exponents of the power averages; inf for the weights."""


@checked
def snapshot(state: State, params: Params = None) -> Snapshot:
    """Takes the power averages out of a state, to be saved during a run.

    Take one at equal distances, 20 to 40 in a run, of two power averages that
    :func:`optax_extras.with_average` keeps side by side. :func:`averaged` is for
    evaluation instead: it reads any average, one at a time, in the params' dtypes.

    Args:
      state: The state of an optimizer, or a tree that contains one. All of its averages
        must be power averages.
      params: If given, the weights of this update are in the snapshot, too, by the name
        ``"weights"``. They are the limit of power averages as gamma goes to infinity.

    Returns:
      A `Snapshot`. It shares no arrays with the state, which may be donated.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_extras as oxe
      >>> half = oxe.averages.Average(lambda t: 1 / t, gamma=0.0)
      >>> tx = oxe.with_average(optax.sgd(1.0), {"mean": half})
      >>> params = jnp.zeros(())
      >>> state = tx.init(params)
      >>> for _ in range(3):
      ...     updates, state = tx.update(-jnp.ones(()), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> taken = oxe.averages.snapshot(state, params)
      >>> {name: float(x) for name, x in taken.averages.items()}
      {'mean': 2.0, 'weights': 3.0}
    """
    found = averaged_states(state)
    if len(found) != 1:
        must = "hold the state of one `with_average`"
        places = ", ".join(path or "itself" for path, _ in found) or "none"
        raise refusal(ValueError, "state", must, places, "")
    ((_, node),) = found
    for name in node.averages:
        if name not in node.gammas:
            hint = "Average it by `oxe.averages.power`, or by a `with_average` apart."
            refuse("state", "hold power averages only", name, hint)
    averages, gammas = dict(node.averages), dict(node.gammas)
    if params is not None:
        if _WEIGHTS in averages:
            refuse("state", f"hold no average of the name {_WEIGHTS!r}", _WEIGHTS)
        averages[_WEIGHTS], gammas[_WEIGHTS] = params, as_float(math.inf)
    return jax.tree.map(jnp.array, Snapshot(node.count, _float32(averages), gammas))


def _float32(tree: Any) -> Any:
    return jax.tree.map(upcast_half, tree)
