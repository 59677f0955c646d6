"""Every argument of the public API: its kind, and wrong values for it.

An argument without an entry has the kind of its default and the range that the error of
its function states. An entry for one function has the key ``(function, argument)``, any
other the argument's name.
"""

import inspect
import warnings
from typing import Any, NamedTuple

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import optax_extras as oxe
from tests.contract import discovery

with warnings.catch_warnings():
    # With jax 0.8, Flax 0.12 uses a name that JAX has deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from flax import nnx

NAN, INF = float("nan"), float("inf")

# Schedules, also those of other libraries, are tested as strictly elsewhere:
# tests/schedules and test_schedule_errors_of_other_libraries.py; so are averages, and
# the functions of other libraries that translate a state, in tests/translation.
PACKAGES = {
    "": oxe,
    "rules.": oxe.rules,
    "layouts.": oxe.layouts,
    "pytorch.": oxe.pytorch,
    "keras.": oxe.keras,
    "timm.": oxe.timm,
    "lab.": oxe.lab,
    "lab.problems.": oxe.lab.problems,
}


def functions():
    """The name, with its module, and the function."""
    for prefix, package in PACKAGES.items():
        for name in package.__all__:
            thing = getattr(package, name)
            if not inspect.isfunction(thing):
                continue
            foreign = prefix in ("pytorch.", "keras.", "timm.")
            if not (foreign and discovery.returns_a_schedule(thing)):
                yield prefix + name, thing


def is_optimizer(name, thing):
    """Whether it makes an optimizer of numbers, which `scheduled` may take."""
    first = next(iter(inspect.signature(thing).parameters), None)
    is_rule = name.startswith(("rules.", "lab."))
    return first in ("learning_rate", "lr") and name != "learning_rate" and not is_rule


class Kind(NamedTuple):
    """What is wrong for an argument."""

    wrong: tuple = ()
    """Of another kind: TypeError."""
    out: tuple = ()
    """Of this kind, but none of its values: ValueError."""


OBJECT, ONES = object(), np.ones(2)
ARRAYS = (ONES, jnp.ones(2))
STRANGE = (OBJECT, 1j, [0.5, 0.5], *ARRAYS, "nonsense")
FLOATS = (NAN, INF, -INF, 2.5, -1.0)
NO_NUMBER = (*STRANGE, True)
ALL = (*NO_NUMBER, *FLOATS, 0)

# Of numbers and counts the bounds make the other wrong values: `INTERVALS`, `LEAST`.
KINDS = {
    "number": Kind(NO_NUMBER),
    "count": Kind((*NO_NUMBER, *FLOATS)),
    # A count of which other libraries write 2000. as well.
    "whole": Kind(NO_NUMBER, FLOATS),
    # Numbers one after the other, as many as in the default.
    "numbers": Kind((OBJECT, 1j, "nonsense", True, *FLOATS, 0)),
    "counts": Kind((OBJECT, 1j, "nonsense", True, *FLOATS, 0)),
    "metric": Kind(NO_NUMBER),
    "flag": Kind((*STRANGE, *FLOATS, 0, 1)),
    # A str that is not an option is out of range, and so is any other value: the error
    # lists the options.
    "choice": Kind((), ALL),
    "other": Kind(ALL),
    "mask": Kind((*STRANGE, *FLOATS, 0)),
    # The name of an extra arg; `update` must not have an argument of that name.
    "monitor": Kind(tuple(x for x in ALL if not isinstance(x, str)), ("", "params")),
    "names": Kind(tuple(x for x in ALL if not isinstance(x, str))),
    "arguments": Kind((OBJECT, 1j, True, *FLOATS, 0), ("nonsense",)),
    # Of a line: a legend shows what `str` makes of it.
    "label": Kind(([0.5, 0.5], *ARRAYS)),
    "path": Kind(tuple(x for x in ALL if not isinstance(x, str | int))),
    # Regular expressions of which each must match a path of the model.
    "paths": Kind(tuple(x for x in ALL if not isinstance(x, str)), ("nonsense", "(")),
    # Regular expressions, of which it is not known whether they match.
    "expressions": Kind(tuple(x for x in ALL if not isinstance(x, str)), ("(",)),
    "problem": Kind(tuple(x for x in ALL if not isinstance(x, str)), ("nonsense",)),
    # Of any tree: a state without numbers is none of these functions' business.
    "state": Kind(),
    # Trees and arrays: `ROWS`.
    "tree": Kind(),
    # None by default, and in no table.
    "unknown": Kind((OBJECT,)),
}
NUMBERS = ("number", "count", "whole", "metric")
LIBRARIES = ("equinox", "haiku", "linen", "nnx")
SUGGESTIONS = [f"suggest_{x}" for x in ("minimum", "slide", "steep", "valley")]

