"""Averages of the weights, for `oxe.with_average`.

An average is a value, which says how much of the weights after each update it takes::

    tx = oxe.with_average(oxe.adamw(1e-3), oxe.averages.ema(0.999))
    params_for_evaluation = oxe.averaged(state)

The count is the number of updates of the average, 1 at the first. An average is of the
weights after the update. Until it begins (`start`) it is a copy of the weights, so that
it can always be evaluated. All lengths count updates, or, if `every` is above 1,
snapshots of the weights.

A decay of the learning rate has an average that ends in nearly the same weights:
`decay` forms it during the training, and `rebuild` after it, from snapshots of two
`power` averages.

Hyperparameters may be traced, as those of schedules. The weights :math:`c_t` are
float32 (float64 under x64), right to a few units in the last place.
"""

from optax_extras.averages._average import Average as Average
from optax_extras.averages._decay import decay as decay
from optax_extras.averages._ema import ema as ema
from optax_extras.averages._power import (
    half_life_fraction as half_life_fraction,
    power as power,
)
from optax_extras.averages._rebuild import Rebuilt as Rebuilt, rebuild as rebuild
from optax_extras.averages._snapshot import Snapshot as Snapshot, snapshot as snapshot
from optax_extras.averages._uniform import uniform as uniform
from optax_extras.averages._warmup import (
    num_updates_warmup as num_updates_warmup,
    warmup as warmup,
)

__all__ = [name for name in dir() if not name.startswith("_")]
