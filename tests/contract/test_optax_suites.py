"""Optax's own tests of its optimizers, run over ours.

Optax's wheel contains its tests. A suite is loaded with absl's decorators replaced:
they then record the choices of a test (dtypes, problems to solve) instead of making a
test for each of Optax's optimizers. The functions by which the suite makes an optimizer
return ours, and each test runs with all of its choices.
"""

import functools
import importlib.util
import inspect
import itertools
import os
import unittest
import warnings
from unittest import mock

import jax
import jax.numpy as jnp
import optax
import pytest

import optax_extras as oxe
from tests.contract import discovery
from tests.contract.devices import on_eight_devices

SUITES = {
    "alias": "optax._src.alias_test",
    "contrib": "optax.contrib._common_test",
    "sharding": "optax._src.sharding_test",
}
# The functions by which they make an optimizer of a name.
MAKERS = ("_get_opt", "_get_opt_factory")
# With learning rates that solve the suites' problems, as Optax's own tables have them.
SOLVING = {
    "adabound": {"learning_rate": 1e-2, "final_rate": 1e-3},
    "amsbound": {"learning_rate": 1e-2, "final_rate": 1e-3},
    "adadelta": {"learning_rate": 0.3, "eps": 1e-7},
    "adafactor": {"learning_rate": 5e-3},
    "adagrad": {"learning_rate": 1.0},
    "asgd": {"learning_rate": 1e-3},
    "heavy_ball": {"learning_rate": 1e-3},
    "lion": {"learning_rate": 1e-2, "weight_decay": 1e-4},
    "nadam": {"learning_rate": 1e-2},
    "rmsprop": {"learning_rate": 5e-3},
    "sgd": {"learning_rate": 1e-3, "momentum": 0.9},
    "ftrl": {"learning_rate": 1.0},
}
# Too slow for the complex Rosenbrock function: in 10,000 steps neither these two nor
# `optax.sgd` without momentum solve it at the learning rates that solve the others.
SLOW = ("adadelta", "asgd")
# Whose numbers cannot all be injected, and why; of some suites, whose integers cannot.
WITHOUT_BUFFER = ("pytorch.RMSprop", "pytorch.SGD", "keras.RMSprop", "keras.SGD")
NOT_INJECTED = {
    **dict.fromkeys(
        WITHOUT_BUFFER, "an injected momentum needs a buffer, the default of 0 has none"
    ),
    "keras.Muon (alias)": "the number of iterations decides what is compiled",
}
WRAPPED = {
    "accumulate": lambda: oxe.accumulate(oxe.nadam(1e-2), 2),
    "stacked": lambda: oxe.stacked(oxe.nadam(1e-2)),
    "with_master_copy": lambda: oxe.with_master_copy(oxe.nadam(1e-2)),
    "with_average": lambda: oxe.with_average(oxe.nadam(1e-2), discovery.MEAN),
    "with_compensation": lambda: oxe.with_compensation(oxe.rmsprop(5e-3)),
    "low_precision_state": lambda: oxe.low_precision_state(oxe.nadam(1e-2), min_size=1),
    "switch": lambda: oxe.switch(
        oxe.nadam(1e-2), oxe.heavy_ball(1e-3), oxe.at_step(5000)
    ),
}


def cases():
    """The plain optimizers of vectors, which leaves out Muon, and the wrappers."""
    for case in discovery.OPTIMIZERS:
        if case.is_plain:
            settings = {**case.settings, **SOLVING.get(case.name, {})}
            yield case._replace(settings=settings)
    for name, factory in WRAPPED.items():
        yield discovery.Case(name, factory, {}, (), True, False)


CASES = {case.name: case for case in cases()}
OURS = [name for name in CASES if "." not in name]
NAMESAKES = [name for name in CASES if "." in name]  # of PyTorch's and Keras'


def recorder(*positional, **choices):
    """In place of a decorator that multiplies a test."""

    def decorate(method):
        method.choices = choices
        return method

    return decorate