KIND_OF: dict[Any, str] = {
    **dict.fromkeys(
        (
            "learning_rate", "rate", "lr", "init_value", "tolerance", "second_rate",
            "momentum", "weight_decay", "lr_decay", "initial_accumulator_value",
            "dampening", "eps", "start", "stop", "p",
        ),
        "number",
    ),
    **dict.fromkeys(
        (
            "every", "n", "patience", "cooldown", "warmup", "window", "reset_after",
            "average_over", "group", "max_size", "min_size", "ns_steps", "min_steps",
            "max_steps", "steps", "rates", "seeds", "record_every", "frames", "fps",
            "n_test", "seed", "stack_axis", "overwrite_every",
            "ema_overwrite_frequency", "warmup_steps", "dynamic_growth_steps",
        ),
        "count",
    ),
    **dict.fromkeys(
        (
            "mode", "threshold_mode", "tolerance_mode", "estimator", "initial",
            "adjust_lr_fn", "data", "name", "layout", "scale", "normalize",
        ),
        "choice",
    ),
    **dict.fromkeys(
        (
            "tx", "inner", "first", "second", "when", "handoff", "bounds", "factory",
            "rule", "schedule", "key", "moments_dtype", "ns_dtype", "fun", "loss",
            "make_tx", "others", "schedules", "optimizers", "race", "test", "path",
            "ax", "model", "matrices", "average", "inner_optimizer",
            "default_optimizer", "optimizer_map", "mu_dtype", "source",
        ),
        "other",
    ),
    **dict.fromkeys(("params", "base", "updates", "batches", "x0", "losses"), "tree"),
    "gradients": "tree",
    "memory_limit": "whole",
    "hidden": "counts",
    "mask": "mask",
    "monitor": "monitor",
    "axis_name": "names",
    "static_args": "arguments",
    "file": "path",
    "label": "label",
    "state": "state",
    "problem": "problem",
    **{(f"layouts.{x}", "others"): "paths" for x in LIBRARIES},
    ("vectors", "stacked"): "expressions",
    ("keras.Muon", "exclude_layers"): "expressions",
    ("keras.Muon", "rms_rate"): "number",
    ("observe", "value"): "metric",
    ("layerwise", "decay"): "number",
    ("layerwise", "depth"): "other",
    ("layerwise", "layers"): "count",
    ("low_precision_state", "dtype"): "choice",
    ("with_average", "dtype"): "choice",
    ("muon", "ns_coefficients"): "arguments",
    ("scale_by_muon", "ns_coefficients"): "arguments",
    ("pytorch.Adafactor", "eps"): "numbers",
    ("lab.plot_path", "problem"): "other",
    ("lab.plot_schedule", "schedule"): "number",
    ("lab.sweep", "rates"): "numbers",
    **{
        (f"lab.{x}", "rates"): "tree"
        for x in (*SUGGESTIONS, "plot_rate")
    },
}  # fmt: skip

