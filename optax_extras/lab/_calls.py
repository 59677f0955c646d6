"""Functions named on the command line: `name`, or `name(1, b=2)`."""

import ast
import difflib
import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import optax

from optax_extras._errors import named
from optax_extras._kernel.rule import Rule
from optax_extras._learning_rates._source import as_rate
from optax_extras.lab._race import as_transformation

# The required arguments of schedules, for a run of n steps with values from or up to 1.
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
    "warm_restarts": lambda n: dict(peak_value=1, period=n // 7 or 1, period_mult=2),
}
OURS = tuple(
    f"optax_extras{x}" for x in ("", ".rules", ".schedules", ".pytorch", ".keras")
)
OPTAX = "optax", "optax.contrib", "optax.schedules"


def _functions_of(package: str) -> dict[str, Callable[..., Any]]:
    """Our public functions, or Optax's optimizers and schedules, by name."""
    module: Any = importlib.import_module(package)
    if package in OURS:
        found = {name: getattr(module, name) for name in module.__all__}
        return {name: x for name, x in found.items() if callable(x)}
    return {
        name: x
        for name, x in vars(module).items()
        if inspect.isfunction(x)
        and not name.startswith("_")
        and x.__module__.startswith("optax.")
        and (
            "learning_rate" in inspect.signature(x).parameters
            or x.__module__.startswith("optax.schedules.")
        )
    }


def parse_call(
    text: str, packages: Sequence[str]
) -> tuple[Callable[..., Any], list[Any], dict[str, Any]]:
    """The function that `name` or `name(1, b=2)` names, its arguments and keywords.

    The name is looked up in `packages`, of which the first has precedence; a name with
    dots begins with its package. Arguments are literals: nothing else is evaluated.
    """
    name, bracket, _ = text.partition("(")
    args, keywords = [], []
    if bracket:
        try:
            call = ast.parse(text, mode="eval").body
            if not isinstance(call, ast.Call) or ast.unparse(call.func) != name.strip():
                raise ValueError
            args = [ast.literal_eval(x) for x in call.args]
            keywords = [(str(k.arg), ast.literal_eval(k.value)) for k in call.keywords]
            if not all(k.arg for k in call.keywords):  # sgd(**{...})
                raise ValueError
        except (MemoryError, RecursionError, SyntaxError, TypeError, ValueError):
            raise ValueError(f"{text!r} is not of the form name(1, b=2).") from None
    options = dict(keywords)
    for word in options:
        if [x for x, _ in keywords].count(word) > 1:
            raise ValueError(f"{text!r} gives `{word}` more than once.")
    if "." in name:
        package, _, name = name.rpartition(".")
        if package not in (*OURS, *OPTAX):
            known = ", ".join((*OURS, *OPTAX))
            raise ValueError(f"{text!r} must begin with one of {known}, or with none.")
        packages = (package,)
    found: dict[str, Callable[..., Any]] = {}
    for package in packages:
        found = _functions_of(package) | found
    if name in found:
        return named(name, found[name]), args, options
    near = ", ".join(difflib.get_close_matches(name, sorted(found))) or "none"
    raise ValueError(f"there is no {name!r}; similar names: {near}.")


def parse_optimizer(
    text: str, packages: Sequence[str]
) -> Callable[[Any], optax.GradientTransformation]:
    """From a learning rate to the optimizer that `text` names without one."""
    make, args, options = parse_call(text, packages)
    if "learning_rate" not in inspect.signature(make).parameters:
        rule = make(*args, **options)
        if not isinstance(rule, Rule):
            raise ValueError(f"{text!r} makes no optimizer from a learning rate.")
        return lambda rate: as_transformation(rule, as_rate("learning_rate", rate))
    if args or "learning_rate" in options:
        raise ValueError(f"{text!r} must not set the learning rate, which is varied.")
    make(learning_rate=1.0, **options)  # refuses wrong options before anything runs
    return lambda rate: as_transformation(make(learning_rate=rate, **options), None)


def shortened(message: str) -> str:
    """A message without the middle of a very long one."""
    return message if len(message) <= 600 else f"{message[:380]} ... {message[-200:]}"