@functools.cache
def suite(name):
    """A suite's module and its clauses about any optimizer, by name."""
    try:
        from absl.testing import parameterized

        spec = importlib.util.find_spec(SUITES[name])
        module = importlib.util.module_from_spec(spec)
        with (
            mock.patch.multiple(
                parameterized, product=recorder, named_parameters=recorder
            ),
            mock.patch.dict(os.environ),  # one of them sets XLA_FLAGS
            warnings.catch_warnings(action="ignore"),
        ):
            spec.loader.exec_module(module)
    except (ImportError, AttributeError) as error:
        raise unittest.SkipTest(
            f"{SUITES[name]} is not in optax {optax.__version__}, or does not run: "
            f"{error}"
        ) from error
    if name != "sharding" and not any(hasattr(module, x) for x in MAKERS):
        raise unittest.SkipTest(
            f"{SUITES[name]} of optax {optax.__version__} has another form"
        )
    clauses = {}
    for _, tests in inspect.getmembers(module, inspect.isclass):
        for key, method in vars(tests).items():
            choices = getattr(method, "choices", None)
            if choices is None or "opt_name" in choices:  # Optax's own options
                continue
            if {"opt_name", "optimizer"} & {*inspect.signature(method).parameters}:
                clauses[key] = tests, method
    return module, clauses


def factory_of(case):
    """Its constructor, whose learning rate says in Optax's way that it may vary."""

    @functools.wraps(case.factory)
    def factory(*args, **kwargs):
        return case.factory(*args, **kwargs)

    signature = inspect.signature(case.factory)
    parameters = [
        x.replace(annotation=optax.ScalarOrSchedule)
        if x.name == "learning_rate" and case.plain_name != "rprop"
        else x
        for x in signature.parameters.values()
    ]
    factory.__signature__ = signature.replace(parameters=parameters)
    return factory


def refuses(case, dtype):
    """Whether `init` refuses leaves of this dtype."""
    with jax.enable_x64(True):
        try:
            case.make().init(jnp.ones(2, dtype))
        except (TypeError, ValueError):
            return True
    return False


def arguments_of(case, method):
    """One dict for each combination of the clause's choices."""
    parameters = inspect.signature(method).parameters
    ours = {
        "opt_name": f"oxe.{case.name}",  # the suites skip clauses by their own names
        "opt_kwargs": case.settings,
        "optimizer": case.make(),
        "wrapper_name": None,
        "wrapper_kwargs": None,
    }
    ours = {key: x for key, x in ours.items() if key in parameters}
    for values in itertools.product(*method.choices.values()):
        yield ours | dict(zip(method.choices, values, strict=True))


def failures(name, clause, case):
    """The errors, by choices. Raises `SkipTest` if the suite skips them all."""
    module, clauses = suite(name)
    if clause not in clauses:
        raise unittest.SkipTest(f"optax {optax.__version__} does not have this test")
    tests, method = clauses[clause]
    factory = mock.Mock(return_value=factory_of(case))
    makers = {
        x: factory for x in ("_get_opt", "_get_opt_factory") if hasattr(module, x)
    }
    failed, reasons, passed = {}, [], 0
    for words in arguments_of(case, method):
        dtype = jnp.dtype(words.get("dtype", "float32"))
        is_complex = jnp.issubdtype(dtype, jnp.complexfloating)
        target = getattr(words.get("target"), "__name__", "")
        if is_complex and case.name == "lion" and clause in SOLVES:
            reasons.append("Optax's suite leaves it out, too")
            continue
        if is_complex and refuses(case, dtype):
            reasons.append("complex leaves are refused")
            continue
        if is_complex and case.name in SLOW and target == "_setup_rosenbrock":
            reasons.append("too slow for this problem")
            continue
        try:
            # The suite compares versions as strings, so that 0.10 comes before 0.7.
            version = mock.patch.object(jax, "__version__", "9")
            with mock.patch.dict(vars(module), makers), version:
                method(tests(), **words)
            passed += 1
        except unittest.SkipTest as reason:
            reasons.append(str(reason))
        except Exception as error:
            key = ", ".join(f"{x}={words[x]}" for x in method.choices)
            failed[key] = f"{type(error).__name__}: {str(error).strip()[:600]}"
    if not (passed or failed):
        raise unittest.SkipTest("; ".join(reasons))
    return failed