# The functions whose ranges these are; of later ones what they say is taken.
AGREED = {
    "accumulate", "averaged", "adabound", "adadelta", "adafactor", "adagrad", "adamax",
    "amsbound", "amsgrad", "apply_updates_stochastic", "asgd", "at_step", "greedy",
    "heavy_ball", "hyperparameters", "learning_rate", "low_precision_state", "muon",
    "nadam", "observe", "on_plateau", "plateau", "projected_rate_settles",
    "restart", "rmsprop", "rprop", "scale_by_adadelta", "scale_by_adagrad",
    "scale_by_adamax", "scale_by_amsgrad", "scale_by_metric", "scale_by_moments",
    "scale_by_muon", "scale_by_nadam", "scale_by_rate", "scale_by_rmsprop",
    "scale_by_swats", "scheduled", "set_hyperparameters", "stacked",
    "swats", "switch", "with_average", "with_compensation", "with_master_copy",
    "rules.adabound",
    "rules.adagrad", "rules.adam", "rules.amsbound", "rules.amsgrad",
    "rules.heavy_ball", "rules.momentum", "rules.nadam", "rules.radam",
    "rules.with_learning_rate", "rules.rmsprop", "rules.sgd", "rules.swats",
    "pytorch.ASGD", "pytorch.Adadelta", "pytorch.Adafactor", "pytorch.Adagrad",
    "pytorch.Adam",
    "pytorch.AdamW", "pytorch.Adamax", "pytorch.Muon", "pytorch.NAdam",
    "pytorch.RAdam", "pytorch.RMSprop", "pytorch.Rprop", "pytorch.SGD",
    "keras.Adadelta", "keras.Adagrad", "keras.Adam", "keras.AdamW", "keras.Adamax",
    "keras.Nadam", "keras.RMSprop", "keras.SGD", "lab.animate_race",
    "lab.check_elementwise", "lab.digits", "lab.lr_range_test", "lab.minimize",
    "lab.plot_path", "lab.plot_race", "lab.plot_range_test", "lab.plot_rate",
    "lab.plot_schedule", "lab.race", "lab.suggest_minimum", "lab.suggest_slide",
    "lab.suggest_steep", "lab.suggest_valley", "lab.sweep", "lab.problems.by_name",
    "lab.problems.wilson",
}  # fmt: skip
# The ranges as specified, independent of the code; a square bracket includes the end.
INTERVALS: dict[Any, str] = {
    **dict.fromkeys(
        (
            "alpha",
            "decay_rate",
            "eps",
            "epsilon",
            "final_rate",
            "gamma",
            "init_value",
            "initial_accumulator_value",
            "lambd",
            "learning_rate",
            "lr",
            "lr_decay",
            "max_value",
            "min_scale",
            "min_step_size",
            "min_value",
            "momentum_decay",
            "power",
            "rate",
            "second_rate",
            "start",
            "t0",
            "weight_decay",
        ),
        "[0, inf)",
    ),
    **dict.fromkeys(
        ("b1", "b2", "beta_1", "beta_2", "momentum", "decay", "rho", "threshold"),
        "[0, 1)",
    ),
    **dict.fromkeys(("factor", "eta_minus"), "(0, 1)"),
    **dict.fromkeys(("dampening", "ema_momentum"), "[0, 1]"),
    "tolerance": "(0, inf)",
    "eta_plus": "(1, inf)",
    "max_step_size": "(0, inf)",
    "clipping_threshold": "[1, inf)",
    "beta2_decay": "(-inf, 0]",
    "p": "(0.5, 1)",
    ("asgd", "decay"): "[0, inf)",
    ("greedy", "threshold"): "[0, inf)",
    ("rules.radam", "threshold"): "[4, inf)",
    ("pytorch.RMSprop", "alpha"): "[0, 1)",
    ("pytorch.Adafactor", "d"): "[1, inf)",
    ("lab.lr_range_test", "start"): "(0, inf)",
    ("lab.lr_range_test", "stop"): "(0, inf)",
    ("lab.plot_schedule", "schedule"): "(-inf, inf)",
    **dict.fromkeys(
        [(x, "rho") for x in ("adadelta", "scale_by_adadelta", "pytorch.Adadelta")],
        "[0, 1]",
    ),
    # Item by item.
    "betas": "[0, 1) [0, 1)",
    "etas": "(0, 1) (1, inf)",
    "step_sizes": "[0, inf) (0, inf)",
    ("pytorch.Muon", "ns_coefficients"): "(-inf, inf) (-inf, inf) (-inf, inf)",
    ("pytorch.Adafactor", "eps"): "[0, inf) [0, inf)",
    ("lab.sweep", "rates"): "(0, inf)",
}
# The smallest count; else 1.
LEAST = {
    **dict.fromkeys(("patience", "cooldown", "warmup", "max_size", "ns_steps"), 0),
    "warmup_steps": 0,
    "stack_axis": 0,
    **dict.fromkeys(("frames", "n_test"), 2),
    "seed": 0,
    ("lab.lr_range_test", "steps"): 2,
    ("lab.lr_range_test", "rates"): 2,
    ("lab.problems.wilson", "n"): 2,
}
# The smallest value that is too large, if there is one.
TOO_LARGE = {("pytorch.Muon", "ns_steps"): 100}

