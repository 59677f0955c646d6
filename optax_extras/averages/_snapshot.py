"""Power averages taken out of a state, to decide on a decay after the run."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_extras._boxes import without_boxes
from optax_extras._checks import checked
from optax_extras._errors import refusal, refuse
from optax_extras._leaves import upcast_half
from optax_extras._numerics import as_float
from optax_extras._types import Params, State
from optax_extras.averages._in_state import averaged_states, hint_if_lost
from optax_extras.averages._trees import refuse_other_leaves, shapes_of

_WEIGHTS = "weights"


class Snapshot(NamedTuple):
    """The power averages of a run after one update: :func:`snapshot` makes it."""

    count: Any
    """Shape (), int32: the number of updates that the averages have seen."""
    averages: dict[str, Any]
    """By name: a tree like the params, float32 at least."""
    gammas: dict[str, Any]
    """By the same names: the exponent of the power average; infinity for the weights
    themselves."""


@checked
def snapshot(state: State, params: Params = None) -> Snapshot:
    """Takes the power averages out of a state, for :func:`rebuild` after the run.

    Take 20 to 40 of them in a run, at equal distances, of two :func:`power` averages
    that :func:`optax_extras.with_average` keeps side by side, and save them.
    :func:`optax_extras.averaged` is for evaluation instead: it reads one average, of
    any kind, in the params' dtypes.

    Args:
      state: The state of an optimizer, or a tree that contains one. Averages that are
        not power averages need another :func:`optax_extras.with_average` around.
        Do not store them in bfloat16: :func:`rebuild` would enlarge the roundings.
      params: If given, the weights of this update are in the snapshot, too, by the name
        ``"weights"``. They are the limit of power averages as gamma goes to infinity.
        In Flax NNX, ``nnx.state(model, nnx.Param)``.

    Returns:
      A `Snapshot`. It shares no arrays with the state, which may be donated.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_extras as oxe
      >>> tx = oxe.with_average(optax.sgd(1.0), {"mean": oxe.averages.power(0.0)})
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
    found = [(path, x) for path, x in found if x.gammas] or found
    if len(found) != 1:
        must = "hold the state of one `with_average` of power averages"
        places = ", ".join(path or "itself" for path, _ in found) or "none"
        hint = "" if found else hint_if_lost(state)
        raise refusal(ValueError, "state", must, places, hint)
    ((_, node),) = found
    for name in node.averages:
        if name not in node.gammas:
            hint = "Average it in another `with_average` around this one."
            refuse("state", "hold power averages only", name, hint)
    averages, gammas = dict(node.averages), dict(node.gammas)
    if params is not None:
        if _WEIGHTS in averages:
            refuse("state", f"hold no average of the name {_WEIGHTS!r}", _WEIGHTS)
        averages[_WEIGHTS] = _like(next(iter(averages.values())), params)
        gammas[_WEIGHTS] = as_float(math.inf)
    averages = jax.tree.map(upcast_half, averages)
    return jax.tree.map(jnp.array, Snapshot(node.count, averages, gammas))


def _like(average: Any, params: Params) -> Any:
    """The params in the containers of the averages, which Flax NNX replaces."""
    unboxed, like = map(without_boxes, (params, average))
    refuse_other_leaves("params", unboxed, like, "averages")
    leaves = dict(zip(shapes_of(unboxed), jax.tree.leaves(unboxed), strict=True))
    in_order = [leaves[path] for path in shapes_of(like)]
    return jax.tree.structure(average).unflatten(in_order)