# The tests that solve problems need a learning rate each, and most of the time.
SOLVES = ("test_optimization", "test_optimizers")


def marks_of(of_suite, clause, name, quick):
    marks = [] if name == quick else [pytest.mark.full]
    why = NOT_INJECTED.get(name) or NOT_INJECTED.get(f"{name} ({of_suite})")
    if "inject_hyperparams" in clause and why:
        marks.append(pytest.mark.xfail(strict=True, reason=why))
    return marks


def each_clause(*, of_suite, clauses, quick=""):
    """Marked `full`, but for one optimizer."""
    return pytest.mark.parametrize(
        ("name", "clause", "case"),
        [
            pytest.param(
                of_suite,
                clause,
                case,
                id=f"{of_suite}-{clause}-{case.name}",
                marks=marks_of(of_suite, clause, case.name, quick),
            )
            for clause in clauses
            for case in CASES.values()
            if case.name in OURS or clause not in SOLVES
        ],
    )


CLAUSES = {
    "alias": (
        "test_optimization",
        "test_optimizers_accept_extra_args",
        "test_optimizers_can_be_wrapped_in_inject_hyperparams",
        "test_preserve_dtype",
        "test_state_shape_dtype_shard_stability",
        "test_gradient_accumulation",
    ),
    "contrib": (
        "test_optimizers",
        "test_optimizers_accept_extra_args",
        "test_optimizers_can_be_wrapped_in_inject_hyperparams",
        "test_preserve_dtype",
        "test_gradient_accumulation",
        "test_state_shape_dtype_shard_stability",
        "test_optimizers_accept_learning_rate_schedule_if_type_annotated_as_such",
    ),
    "sharding": (
        "test_init_with_abstract_input",
        "test_state_sharding_type_init_match_update",
        "test_state_sharding_type_preserved_with_jit",
    ),
}


@each_clause(of_suite="contrib", clauses=CLAUSES["contrib"], quick="adagrad")
def test_contrib(name, clause, case):
    assert failures(name, clause, case) == {}


@each_clause(of_suite="alias", clauses=CLAUSES["alias"])
def test_alias(name, clause, case):
    assert failures(name, clause, case) == {}


SHARDED = """
import json, sys, unittest
from tests.contract.test_optax_suites import CASES, CLAUSES, failures

report = {"failed": {}, "skipped": {}}
for clause in CLAUSES["sharding"]:
    for name in sys.argv[1:]:
        try:
            found = failures("sharding", clause, CASES[name])
        except unittest.SkipTest as reason:
            report["skipped"][clause] = str(reason)
        else:
            report["failed"] |= {f"{clause} {name}": x for x in found.values()}
print(json.dumps(report))
"""


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(OURS, marks=pytest.mark.ci),
        pytest.param(NAMESAKES, marks=pytest.mark.full),
    ],
    ids=["ours", "namesakes"],
)
def test_sharding(names):
    suite("sharding")  # a skip if there is none
    report = on_eight_devices(SHARDED, *names)
    assert report["failed"] == {}
    if report["skipped"]:
        pytest.skip(str(report["skipped"]))


@pytest.mark.full
@pytest.mark.parametrize("name", SUITES)
def test_every_clause_is_asked(name):
    """Those about any optimizer; others test options of Optax's alone."""
    found = {x.partition("__")[0] for x in suite(name)[1]}  # older ones have variants
    assert found <= {*CLAUSES[name]}
