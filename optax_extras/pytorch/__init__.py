"""Port a PyTorch run: PyTorch's optimizers and schedulers under their PyTorch names.

Copy the class names and arguments from your PyTorch code. Defaults and numbers are
PyTorch's; the results are Optax transformations and schedules. An optimizer takes no
`params`, and its `lr` may be a schedule. A scheduler takes the base learning rate `lr`
in place of the optimizer, except `OneCycleLR`, `CyclicLR` and `SequentialLR`, which
take neither.

>>> import optax_extras as oxe
>>> schedule = oxe.pytorch.CosineAnnealingLR(1e-3, T_max=1000)
>>> tx = oxe.pytorch.AdamW(lr=schedule, weight_decay=0.05)

A schedule counts **updates**. PyTorch counts the calls of ``scheduler.step()``, which
many programs make once an epoch. For their numbers, divide the count: with n updates in
an epoch and a `schedule` in epochs, pass ``lambda t: schedule(t // n)``. The count is 0
at the first update, and a count below 0 is treated as 0. A schedule continues forever
unless its docstring says how it ends.

:func:`learning_rate` reads from the state the learning rate of the last update.
``update`` needs the params if weights decay. These arguments raise an error that says
what to write instead: `params`, `foreach`, `fused`, `capturable` and `differentiable`
of optimizers; `optimizer`, `last_epoch` and `verbose` of schedulers.

Parameter groups are numbers that depend on the path of a param, by :func:`by_path`:

>>> decay = oxe.by_path({".*bias": 0.0}, default=0.05)
>>> tx = oxe.pytorch.AdamW(lr=1e-3, weight_decay=decay)

PyTorch treats a complex parameter as two real ones; our rules use the absolute value of
the gradient. For PyTorch's numbers, wrap the optimizer in
`optax.contrib.split_real_and_imaginary`. LBFGS and SparseAdam are not included.
"""

# Optimizers with a second moment.
from optax_extras.pytorch._adaptive import (
    Adadelta as Adadelta,
    Adafactor as Adafactor,
    Adagrad as Adagrad,
    Adam as Adam,
    Adamax as Adamax,
    AdamW as AdamW,
    NAdam as NAdam,
    RAdam as RAdam,
    RMSprop as RMSprop,
)

# Schedulers composed of functions and of other schedulers.
from optax_extras.pytorch._composed import (
    ChainedScheduler as ChainedScheduler,
    LambdaLR as LambdaLR,
    MultiplicativeLR as MultiplicativeLR,
    SequentialLR as SequentialLR,
)

# Schedulers that follow a formula of the count.
from optax_extras.pytorch._curves import (
    SWALR as SWALR,
    ConstantLR as ConstantLR,
    CosineAnnealingLR as CosineAnnealingLR,
    CosineAnnealingWarmRestarts as CosineAnnealingWarmRestarts,
    ExponentialLR as ExponentialLR,
    LinearLR as LinearLR,
    MultiStepLR as MultiStepLR,
    PolynomialLR as PolynomialLR,
    StepLR as StepLR,
)

# Optimizers without a second moment.
from optax_extras.pytorch._gradient_descent import (
    ASGD as ASGD,
    SGD as SGD,
    Muon as Muon,
    Rprop as Rprop,
)

# A state from PyTorch's.
from optax_extras.pytorch._load_state_dict import load_state_dict as load_state_dict

# Schedulers that also cycle the momentum.
from optax_extras.pytorch._momentum_cycles import (
    CyclicLR as CyclicLR,
    OneCycleLR as OneCycleLR,
)

# The scheduler that reacts to a metric.
from optax_extras.pytorch._plateau import ReduceLROnPlateau as ReduceLROnPlateau

# The state as PyTorch has it.
from optax_extras.pytorch._state_dict import state_dict as state_dict

__all__ = [name for name in dir() if not name.startswith("_")]
