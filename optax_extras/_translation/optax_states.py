"""Optax's states: what their buffers hold, and which assumptions that takes."""

import functools
import re
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
import optax

from optax_extras._hyperparameters._walker import INJECTED
from optax_extras._state.half_precision import CompensationState, MasterCopyState
from optax_extras._types import State

# `adam_nu` is a second moment, or a maximum if it is that of `optax.adamax`.
_BUFFERS: dict[type, dict[str, str]] = {
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
COUNTED = (optax.ScaleByScheduleState, *INJECTED)
# Their updates depend on the count, and all params have the same.
BY_COUNT = (optax.ScaleByAdamState, optax.ScaleByAmsgradState)
# Their rule is another one than that of the same name here: which states of ours have
# it, and how the rules differ.
OTHER_RULES = {
    optax.ScaleByRpropState: (
        lambda x: hasattr(x, "step_sizes"),
        "optax.rprop takes each step one update late; the last one is lost",
    ),
    # NAdam's carry has a product of momenta.
    optax.ScaleByAdamState: (
        lambda x: hasattr(getattr(x, "carry", None), "product"),
        "optax.nadam keeps the momentum constant, here it warms up",
    ),
}
_MEAN_SQUARES = (optax.ScaleByRmsState, optax.ScaleByRStdDevState)


def buffers_of_optax(state: State) -> dict[str, str]:
    """What the buffers of a state of Optax hold, by its fields."""
    kind = type(state)
    is_of_optax = kind.__module__.partition(".")[0] == "optax"
    if kind in _BUFFERS or not is_of_optax:
        return _BUFFERS.get(kind, {})
    return _corrected_buffers().get(kind, {})


@functools.cache
def _corrected_buffers() -> dict[type, dict[str, str]]:
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


def _is_mean_square(state: State) -> bool:
    return isinstance(state, (*_MEAN_SQUARES, *_corrected_buffers()))


def is_idle(state: State) -> bool:
    """Whether nothing is lost with the state of a wrapper."""
    if isinstance(state, (MasterCopyState, CompensationState)):
        return not any(np.any(x) for x in jax.tree.leaves(state[0]))
    counters = {optax.MultiStepsState: "mini_step"}
    counters |= {optax.ApplyIfFiniteState: "notfinite_count"}
    counter = counters.get(type(state))
    return counter is not None and int(getattr(state, counter)) == 0
