"""Optax's states: what their buffers hold, and which assumptions that takes."""

import functools
import re
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
import optax

from optax_extras._state.half_precision import CompensationState, MasterCopyState

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
# Their updates depend on the count, and all params have the same.
BY_COUNT = (optax.ScaleByAdamState, optax.ScaleByAmsgradState)
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


def velocities(places: Iterable[tuple[str, Any]]) -> dict[str, str]:
    """Which momenta are behind the learning rate, and what that assumes, by place.

    Such a velocity adds up steps, as in `optax.rmsprop`. A constant learning rate of
    Optax has a state without numbers, which is not among the places.
    """
    states, found = dict(places), {}
    for place, state in states.items():
        match = re.search(r"\[(\d+)\]$", place)
        if match is None or not isinstance(state, optax.TraceState):
            continue
        chain, i = place[: match.start()], int(match[1])
        last, previous = (states.get(f"{chain}[{i - n}]") for n in (2, 1))
        if isinstance(previous, optax.ScaleByScheduleState):
            found[place] = ""
        elif previous is None and _is_mean_square(last):
            found[place] = "taken to contain the learning rate, as in `optax.rmsprop`"
    return found


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
    if isinstance(state, (MasterCopyState, CompensationState)):
        return not any(np.any(x) for x in jax.tree.leaves(state[0]))
    counters = {optax.MultiStepsState: "mini_step"}
    counters |= {optax.ApplyIfFiniteState: "notfinite_count"}
    counter = counters.get(type(state))
    return counter is not None and int(getattr(state, counter)) == 0
