"""Things named in a shell: `name`, or `name(1, b=2)`."""

import ast
import difflib
import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import optax

from optax_extras._errors import named
from optax_extras._kernel.scale_by_moments import Rule, scale_by_moments
from optax_extras._learning_rates.scale_by_rate import scale_by_rate

# Arguments that schedules cannot do without, for a run of n steps from or up to 1.
USUAL: dict[str, Callable[[int], dict[str, Any]]] = {
    "constant_schedule": lambda n: {"value": 1},
    "cosine": lambda n: {"init_value": 1, "decay_steps": n},
    "cyclic": lambda n: {"base_value": 0.1, "peak_value": 1, "up_steps": n // 6 or 1},
    "exponential": lambda n: {"init_value": 1, "decay_rate": 0.01 ** (1 / n)},
    "inverse_sqrt": lambda n: {"peak_value": 1, "timescale": n // 10 or 1},
    "inverse_time": lambda n: {"init_value": 1, "decay_rate": 10 / n},
    "linear": lambda n: {"init_value": 1, "transition_steps": n},
    "one_cycle": lambda n: {"peak_value": 1, "total_steps": n},
    "polynomial": lambda n: {"init_value": 1, "transition_steps": n, "power": 2},
    "rex": lambda n: {"init_value": 1, "decay_steps": n},
    "step": lambda n: {"init_value": 1, "step_size": n // 4 or 1, "factor": 0.5},
    "warm_restarts": lambda n: {
        "peak_value": 1,
        "period": n // 7 or 1,
        "period_mult": 2,
    },
}


# Where a name may be found. Of our rooms what is public; of Optax's the optimizers and
# the schedules.
_OURS = tuple(
    f"optax_extras{room}" for room in ("", ".rules", ".schedules", ".pytorch", ".keras")
)
_OPTAXS = "optax", "optax.contrib", "optax.schedules"


def _things(room: str) -> dict[str, Callable[..., Any]]:
    """What may be called in a room, by name."""
    held = vars(importlib.import_module(room))
    if room in _OURS:
        return {name: held[name] for name in held["__all__"] if callable(held[name])}
    return {
        name: thing
        for name, thing in held.items()
        if inspect.isfunction(thing)
        and not name.startswith("_")
        and thing.__module__.startswith("optax.")
        and (
            "learning_rate" in inspect.signature(thing).parameters
            or thing.__module__.startswith("optax.schedules.")
        )
    }


def called(text: str, rooms: Sequence[str]) -> tuple[Callable[..., Any], dict]:
    """What `name` or `name(1, b=2)` names in one of the rooms, and its arguments.

    With dots the name begins with its room, any that there is. Arguments are literals;
    those without a name are under "*".
    """
    name, bracket, _ = text.partition("(")
    options: dict[str, Any] = {}
    if bracket:
        try:
            call = ast.parse(text, mode="eval").body
            if not isinstance(call, ast.Call) or ast.unparse(call.func) != name.strip():
                raise ValueError
            if not all(keyword.arg for keyword in call.keywords):
                raise ValueError
            options = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
            unnamed = [ast.literal_eval(argument) for argument in call.args]
        except (MemoryError, RecursionError, SyntaxError, TypeError, ValueError):
            raise ValueError(f"{text!r} is not of the form name(1, b=2).") from None
        names = [keyword.arg for keyword in call.keywords]
        for word in options:
            if names.count(word) > 1:
                raise ValueError(f"{text!r} gives `{word}` more than once.")
        options |= {"*": unnamed} if unnamed else {}
    if "." in name:
        room, _, name = name.rpartition(".")
        if room not in (*_OURS, *_OPTAXS):
            known = ", ".join((*_OURS, *_OPTAXS))
            raise ValueError(f"{text!r} must begin with one of {known}, or with none.")
        rooms = (room,)
    found: dict[str, Callable[..., Any]] = {}
    for room in rooms:
        found = _things(room) | found  # the first room wins
    if name in found:
        return named(name, found[name]), options
    near = ", ".join(difflib.get_close_matches(name, sorted(found))) or "none"
    raise ValueError(f"there is no {name!r}; of similar name: {near}.")


def from_rate(
    text: str, rooms: Sequence[str]
) -> Callable[[Any], optax.GradientTransformation]:
    """From a rate to the optimizer of this name, which must not bring one."""
    make, options = called(text, rooms)
    unnamed = options.pop("*", ())
    if "learning_rate" not in inspect.signature(make).parameters:
        rule = make(*unnamed, **options)
        if not isinstance(rule, Rule):
            raise ValueError(f"{text!r} makes no optimizer from a learning rate.")
        return lambda rate: optax.chain(scale_by_moments(rule), scale_by_rate(rate))
    if unnamed or "learning_rate" in options:
        raise ValueError(f"{text!r} brings a rate, which is what the test looks for.")
    if isinstance(make(learning_rate=1.0, **options), Rule):
        last = optax.scale(-1.0)
        return lambda rate: optax.chain(
            scale_by_moments(make(learning_rate=rate, **options)), last
        )
    return lambda rate: make(learning_rate=rate, **options)


def shortened(message: str) -> str:
    """A message of any length, without the middle of a very long one."""
    return message if len(message) <= 600 else f"{message[:380]} ... {message[-200:]}"
