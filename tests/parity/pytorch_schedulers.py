"""Run PyTorch's schedulers, and describe a scheduler so that both can be built."""

import inspect
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pytest

import optax_extras as oxe
from tests.parity.programs import quick_jit

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
lrs = torch.optim.lr_scheduler

CLOSE = 1e-11  # times the base learning rate
STEPS = 450
COUNTS = np.arange(STEPS)
PARTS = ("schedulers", "factors")


def class_of(name):
    """PyTorch's class of this name."""
    homes = (torch.optim, lrs, torch.optim.swa_utils)
    return next(getattr(home, name) for home in homes if hasattr(home, name))


def is_scheduler(name):
    """Whether it is a scheduler whose ``step`` takes no metric."""
    theirs = class_of(name)
    if issubclass(theirs, torch.optim.Optimizer):
        return False
    return "metrics" not in inspect.signature(theirs.step).parameters


# Functions have names in lower case: those that translate a state.
CLASSES = [name for name in oxe.pytorch.__all__ if name[0].isupper()]
SCHEDULERS = [name for name in CLASSES if is_scheduler(name)]


def optimizer(rate=0.1, kind=torch.optim.SGD, **options):
    return kind([torch.zeros(1, requires_grad=True)], lr=rate, **options)


def run(opt, make, steps):
    """The parameter group at the start of each update."""
    scheduler, seen = make(opt), []
    opt.step()  # a scheduler only checks that there was one
    for _ in range(steps - 1):
        seen.append(dict(opt.param_groups[0]))
        scheduler.step()
    return [*seen, dict(opt.param_groups[0])]


def rates(rate, make, steps):
    return np.array([group["lr"] for group in run(optimizer(rate), make, steps)])


def momentum(group):
    return group["betas"][0] if "betas" in group else group["momentum"]


def all_values(make):
    """The values in float64 of each schedule that `make` returns."""
    with jax.enable_x64(True):
        found = quick_jit(lambda t: [schedule(t) for schedule in make()])(COUNTS)
    assert all(x.dtype == np.float64 for x in found)
    return [np.asarray(x) for x in found]


def values(make, steps):
    """The values of one schedule."""
    return all_values(lambda: [make()])[0][:steps]


def assert_close(found, expected, scale=1.0, case=""):
    """Equal within `CLOSE` times a base learning rate."""
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected, 0, CLOSE * scale, err_msg=str(case))


@dataclass(frozen=True)
class Scheduler:
    """A scheduler: PyTorch's class name and arguments, with nested schedulers."""

    name: str
    words: dict[str, Any]
    lr: float = 1.0  # the scale of deviations if the arguments set the learning rates
    steps: int = STEPS

    def theirs(self, opt):
        words = {
            k: [part.theirs(opt) for part in x] if k in PARTS else x
            for k, x in self.words.items()
        }
        if self.name == "ChainedScheduler":
            return lrs.ChainedScheduler(words["factors"])
        if self.name == "MultiplicativeLR":
            words.pop("total_steps")
        return class_of(self.name)(opt, **words)

    def ours(self, lr=None):
        lr = self.lr if lr is None else lr
        within = 1.0 if self.name == "ChainedScheduler" else lr
        words = {
            k: [part.ours(within) for part in x] if k in PARTS else x
            for k, x in self.words.items()
        }
        make = getattr(oxe.pytorch, self.name)
        return make(lr, **words) if takes_lr(self.name) else make(**words)


def takes_lr(name):
    return "lr" in inspect.signature(getattr(oxe.pytorch, name)).parameters