# Numbers that may not be traced, because they decide what is compiled, drawn or made.
# All others may be traced.
KNOWN = {
    *("group", "max_size", "min_size", "ns_steps", "stack_axis", "window"),
    *("steps", "seeds", "record_every", "memory_limit", "frames", "fps", "stop"),
    "hidden",
    ("layerwise", "layers"),
    *(("lab.lr_range_test", x) for x in ("start", "rates")),
    *(("lab.problems.wilson", x) for x in ("n", "p", "n_test", "seed")),
    ("lab.sweep", "rates"),
    ("lab.plot_schedule", "schedule"),
}


def _bowl(x, batch=None):
    return jnp.sum(x**2)


_PATH = oxe.lab.Trajectory(np.ones((2, 2)), np.ones(2), np.ones(1), np.arange(2))
_TEST = oxe.lab.RangeTest(*[np.arange(1.0, 5.0)] * 3, *[np.float32(1)] * 5, np.ones(2))
_DITCH = oxe.lab.problems.ditch
# What to give for arguments without a default.
VALID: dict[Any, Any] = {
    ("by_path", "values"): {".*": 0.1},
    ("layerwise", "decay"): 0.75,
    ("layerwise", "depth"): lambda path, leaf: 0,
    ("layerwise", "layers"): 3,
    "base": ONES,
    **discovery.REQUIRED,
    "schedule": discovery.METRIC,
    "init_value": 0.1,
    "factory": optax.adam,
    "tx": oxe.adagrad(0.1),
    "inner": oxe.rules.adam(),
    "every": 2,
    "n": 3,
    "first": oxe.rules.adam(),
    "second": oxe.rules.sgd(),
    "when": oxe.at_step(2),
    "key": np.zeros(2, np.uint32),
    "state": oxe.adagrad(0.1).init(ONES),
    "optax_state": optax.adagrad(0.1).init(ONES),
    "variables": {"iteration": 0, "w_accumulator": ONES},
    "params": ONES,
    "updates": ONES,
    "average": discovery.MEAN,
    "inner_optimizer": oxe.adagrad(0.1),
    "default_optimizer": oxe.adagrad(0.1),
    ("keras.MultiOptimizer", "optimizer_map"): oxe.keras.OptimizerMap(oxe.adagrad(0.1)),
    ("observe", "state"): oxe.adagrad(oxe.plateau(0.1)).init(ONES),
    ("averaged", "state"): oxe.with_average(optax.sgd(0.1), discovery.MEAN).init(ONES),
    "fun": _bowl,
    "x0": ONES,
    "steps": 2,
    "loss": _bowl,
    "batches": np.ones((2, 2)),
    "make_tx": optax.sgd,
    "rates": np.arange(1.0, 5.0),
    "losses": np.arange(1.0, 5.0),
    "problem": _DITCH,
    ("lab.sweep", "problem"): _bowl,
    ("lab.sweep", "rates"): (0.1,),
    "path": _PATH,
    "optimizers": {"Adam": oxe.rules.adam()},
    "race": oxe.lab.Comparison(_DITCH, {"Adam": _PATH}),
    "test": _TEST,
    "file": "/nowhere/at/all.gif",
    "name": "ditch",
    ("layouts.equinox", "model"): eqx.nn.Linear(2, 2, key=jax.random.key(0)),
    ("layouts.haiku", "model"): hk.transform(lambda: hk.Bias()(jnp.ones((1, 2)))),
    ("layouts.linen", "model"): nn.Sequential([lambda: np.ones((1, 2)), nn.Dense(2)]),
    ("layouts.nnx", "model"): nnx.Linear(2, 2, rngs=nnx.Rngs(0)),
    ("lab.plot_schedule", "schedule"): 0.1,
}
# What else a call needs, so that its other arguments are checked.
BESIDES: dict[str, dict[str, Any]] = {
    "observe": {"value": 0.5},
    "translate": {"params": ONES},
    "lab.sweep": {"params": ONES, "batches": np.ones((2, 2))},
    "lab.race": {"learning_rate": 0.1},
    "lab.lr_range_test": {"steps": 2, "start": 0.1, "stop": 1.0},
    **{
        f"lab.plot_{x}": {"ax": Figure().subplots()}
        for x in ("path", "race", "range_test", "rate", "schedule")
    },
}
# What else a call needs for one argument only.
WITH: dict[Any, dict[str, Any]] = {
    ("lab.sweep", "problem"): {"params": None, "batches": None},
    ("lab.lr_range_test", "rates"): {"mode": "grid"},
    ("greedy", "max_value"): {"init_value": 0.0},
}


