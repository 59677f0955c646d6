"""A trial step: the translated optimizer beside what its source would do."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_extras._errors import refuse
from optax_extras._translation.report_types import NOT_COMPARED, TranslationRow
from optax_extras._types import Params, State, Updates
from optax_extras.averages._in_state import averaged_states


def with_trial(
    rows: list[TranslationRow],
    source: tuple[Any, State],
    target: tuple[Any, State],
    params: Params,
    gradients: Updates,
) -> list[TranslationRow]:
    """The rows, and one for the largest difference of the next two updates.

    `source` and `target` are optimizers with their states. If they agree, the options
    that could not be compared are the same.
    """
    kinds = [jax.tree.structure(x) for x in (gradients, params)]
    if kinds[0] != kinds[1]:
        refuse("gradients", "have the params' tree structure", kinds[0])
    for x, y in zip(*map(jax.tree.leaves, (gradients, params)), strict=True):
        if jnp.shape(x) != jnp.shape(y):
            must = f"have the params' shapes: {jnp.shape(y)}"
            refuse("gradients", must, jnp.shape(x))
    try:
        predicted, predicted_averages = _two_steps(*source, params, gradients)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        hint = f"Its `update` says: {error}"
        refuse("source", "be the optimizer whose state it is", source[0], hint)
    updates, averages = _two_steps(*target, params, gradients)
    steps = _difference(predicted, updates)
    pair = predicted_averages, averages
    if jax.tree.structure(pair[0]) != jax.tree.structure(pair[1]):
        pair = (), ()  # one of the two keeps no such average
    of_averages = _difference(*pair)
    fraction = steps.largest / steps.longest if steps.longest else 0.0
    note = f"the largest difference is {fraction:.1e} of the longest step"
    if not steps.longest:
        note = "no update was made"
    if not of_averages.is_rounding:
        note += "; the averages differ"
    is_exact = steps.is_rounding and of_averages.is_rounding
    ulps = max(steps.ulps, of_averages.ulps)
    if is_exact and steps.longest:
        agreed = {"exact": True, "note": "the trial step agrees"}
        rows = [x._replace(**agreed) if x.how == NOT_COMPARED else x for x in rows]
    place, name = "trial step", "its next step"
    return [*rows, TranslationRow(place, name, "compared", is_exact, ulps, note)]


def _two_steps(
    tx: Any, state: State, params: Params, gradients: Updates
) -> tuple[Any, Any]:
    """The next two updates, and the averages after them."""
    every = []
    for _ in range(2):
        updates, state = tx.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        every.append(updates)
    found = [x for _, x in averaged_states(state)]
    return every, [x.averages for x in found]


class _Difference(NamedTuple):
    longest: float
    largest: float
    ulps: float
    is_rounding: bool


def _difference(expected: Any, found: Any) -> _Difference:
    """The largest difference of two trees, also in ulps of the longest number."""
    longest, largest, epsilon = 0.0, 0.0, 0.0
    for u, v in zip(*map(jax.tree.leaves, (expected, found)), strict=True):
        if u.size and jnp.issubdtype(u.dtype, jnp.inexact):
            lengths = (float(jnp.max(jnp.abs(x))) for x in (u, v))
            longest = max(longest, *lengths)
            largest = max(largest, float(jnp.max(jnp.abs(u - v))))
            epsilon = max(epsilon, float(jnp.finfo(u.dtype).eps))
    ulps = largest / (longest * epsilon) if longest else 0.0
    # Half-precision updates are rounded once, from formulas in float32.
    limit = min(_ROUNDING, max(4, 1e-4 / epsilon)) if epsilon else 0.0
    return _Difference(longest, largest, ulps, ulps <= limit)


# Ulps of the longest step by which two formulas for the same rule differ: at the first
# counts the bias correction 1 - b2^t of 0.999 loses so many digits.
_ROUNDING = 256.0
