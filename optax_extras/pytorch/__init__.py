"""PyTorch's optimizers and schedulers, by its names and with its numbers.

Class names, arguments and defaults are PyTorch's; what comes out is an Optax
transformation or a schedule. An optimizer leaves out `params` and takes a schedule for
its `lr`; a scheduler takes the base rate in the place of the optimizer.

>>> import optax_extras as oxe
>>> tx = oxe.pytorch.AdamW(lr=1e-3, weight_decay=0.05)

A scheduler counts **updates**. In PyTorch it counts the calls of ``scheduler.step()``,
of which many programs make one an epoch: multiply their `step_size`, `T_max`,
`milestones` and so on by the updates in an epoch. The first update sees 0, and a count
below 0 is taken for 0. Where it is not said how a schedule ends, it goes on for ever.

The state of an optimizer answers to `oxe.learning_rate`; its update needs the params
where weights decay. Refused by name, with a word on what to do instead, are `params`,
`foreach`, `fused`, `capturable` and `differentiable` of optimizers, and `optimizer`,
`last_epoch` and `verbose` of schedulers.

Parameter groups are `optax.partition`: a label for each leaf, and an optimizer for each
label.

>>> import jax.numpy as jnp
>>> import optax
>>> params = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}
>>> groups = {
...     "decay": oxe.pytorch.AdamW(lr=1e-3, weight_decay=0.05),
...     "no decay": oxe.pytorch.AdamW(lr=1e-3, weight_decay=0.0),
... }
>>> tx = optax.partition(groups, {"w": "decay", "b": "no decay"})
>>> state = tx.init(params)

PyTorch works on a complex parameter as on two real ones, where our rules use the
absolute value of the gradient; `optax.contrib.split_real_and_imaginary` around an
optimizer gives PyTorch's numbers. LBFGS and SparseAdam are not here.
"""

# Optimizers with an average of gradients and one of squares.
from optax_extras.pytorch._adam_family import (
    Adam as Adam,
    Adamax as Adamax,
    AdamW as AdamW,
    NAdam as NAdam,
    RAdam as RAdam,
)

# Optimizers with an average, or a sum, of squares alone.
from optax_extras.pytorch._adaptive import (
    Adadelta as Adadelta,
    Adagrad as Adagrad,
    RMSprop as RMSprop,
)

# Schedulers that anneal: along a cosine, and to the rate of SWA.
from optax_extras.pytorch._annealing import (
    SWALR as SWALR,
    CosineAnnealingLR as CosineAnnealingLR,
    CosineAnnealingWarmRestarts as CosineAnnealingWarmRestarts,
)

# Schedulers made of schedulers.
from optax_extras.pytorch._composed import (
    ChainedScheduler as ChainedScheduler,
    SequentialLR as SequentialLR,
)

# Schedulers that cycle the momentum with the rate.
from optax_extras.pytorch._cycles import CyclicLR as CyclicLR, OneCycleLR as OneCycleLR

# Schedulers that fall, or rise, and then stay.
from optax_extras.pytorch._decays import (
    ConstantLR as ConstantLR,
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
    Rprop as Rprop,
)

# Schedulers made of functions.
from optax_extras.pytorch._lambdas import (
    LambdaLR as LambdaLR,
    MultiplicativeLR as MultiplicativeLR,
)

# Optimizers that know a matrix from a vector.
from optax_extras.pytorch._matrices import Adafactor as Adafactor, Muon as Muon

# The scheduler that answers to a metric.
from optax_extras.pytorch._plateau import ReduceLROnPlateau as ReduceLROnPlateau

__all__ = [name for name in dir() if not name.startswith("_")]
