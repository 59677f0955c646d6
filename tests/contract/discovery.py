"""What there is to test: every optimizer, transform and rule of `oxe`, found by itself.

A public function whose first argument is `learning_rate` is an optimizer; one called
`scale_by_<x>` is a transform; one that takes a `rule` is handed every rule there is.
What is peculiar to one of them stands here as data.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

import optax_extras as oxe

# What to give for arguments that have no default.
REQUIRED = {"learning_rate": 0.1, "rate": 0.1, "rule": oxe.rules.adam()}
# Required, and no number.
NO_NUMBER = {"rule"}
# Arguments that may be a schedule, each of which makes a case of its own.
RATES = ("learning_rate", "rate")
# Values to try for real hyperparameters; others are tried at, and at half, the default.
VALUES = {
    "learning_rate": (0.0, 0.05, 0.1),
    "rate": (0.0, 0.05, 0.1),
    "momentum": (0.0, 0.5, 0.9),
    "dampening": (0.0, 0.5, 1.0),
    "b1": (0.0, 0.5, 0.9),
    "b2": (0.5, 0.9, 0.999),
    "eps": (0.0, 1e-8, 1e-2),
    "threshold": (4.0, 5.0, 6.0),
    "decay": (0.0, 0.9, 0.99),
    "momentum_decay": (0.0, 0.004, 1.0),
    "lr_decay": (0.0, 0.01, 0.1),
    "initial_accumulator_value": (0.0, 0.1, 1.0),
    "weight_decay": (0.0, 0.01, 0.1),
    "final_rate": (0.0, 0.05, 0.1),
    "gamma": (1e-3, 0.1, 1.0),
    "tolerance": (1e-3, 1e-2, 0.1),
}
# Step counts, which are integers, among arguments whose default is a number.
STEP_COUNTS = {"min_steps"}
# Fields of a state that count only while their phase is in force, or not at all.
PHASE_COUNTS = {"first_count", "second_count", "switch_step", "used"}
# Another choice for arguments that are a word or None, which makes a case of its own.
CHOICES = {"initial": "zero", "momentum": 0.9}
# More cases: what has a second phase, in which most of the few steps fall.
EARLY = {"early": {"min_steps": 2, "max_steps": 2}}
MORE = {
    "swats": {**EARLY, "second_rate": {"second_rate": 0.05, **EARLY["early"]}},
    "scale_by_swats": EARLY,
    "rules.swats": EARLY,
}
# Cases that look at the tree as a whole, so that its parts are another matter.
OF_THE_WHOLE = {"swats-early", "scale_by_swats-early", "rules.swats-early"}
# The fields of a state that hold params-sized buffers.
MOMENTS = {"mu", "nu", "nu_max"}
# Functions that the patterns above find, and that are none: (name, why).
NOT_MEANT: dict[str, str] = {}
# Extra arguments that an update cannot do without: name of the case -> arguments.
NEEDS: dict[str, dict[str, Any]] = {}


# How to end a chain so that it goes downhill, where the name does not tell.
ENDS = {"scale_by_rate-flip_sign": optax.scale(-1.0)}
ENDS |= dict.fromkeys(("scale_by_rate", "scale_by_rate-schedule"), optax.identity())


def falling(t):
    """A rate that changes at every step."""
    return 0.1 / (1 + t / 100)


class Case(NamedTuple):
    """One transformation, with one setting of its flags."""

    name: str
    factory: Callable[..., optax.GradientTransformationExtraArgs]
    settings: dict[str, Any]
    numbers: tuple[str, ...]
    """The real hyperparameters, each of which may be traced."""
    is_optimizer: bool
    """Whether its updates go downhill as they are."""
    rate_inside: bool
    """Whether a rate is among its arguments."""

    def make(self, **overrides):
        return self.factory(**{**self.settings, **overrides})

    @property
    def needs(self):
        return NEEDS.get(self.name, {})

    def values(self, number):
        default = inspect.signature(self.factory).parameters[number].default
        return VALUES.get(number) or (default, default / 2)

    def descent(self):
        """The transformation, completed where need be so that it goes downhill."""
        if self.is_optimizer:
            return self.make()
        last = optax.scale(-1.0) if self.rate_inside else oxe.scale_by_rate(0.1)
        return optax.chain(self.make(), ENDS.get(self.name, last))

    @property
    def is_variant(self):
        """Whether a flag is turned over or the rate a schedule."""
        return "-" in self.name


def of_rule(rule_factory):
    """The transformation that a rule's factory leads to, with the same arguments."""

    def factory(**kwargs):
        return oxe.scale_by_moments(rule_factory(**kwargs))

    factory.__signature__ = inspect.signature(rule_factory)
    return factory


def is_real(parameter):
    """Whether an argument is a number, by its default: no flag, no None, no name."""
    if parameter.name in REQUIRED:
        return parameter.name not in NO_NUMBER
    if parameter.name in STEP_COUNTS:
        return False
    default = parameter.default
    return isinstance(default, int | float) and not isinstance(default, bool)


def cases_of(name, factory, is_optimizer):
    """The plain case, one for each flag and word turned, and one with a schedule."""
    parameters = inspect.signature(factory).parameters
    required = {key: REQUIRED[key] for key in parameters if key in REQUIRED}
    numbers = tuple(key for key, p in parameters.items() if is_real(p))
    flags = [key for key, p in parameters.items() if isinstance(p.default, bool)]
    words = [
        key
        for key, p in parameters.items()
        if key in CHOICES and isinstance(p.default, str | None)
    ]
    rates = [key for key in parameters if key in RATES]
    variants = {name: required}
    for more, settings in MORE.get(name, {}).items():
        variants[f"{name}-{more}"] = {**required, **settings}
    for flag in flags:
        turned = not parameters[flag].default
        variants[f"{name}-{flag}"] = {**required, flag: turned}
    for word in words:
        variants[f"{name}-{word}"] = {**required, word: CHOICES[word]}
    for rate in rates:
        variants[f"{name}-schedule"] = {**required, rate: falling}
    for variant, settings in variants.items():
        left = tuple(x for x in numbers if not callable(settings.get(x)))
        if settings.get("nesterov"):  # which refuses a dampening
            left = tuple(x for x in left if x != "dampening")
        yield Case(variant, factory, settings, left, is_optimizer, bool(rates))


def discover():
    found = []
    for name in oxe.__all__:
        thing = getattr(oxe, name)
        if not inspect.isfunction(thing) or name in NOT_MEANT:
            continue
        first = next(iter(inspect.signature(thing).parameters), None)
        if first == "learning_rate":
            found += cases_of(name, thing, is_optimizer=True)
        elif name.startswith("scale_by_") and first != "rule":
            found += cases_of(name, thing, is_optimizer=False)
    for name in oxe.rules.__all__:
        rule = getattr(oxe.rules, name)
        found += cases_of(f"rules.{name}", of_rule(rule), is_optimizer=False)
    return found


CASES = discover()
OPTIMIZERS = [case for case in CASES if case.is_optimizer]


def params():
    """A small tree of float32 leaves."""
    return {
        "w": jnp.linspace(-1.0, 2.0, 6).reshape(2, 3),
        "inner": [jnp.array([0.5, -0.25]), jnp.float32(1.5)],
    }
