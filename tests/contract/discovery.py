"""The cases of the contract: every optimizer, transform and rule of `oxe`.

A public function whose first argument is `learning_rate` is an optimizer, in
`oxe.pytorch` `lr`, unless it returns a schedule; one called `scale_by_<x>` is a
transform; one that takes a `rule` gets every rule.
A new function needs no entry here: its properties are found out by trying it. The
tables only add cases with other settings, and values to try.
"""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_extras as oxe
from tests.contract.ranges import range_of

# Schedules of a metric that `update` gets only in some clauses.
MONITORED = "val_loss"
METRIC = oxe.plateau(0.1, patience=1, monitor=MONITORED)
MEAN = oxe.averages.power(gamma=0.0)
GREEDY = oxe.greedy(0.1, patience=1, window=2, monitor=MONITORED)
# What to give for arguments that have no default, and for one that has: few steps are a
# small program.
REQUIRED = {
    "ns_steps": 2,
    "learning_rate": 0.1,
    "rate": 0.1,
    "lr": 0.1,
    "schedule": METRIC,
    "rule": oxe.rules.adam(),
    "layout": "in_out",
}
NOT_NUMBERS = {"rule", "layout", "ns_steps"}  # among them
# Arguments that may be a schedule; each makes another case.
RATES = ("learning_rate", "rate", "lr")
RATED = ("-schedule", "-metric")
# Values to try for real hyperparameters; others are tried at the default and at another
# number in their range.
VALUES: dict[Any, tuple[float, ...]] = {
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
    "lr": (0.0, 0.05, 0.1),
    "beta_1": (0.0, 0.5, 0.9),
    "beta_2": (0.5, 0.9, 0.999),
    "alpha": (0.0, 0.5, 0.99),
    "epsilon": (0.0, 1e-8, 1e-2),
    "rho": (0.0, 0.5, 0.9),
    "t0": (0.0, 1.0, 3.0),
    "start": (0.0, 1.0, 3.0),
    "eta_plus": (1.1, 1.2, 2.0),
    "d": (1.0, 1.5, 2.0),
    "clipping_threshold": (1.0, 1.5, 2.0),
    "decay_rate": (0.0, 0.5, 0.8),
    "beta2_decay": (-0.8, -0.5, 0.0),
    "learning_rate_power": (-1.0, -0.5, 0.0),
    ("keras.Lion", "beta_1"): (0.5, 0.9),
}
# In these, a momentum of 0 needs no buffer, which is another structure.
WITHOUT_BUFFER = ("pytorch.SGD", "pytorch.RMSprop", "keras.SGD", "keras.RMSprop")
VALUES |= {(name, "momentum"): (0.5, 0.9) for name in WITHOUT_BUFFER}
VALUES["keras.ScheduleFreeAdamW", "beta_1"] = (0.5, 0.9, 1.0)
# Settings to descend with, for defaults that hardly move.
QUICK = {
    "adadelta": {"learning_rate": 1.0, "eps": 1e-2},
    "scale_by_adadelta": {"eps": 1e-2},
    "pytorch.Adadelta": {"lr": 1.0, "eps": 1e-2},
    "keras.Adadelta": {"learning_rate": 1.0, "epsilon": 1e-2},
}
# Step counts, which are integers, among arguments whose default is a number.
STEP_COUNTS = {"min_steps", "ns_steps", "warmup_steps"}
# Another choice for arguments that are a str or None; it makes another case.
CHOICES = {
    "initial": "zero",
    "momentum": 0.9,
    "scale": "unit_rms",
    "normalize": "normuon",
}
# More cases: a second phase that has most of the few steps.
EARLY = {"early": {"min_steps": 2, "max_steps": 2}}
MORE = {
    "swats": {**EARLY, "second_rate": {"second_rate": 0.05, **EARLY["early"]}},
    "scale_by_swats": EARLY,
    "rules.swats": EARLY,
}
# The steps of these depend on the norms of leaves, which no state shows.
BY_NORMS = {"keras.Lamb"}
# Their updates of half-precision leaves lead to rounded float32 params.
KEEP_REMAINDERS = ("with_master_copy", "with_compensation", "keras.ScheduleFreeAdamW")
# These work on leaves that have another one of their shape.
STACKS = {"stacked"}


def falling(t):
    """A rate that changes at every step."""
    return 0.1 / (1 + t / 100)


def _init_shapes(tx, shape):
    return jax.eval_shape(tx.init, [jax.ShapeDtypeStruct(shape, jnp.float32)] * 2)


