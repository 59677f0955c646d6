"""Optax's states: what their buffers hold, and which assumptions that takes."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import optax

# `adam_nu` is a second moment, or a maximum if it is that of `optax.adamax`.
BUFFERS: dict[type, dict[str, str]] = {
    optax.ScaleByAdamState: {"mu": "mu", "nu": "adam_nu"},
    optax.ScaleByAmsgradState: {
        "mu": "mu",
        "nu": "nu",
        "nu_max": "corrected_nu_max",
    },
    optax.TraceState: {"trace": "mu"},
    optax.ScaleByRmsState: {"nu": "nu"},
    optax.ScaleByRStdDevState: {"mu": "mu", "nu": "nu"},
    optax.ScaleByRssState: {"sum_of_squares": "sum_of_squares"},
    optax.ScaleByLionState: {"mu": "mu"},
    optax.ScaleByAdaDeltaState: {"e_g": "nu", "e_x": "delta"},
    optax.ScaleByRpropState: {
        "step_sizes": "step_sizes",
        "prev_updates": "previous_step",
    },
}
INJECTED = (optax.InjectHyperparamsState, optax.InjectStatefulHyperparamsState)
COUNTED = (optax.ScaleByScheduleState, *INJECTED)
# Their rule is another one than that of the same name here.
OTHER_RULES = {
    optax.ScaleByRpropState: (
        "step_sizes",
        "optax.rprop takes each step one update late; the last one is lost",
    ),
}
_MEAN_SQUARES = (optax.ScaleByRmsState, optax.ScaleByRStdDevState)


@functools.cache
def corrected_buffers() -> dict[type, dict[str, str]]:
    """Those of states whose types have no public name: they are asked for by `init`."""
    rms = optax.scale_by_rms(bias_correction=True).init(())
    centered = optax.scale_by_stddev(bias_correction=True).init(())
    return {type(rms): {"nu": "nu"}, type(centered): {"mu": "mu", "nu": "nu"}}


class Velocities:
    """Which momentum of a chain is behind the learning rate, as in `optax.rmsprop`.

    Optax's constant learning rates have an `EmptyState` without numbers.
    """

    def __init__(self) -> None:
        self._before: dict[str, list[Any]] = {}

    def are_steps(self, place: str, state: Any) -> tuple[bool, str]:
        """Whether a momentum adds up steps, and what that assumes.

        To be called with all states of a chain, in order.
        """
        chain = self._before.setdefault(place.rpartition("[")[0], [])
        *_, last, previous = [None, None, *chain]
        chain.append(state)
        if not isinstance(state, optax.TraceState):
            return False, ""
        if isinstance(previous, optax.ScaleByScheduleState):
            return True, ""
        if isinstance(previous, optax.EmptyState) and _is_mean_square(last):
            note = "taken to contain the learning rate, as in `optax.rmsprop`"
            return True, note
        return False, ""


def _is_mean_square(state: Any) -> bool:
    return isinstance(state, (*_MEAN_SQUARES, *corrected_buffers()))


def injected_rates(
    states: list[Any], paths: list[str], paths_inside: Any
) -> dict[str, float]:
    """The constant learning rates of `optax.inject_hyperparams`, by path."""
    rates: dict[str, float] = {}
    found = [x for x in states if isinstance(x, INJECTED)]
    for state in found:
        scheduled = getattr(state, "hyperparams_states", {})
        rate = state.hyperparams.get("learning_rate")
        if rate is None or "learning_rate" in scheduled:
            continue
        inside = paths if len(found) == 1 else paths_inside(state)
        rates |= dict.fromkeys(inside, float(np.asarray(rate)))
    return rates


def is_idle(state: Any) -> bool:
    """Whether nothing is lost with the state of a wrapper."""
    counters = {optax.MultiStepsState: "mini_step"}
    counters |= {optax.ApplyIfFiniteState: "notfinite_count"}
    counter = counters.get(type(state))
    return counter is not None and int(getattr(state, counter)) == 0


def unread(state: Any, is_read: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """The states with numbers of their own that `is_read` does not know."""
    if isinstance(state, INJECTED):  # the states of its schedules are counts
        yield from unread(state.inner_state, is_read, f"{place}.inner_state")
        return

    def is_below(x: Any) -> bool:
        return x is not state and _is_state(x)

    below = jax.tree_util.tree_leaves_with_path(state, is_leaf=is_below)
    has_numbers = any(not _is_state(x) for _, x in below)
    if _is_state(state) and has_numbers and not is_read(state):
        yield place, state
        if not any(is_read(x) for _, x in below):
            return
    for path, x in below:
        if _is_state(x):
            yield from unread(x, is_read, place + jax.tree_util.keystr(path))


def _is_state(x: Any) -> bool:
    return isinstance(x, tuple) and hasattr(x, "_fields")
