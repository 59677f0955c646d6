"""Keras' optimizers and schedules, by its names and with its numbers.

Class names, arguments and defaults are Keras'; what comes out is an Optax
transformation or a schedule. Weight decay is decoupled for every one of them, as there;
to spare some weights, as `exclude_from_weight_decay` does, use `optax.partition`.

>>> import optax_extras as oxe
>>> tx = oxe.keras.Adam(learning_rate=1e-3, weight_decay=0.004)

Schedules count updates, as Keras' do: the first update sees 0, and a count below 0 is
taken for 0. The state of an optimizer answers to `oxe.learning_rate`; its update needs
the params where weights decay. Refused by name, with a word on what to do instead, are
the options of optimizers that are not part of the rule: `name`, `clipnorm`,
`clipvalue`, `global_clipnorm`, `use_ema`, `ema_momentum`, `ema_overwrite_frequency`,
`loss_scale_factor` and `gradient_accumulation_steps`.
"""

# Optimizers with an average of gradients and one of squares.
from optax_extras.keras._adam_family import (
    Adam as Adam,
    Adamax as Adamax,
    AdamW as AdamW,
    Nadam as Nadam,
)

# Optimizers with an average, or a sum, of squares alone.
from optax_extras.keras._adaptive import (
    Adadelta as Adadelta,
    Adagrad as Adagrad,
    RMSprop as RMSprop,
)

# The cycles of a callback.
from optax_extras.keras._cycles import CyclicLR as CyclicLR

# Schedules that decay.
from optax_extras.keras._decays import (
    CosineDecay as CosineDecay,
    CosineDecayRestarts as CosineDecayRestarts,
    ExponentialDecay as ExponentialDecay,
    InverseTimeDecay as InverseTimeDecay,
    PiecewiseConstantDecay as PiecewiseConstantDecay,
    PolynomialDecay as PolynomialDecay,
)

# The optimizer without a second moment.
from optax_extras.keras._gradient_descent import SGD as SGD

# The callback that answers to a metric.
from optax_extras.keras._plateau import ReduceLROnPlateau as ReduceLROnPlateau

__all__ = [name for name in dir() if not name.startswith("_")]