_ACCEPTED: dict[tuple[str, tuple[int, ...]], bool] = {}
_ELEMENTWISE: dict[str, bool] = {}
_MULTIPLYING: dict[str, bool] = {}


def _accepts(name, factory, settings, shape):
    """Whether `init` takes leaves of that shape."""
    if (name, shape) not in _ACCEPTED:
        try:
            _init_shapes(factory(**settings), shape)
        except ValueError:
            _ACCEPTED[name, shape] = False
        else:
            _ACCEPTED[name, shape] = True
    return _ACCEPTED[name, shape]


def _follows_shapes(tx):
    """Whether all leaves of the state of a large matrix have its shape.

    Arrays of few bits do not count: random rounding depends on the index in the leaf.
    """
    if _treats_matrices(tx):
        return False
    shape = (256, 160)
    leaves = jax.tree.leaves(_init_shapes(tx, shape))
    few_bits = any(x.ndim and x.dtype.itemsize < 4 for x in leaves)
    nothing = (1, 1)  # a placeholder
    shapes = {shape, (2, *shape), (), nothing}
    return not few_bits and {x.shape for x in leaves} <= shapes


def _treats_matrices(tx):
    """Whether the state of a matrix is another tree than that of a vector."""
    matrix, vector = (_init_shapes(tx, shape) for shape in ((2, 3), (6,)))
    return jax.tree.structure(matrix) != jax.tree.structure(vector)


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

    def values(self, number):
        """Numbers to try: those of the table, or the default and another one."""
        found = VALUES.get((self.plain_name, number)) or VALUES.get(number)
        if found:
            return found
        default = inspect.signature(self.factory).parameters[number].default
        allowed = range_of(lambda x: self.make(**{number: x}))
        others = (default / 2, default * 2, default + 0.5, default - 0.5)
        other = next(x for x in others if x != default and x in allowed)
        return (default, other)

    def descent(self):
        """The transformation, with a sign or a learning rate if it needs one."""
        tx = self.make(**QUICK.get(self.plain_name, {}))
        params = self.params()
        grads = jax.tree.map(jnp.ones_like, params)
        u, _ = jax.jit(tx.update)(grads, tx.init(params), params)
        ascends = sum(float(jnp.sum(x)) for x in jax.tree.leaves(u)) > 0
        factor = 1.0 if self.is_optimizer or self.rate_inside else 0.1
        return optax.chain(tx, optax.scale(-factor if ascends else factor))

    def params(self):
        """The tree that it is tried on."""
        if self.of_matrices:
            return matrices()
        return pairs_of_leaves() if self.name in STACKS else params()

    def fit(self, tree):
        """A tree, with its leaves in the form that it takes."""
        return jax.tree.map(as_matrix, tree) if self.of_matrices else tree

    @property
    def of_matrices(self):
        """Whether it refuses a vector."""
        return not _accepts(self.plain_name, self.factory, self.settings, (3,))

    @property
    def is_elementwise(self):
        """Whether its state of a leaf is like the leaf, or of no leaf at all."""
        if self.name not in _ELEMENTWISE:
            found = not self.of_matrices and _follows_shapes(self.make())
            found = found and self.plain_name not in BY_NORMS
            _ELEMENTWISE[self.name] = found
        return _ELEMENTWISE[self.name]

    @property
    def multiplies_matrices(self):
        """Whether it takes products of matrices, in which roundings grow."""
        if self.name not in _MULTIPLYING:
            is_alone = self.name not in COMBINED
            found = self.of_matrices or (is_alone and _treats_matrices(self.make()))
            _MULTIPLYING[self.name] = found
        return _MULTIPLYING[self.name]

    @property
    def ulps(self):
        """By how many two programs may differ."""
        return 512 if self.multiplies_matrices else 8

    @property
    def plain_name(self):
        return self.name.partition("-")[0]

    @property
    def is_plain(self):
        """Whether flags and rates are as they come."""
        return "-" not in self.name

    @property
    def twin(self):
        """The optimizer, with its options, of which it is the transform or the rule."""
        bare = self.name.removeprefix("scale_by_").removeprefix("rules.")
        has_one = bare != self.name and hasattr(oxe, bare.partition("-")[0])
        return bare if has_one else None

    @property
    def is_slow(self):
        """Whether it is a variant, a twin or a namesake of another case."""
        is_namesake = self.name.startswith(("pytorch.", "keras."))
        return bool(self.twin) or not self.is_plain or is_namesake


