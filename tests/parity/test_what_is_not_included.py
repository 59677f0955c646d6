"""Every public name of PyTorch's and Keras' training rules: included, or why not.

A new name in a new version fails here until it is included or has a line below.
"""

import inspect
import os
from pathlib import Path

import pytest

import optax_extras as oxe

os.environ.setdefault("KERAS_BACKEND", "jax")
torch = pytest.importorskip("torch", reason="PyTorch is not installed")
keras = pytest.importorskip("keras", reason="Keras is not installed")
swa_utils = pytest.importorskip("torch.optim.swa_utils")

DOCS = Path(__file__).parents[2] / "docs"
BASE = "a base class: transformations and schedules are values"
SAVED = "states and arguments are plain trees and numbers, which any library saves"
# By module: the names that are not included, why, and what to write instead. A name
# with something to write has it in the migration guide, too.
PYTORCH = {
    torch.optim: {
        "LBFGS": "calls the loss several times in a step: `optax.lbfgs`",
        "SparseAdam": "gradients of JAX are dense: `oxe.adam`",
        "Optimizer": BASE,
        "lr_scheduler": "a module, below",
        "swa_utils": "a module, below",
        "swap_in_optimizer_params_and_state": "params and states are arguments",
    },
    torch.optim.lr_scheduler: {"LRScheduler": BASE},
    swa_utils: {
        "AveragedModel": "an average is in the state: `oxe.with_average`",
        "update_bn": "batch statistics belong to the model; see `averages.md`",
        "get_ema_avg_fn": "`oxe.averages.ema`",
        "get_ema_multi_avg_fn": "`oxe.averages.ema`",
        "get_swa_avg_fn": "`oxe.averages.uniform`",
        "get_swa_multi_avg_fn": "`oxe.averages.uniform`",
    },
}
LOOP = "no training rule: the loop is the user's"
KERAS = {
    keras.optimizers: {
        "Optimizer": BASE,
        "legacy": "raises an error in Keras, too",
        "schedules": "a module, below",
        **dict.fromkeys(("deserialize", "get", "serialize"), SAVED),
    },
    keras.optimizers.schedules: {
        "LearningRateSchedule": BASE,
        **dict.fromkeys(("deserialize", "serialize"), SAVED),
    },
    keras.callbacks: {
        "LearningRateScheduler": "a schedule is a function of the step count",
        "SwapEMAWeights": "the average is beside the params: `oxe.averaged`",
        **dict.fromkeys(("Callback", "CallbackList", "LambdaCallback"), BASE),
        **dict.fromkeys(
            (
                *("BackupAndRestore", "CSVLogger", "EarlyStopping", "History"),
                *("ModelCheckpoint", "OrbaxCheckpoint", "ProgbarLogger"),
                *("RemoteMonitor", "TensorBoard", "TerminateOnNaN"),
            ),
            LOOP,
        ),
    },
}
MODULES = [
    pytest.param(package, module, missing, id=module.__name__)
    for package, tables in ((oxe.pytorch, PYTORCH), (oxe.keras, KERAS))
    for module, missing in tables.items()
]
# The options of theirs that no function here has, and that each refuses by name.
THEIRS = {
    oxe.pytorch: {
        *("params", "foreach", "fused", "capturable", "differentiable"),
        *("optimizer", "last_epoch", "verbose"),
    },
    oxe.keras: {
        *("name", "clipnorm", "clipvalue", "global_clipnorm", "loss_scale_factor"),
        *("gradient_accumulation_steps", "verbose"),
    },
}
OTHER = {("ChainedScheduler", "schedulers")}  # here `factors`


def public(module):
    """The names of `__all__`, or those without an underscore."""
    listed = getattr(module, "__all__", None)
    return set(listed or (x for x in dir(module) if not x.startswith("_")))


@pytest.mark.parametrize(("package", "module", "missing"), MODULES)
def test_every_name_is_included_or_has_a_reason(package, module, missing):
    included = public(module) & set(package.__all__)
    assert public(module) - included == set(missing)


@pytest.mark.parametrize(("package", "module", "missing"), MODULES)
def test_every_option_is_included_or_refused(package, module, missing):
    for name in sorted(public(module) & set(package.__all__)):
        ours, theirs = getattr(package, name), getattr(module, name)
        mine = set(inspect.signature(ours).parameters)
        other = set(inspect.signature(theirs).parameters) - {"args", "kwargs"}
        other -= {option for x, option in OTHER if x == name}
        foreign = other - mine
        assert foreign <= THEIRS[package], name
        for option in foreign:
            message = f"^{name}: `{option}` must not be given"
            with pytest.raises(TypeError, match=message):
                ours(**{option: 1})


@pytest.mark.parametrize("library", ["pytorch", "keras"])
def test_the_guide_says_what_to_write(library):
    text = (DOCS / f"{library}.md").read_text(encoding="utf-8")
    tables = (PYTORCH if library == "pytorch" else KERAS).values()
    named = {x for names in tables for x, why in names.items() if "`" in why}
    assert not [name for name in named if name not in text]