class Row(NamedTuple):
    """A wrong value that no table above makes, and how its refusal shows it."""

    function: str
    argument: str
    value: Any
    error: type[Exception]
    shown: str | None = None
    """None: as `repr` does."""


def _arrays(function, *arguments):
    """Values that are not arrays of numbers, and arrays of wrong shapes."""
    for argument in arguments:
        for value in (OBJECT, "nonsense", 1j, None):
            yield Row(function, argument, value, TypeError)
        yield Row(function, argument, True, ValueError, "()")
        yield Row(function, argument, 0.5, ValueError, "()")
        yield Row(function, argument, np.ones((2, 2)), ValueError, "(2, 2)")


def _trees(function, argument, *values):
    return [Row(function, argument, value, TypeError) for value in values]


def _no_floats(function):
    """A leaf is shown by shape and dtype."""
    for value in (1j, 3):
        shown = jax.ShapeDtypeStruct((), jnp.result_type(value))
        yield Row(function, "params", value, TypeError, repr(shown))


_STOCHASTIC = "apply_updates_stochastic"
ROWS = [
    *_trees(_STOCHASTIC, "params", OBJECT, "nonsense"),
    *_trees(_STOCHASTIC, "updates", OBJECT, "nonsense"),
    Row(_STOCHASTIC, "updates", 0.5, ValueError, "()"),
    Row(_STOCHASTIC, "updates", np.ones(3), ValueError, "(3,)"),
    Row(_STOCHASTIC, "updates", ONES * np.complex64(1j), ValueError, "'complex64'"),
    Row(_STOCHASTIC, "updates", [0.5, 0.5], ValueError),
    Row(_STOCHASTIC, "updates", {"w": ONES}, ValueError),
    *(
        Row(name, "state", x, ValueError, "none")
        for name in ("averaged", "learning_rate")
        for x in (*ALL, None)
    ),
    *(
        Row("scheduled", "static_args", kind([x]), error, repr(x))
        for x, error in (("nonsense", ValueError), (0.5, TypeError), (1j, TypeError))
        for kind in (list, tuple)
    ),
    *_trees("lab.minimize", "x0", OBJECT, "nonsense", 1j, True, None),
    *_trees("lab.lr_range_test", "params", OBJECT, "nonsense", True, None),
    *_no_floats("lab.lr_range_test"),
    *_trees("lab.sweep", "params", OBJECT, "nonsense", True),
    *_no_floats("lab.sweep"),
    Row("lab.sweep", "params", None, ValueError),
    Row("lab.sweep", "batches", None, ValueError),
    *(
        row
        for function in ("lab.lr_range_test", "lab.sweep")
        for row in (
            *_trees(function, "batches", OBJECT, "nonsense"),
            Row(function, "batches", True, ValueError, "[()]"),
            Row(function, "batches", 0.5, ValueError, "[()]"),
            Row(function, "batches", [], ValueError),
            Row(function, "batches", np.ones((0, 2)), ValueError, "[(0, 2)]"),
            Row(function, "batches", (ONES, np.ones(3)), ValueError, "[(2,), (3,)]"),
        )
    ),
    *(
        row
        for function in SUGGESTIONS
        for row in _arrays(f"lab.{function}", "rates", "losses")
    ),
    *_arrays("lab.plot_rate", "rates"),
    Row("lab.race", "optimizers", {}, ValueError),
    Row("lab.race", "optimizers", {"Adam": 0.1}, TypeError, "0.1"),
    Row("lab.sweep", "make_tx", {}, ValueError),
    Row("lab.sweep", "make_tx", {"sgd": 0.1}, TypeError, "0.1"),
    Row("lab.sweep", "schedules", {}, ValueError),
    Row("lab.sweep", "schedules", {"cosine": 0.1}, TypeError, "0.1"),
    Row("lab.sweep", "rates", [], ValueError),
    Row("lab.lr_range_test", "start", 2.0, ValueError),  # `stop` is 1
    *(Row("translate", "state", x, ValueError) for x in (OBJECT, None, 0.5, ())),
    Row("swats", "max_steps", 3, ValueError),  # `min_steps` is 1000
    Row("plateau", "min_value", 0.5, ValueError),  # `init_value` is 0.1
]