def of_rule(rule_factory):
    """The transformation that a rule's factory leads to, with the same arguments."""

    def factory(**kwargs):
        return oxe.scale_by_moments(rule_factory(**kwargs))

    factory.__signature__ = inspect.signature(rule_factory)
    return factory


def returns_a_schedule(thing):
    """Whether the return annotation says that it makes a schedule, or a state."""
    made = inspect.signature(thing).return_annotation
    return made is not Any and "Transformation" not in str(made)


def is_real(parameter):
    """Whether an argument is a number, by its default: no flag, no None, no name."""
    if parameter.name in REQUIRED:
        return parameter.name not in NOT_NUMBERS
    if parameter.name in STEP_COUNTS:
        return False
    default = parameter.default
    return isinstance(default, int | float) and not isinstance(default, bool)


def cases_of(name, factory, is_optimizer):
    """The plain case, one for each flag and word turned, one for each schedule."""
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
        variants[f"{name}-metric"] = {**required, rate: METRIC}
    for variant, settings in variants.items():
        left = tuple(x for x in numbers if not callable(settings.get(x)))
        if settings.get("nesterov"):  # which refuses a dampening
            left = tuple(x for x in left if x != "dampening")
        if settings.get("eps_hat"):  # which refuses an epsilon in the root
            left = tuple(x for x in left if x != "eps_root")
        yield Case(variant, factory, settings, left, is_optimizer, bool(rates))


def takes(thing):
    """The name of the first argument of a function, None of anything else."""
    if not inspect.isfunction(thing):
        return None
    return next(iter(inspect.signature(thing).parameters), None)


def switched():
    """Between two transformations, after three updates."""
    return oxe.switch(oxe.nadam(0.1), oxe.heavy_ball(0.1), oxe.at_step(3))


def switched_rules():
    adam, sgd = oxe.rules.adam(), oxe.rules.momentum(0.5)
    return oxe.scale_by_moments(oxe.switch(adam, sgd, oxe.at_step(3)))


def switched_by_metric():
    when = oxe.on_plateau(1, monitor=MONITORED)
    return oxe.switch(oxe.nadam(0.1), oxe.heavy_ball(0.1), when)


def restarted_by_metric():
    return oxe.restart(oxe.adamax(0.1), oxe.on_plateau(1, monitor=MONITORED))


def small_swats(dtype):
    """In each phase some of the few updates."""
    return oxe.low_precision_state(oxe.swats(0.1, **EARLY["early"]), dtype, min_size=1)


def every_other(*, count, **seen):
    return count % 2 == 0


def averaged(dtype=None):
    """Two averages, stored in a dtype."""
    averages = {"fast": oxe.averages.Average(halfway), "mean": MEAN}
    return oxe.with_average(oxe.nadam(0.1), averages, dtype=dtype)


def several():
    """Keras' optimizer of optimizers, with groups for any tree."""
    groups = {"(|.*[0-9a-z])": oxe.nadam(0.1)}
    return oxe.keras.MultiOptimizer(oxe.keras.OptimizerMap(oxe.adamax(0.1), groups))


def halfway(t):
    return 0.5


