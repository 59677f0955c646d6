"""Port a Keras run: Keras' optimizers, schedules and callbacks under their Keras names.

Copy the class names and arguments from your Keras code. Defaults and numbers are
Keras'; the results are Optax transformations and schedules.

>>> import optax_extras as oxe
>>> schedule = oxe.keras.CosineDecay(1e-3, decay_steps=1000)
>>> tx = oxe.keras.Adam(learning_rate=schedule, weight_decay=0.004)

As in Keras, schedules count updates. The count is 0 at the first update, and a count
below 0 is treated as 0. :func:`learning_rate` reads from the state the learning rate of
the last update.

As in Keras, weight decay is decoupled in every optimizer: `learning_rate` times
`weight_decay` times the params is subtracted, for which ``update`` needs the params.
For Keras' `exclude_from_weight_decay`, give a decay :func:`by_path`, such as
``weight_decay=oxe.by_path({".*bias": 0.0}, default=0.004)``.

These arguments of Keras' optimizers raise an error that says what to write instead:
`name`, `clipnorm`, `clipvalue`, `global_clipnorm`, `loss_scale_factor` and
`gradient_accumulation_steps`.

With ``use_ema=True`` the state holds the average that Keras keeps, in float32 at least.
Keras makes the params the average at the end of ``fit``: here :func:`averaged` reads
it. It leaves the params as they are but for `ema_overwrite_frequency`.

:func:`LossScaleOptimizer` and :func:`MultiOptimizer` wrap these and Optax's optimizers.
"""

# Optimizers.
from optax_extras.keras._adafactor import Adafactor as Adafactor
from optax_extras.keras._adams import (
    Adam as Adam,
    Adamax as Adamax,
    AdamW as AdamW,
    Nadam as Nadam,
)

# The optimizer's state.
from optax_extras.keras._load_variables import load_variables as load_variables

# More optimizers.
from optax_extras.keras._loss_scale_optimizer import (
    LossScaleOptimizer as LossScaleOptimizer,
)
from optax_extras.keras._multi_optimizer import (
    MultiOptimizer as MultiOptimizer,
    OptimizerMap as OptimizerMap,
)
from optax_extras.keras._muon import Muon as Muon
from optax_extras.keras._optimizers import (
    SGD as SGD,
    Adadelta as Adadelta,
    Adagrad as Adagrad,
    RMSprop as RMSprop,
)
from optax_extras.keras._other_rules import Ftrl as Ftrl, Lamb as Lamb, Lion as Lion

# The callback that reacts to a metric.
from optax_extras.keras._plateau import ReduceLROnPlateau as ReduceLROnPlateau

# The optimizer whose state has the weights for evaluation.
from optax_extras.keras._schedule_free import ScheduleFreeAdamW as ScheduleFreeAdamW

# Schedules.
from optax_extras.keras._schedules import (
    CosineDecay as CosineDecay,
    CosineDecayRestarts as CosineDecayRestarts,
    CyclicLR as CyclicLR,
    ExponentialDecay as ExponentialDecay,
    InverseTimeDecay as InverseTimeDecay,
    PiecewiseConstantDecay as PiecewiseConstantDecay,
    PolynomialDecay as PolynomialDecay,
)

__all__ = [name for name in dir() if not name.startswith("_")]