# Our optimizers in combinators; these cases have no numbers to vary.
COMBINED = {
    "switch-transformations": (switched, True),
    "switch-rules": (switched_rules, False),
    "restart-transformation": (lambda: oxe.restart(oxe.adamax(0.1), every_other), True),
    "restart-rule": (
        lambda: oxe.scale_by_moments(oxe.restart(oxe.rules.adam(), every_other)),
        False,
    ),
    "switch-on_plateau": (switched_by_metric, True),
    "restart-on_plateau": (restarted_by_metric, True),
    "accumulate": (lambda: oxe.accumulate(oxe.nadam(0.1), 2), True),
    "accumulate-once": (lambda: oxe.accumulate(oxe.amsgrad(0.1), 1), True),
    "stacked": (lambda: oxe.stacked(oxe.nadam(0.1)), True),
    "with_master_copy": (lambda: oxe.with_master_copy(oxe.nadam(0.1)), True),
    "with_compensation": (lambda: oxe.with_compensation(oxe.rmsprop(0.1)), True),
    "low_precision_state": (
        lambda: oxe.low_precision_state(oxe.nadam(0.1), min_size=1),
        True,
    ),
    "low_precision_state-int8": (lambda: small_swats("int8"), True),
    "low_precision_state-bfloat16": (lambda: small_swats("bfloat16"), True),
    "with_average": (averaged, True),
    "with_average-bfloat16": (lambda: averaged("bfloat16"), True),
    "loss_scale": (
        lambda: oxe.keras.LossScaleOptimizer(oxe.nadam(0.1), 1.0, 200_000),
        True,
    ),
    "multi_optimizer": (several, True),
    "scheduled": (lambda: oxe.scheduled(oxe.amsgrad)(falling, b1=0.5), True),
    "scheduled-metric": (lambda: oxe.scheduled(oxe.rmsprop)(METRIC), True),
    "scheduled-greedy": (lambda: oxe.scheduled(oxe.rmsprop)(GREEDY), True),
    "others-muon": (
        lambda: oxe.muon(
            0.1, layout="in_out", normalize="normuon", others=oxe.nadam(0.1)
        ),
        True,
    ),
    "groups-nadam": (
        lambda: oxe.nadam(
            oxe.by_path({"(|.*[0-9a-z])": 2.0}, 1.0, times=falling),
            b1=oxe.by_path({".*": 0.5}),
            weight_decay=oxe.by_path({".*": falling}, 0.1),
        ),
        True,
    ),
    "groups-frozen": (lambda: oxe.adamw(frozen_if_any("w"), weight_decay=0.1), True),
    "groups-heavy_ball": (
        lambda: oxe.heavy_ball(oxe.by_path({".*": METRIC}, 0.1), weight_decay=0.1),
        True,
    ),
    "nadam-weight_decay": (lambda: oxe.nadam(0.1, weight_decay=falling), True),
    "nadam-greedy": (lambda: oxe.nadam(GREEDY), True),
}


def frozen_if_any(path):
    """A learning rate for trees of which not all have such a leaf."""
    rate = oxe.by_path({path: oxe.FROZEN}, 0.1)
    return dataclasses.replace(rate, may_be_empty=frozenset({path}))


def discover():
    found = []
    for name in oxe.__all__:
        thing = getattr(oxe, name)
        first = takes(thing)
        if first is None:
            continue
        if first == "learning_rate":
            found += cases_of(name, thing, is_optimizer=True)
        elif name.startswith("scale_by_") and first != "rule":
            found += cases_of(name, thing, is_optimizer=False)
    for package in (oxe.pytorch, oxe.keras):
        prefix = package.__name__.rpartition(".")[2]
        for name in package.__all__:
            thing, case = getattr(package, name), f"{prefix}.{name}"
            if takes(thing) not in ("lr", "learning_rate"):
                continue
            if returns_a_schedule(thing):
                continue
            # As they come: with every option they are walked in tests/parity.
            found += [next(cases_of(case, thing, is_optimizer=True))]
    for name in oxe.rules.__all__:
        rule = getattr(oxe.rules, name)
        found += cases_of(f"rules.{name}", of_rule(rule), is_optimizer=False)
    for name, (make, downhill) in COMBINED.items():
        found.append(Case(name, make, {}, (), downhill, False))
    return found


CASES = discover()
# Of leaves of any shape, as other suites have them.
OPTIMIZERS = [
    x for x in CASES if x.is_optimizer and x.name not in COMBINED and not x.of_matrices
]


def params():
    """A small tree of float32 leaves."""
    return {
        "w": jnp.linspace(-1.0, 2.0, 6).reshape(2, 3),
        "inner": [jnp.array([0.5, -0.25]), jnp.float32(1.5)],
    }


def pairs_of_leaves():
    """The same, in which every leaf has another one of its shape."""
    tree = params()
    return {**tree, "inner": [*tree["inner"], *(x / 2 for x in jax.tree.leaves(tree))]}


def matrices():
    """The same for what takes matrices alone: wide, square and tall ones."""
    square, tall = jnp.array([[0.5, -0.25], [1.0, 2.0]]), jnp.linspace(-1.0, 1.5, 6)
    return {"w": params()["w"], "inner": [square, tall.reshape(3, 2)]}


def as_matrix(x):
    """A leaf, which may be a matrix already."""
    return x if jnp.ndim(x) == 2 else jnp.reshape(x, (1, jnp.size(x)))


def metric_at(step):
    """The extra arguments of an update: a metric that falls, stalls and falls again."""
    return {MONITORED: np.float32(max(1.0, 2.0 - step) - (step > 7))}


def monitors(state):
    """Whether anything in a state monitors that metric."""
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    return any(jax.tree_util.DictKey(MONITORED) in path for path in paths)
