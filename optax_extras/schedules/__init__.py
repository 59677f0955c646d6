"""Learning-rate schedules: functions from the step count to a value.

Pass a schedule wherever Optax takes one, or call it with a step count to see its value.
Combine schedules with `warmup`, `cooldown`, `sequence`, `product` and `repeat`.

The step count is the number of updates already made, so the first update uses the value
at 0. It is an integer (of Python, NumPy or JAX) or an array of them; a float is
refused. A negative count is taken as 0, and one above 2**31 - 1 as 2**31 - 1. The value
has the shape of the count. It is float32 (float64 under x64), right to a few units in
the last place of the schedule's largest value.

All lengths count updates, never epochs. For a schedule that another library steps once
an epoch, divide the count: ``lambda t: schedule(t // updates_per_epoch)``.

Hyperparameters may be traced: real numbers for `vmap` and `grad`, numbers of steps for
`vmap`. The range of a traced number is not checked. A schedule that starts over has the
attribute `restarts` (step count -> bool), which `oxe.restart` reads.
"""

from optax_extras.schedules._compose import (
    product as product,
    repeat as repeat,
    sequence as sequence,
)
from optax_extras.schedules._cosine import cosine as cosine
from optax_extras.schedules._cyclic import cyclic as cyclic
from optax_extras.schedules._exponential import exponential as exponential
from optax_extras.schedules._inverse import (
    inverse_sqrt as inverse_sqrt,
    inverse_time as inverse_time,
)
from optax_extras.schedules._one_cycle import one_cycle as one_cycle
from optax_extras.schedules._piecewise import (
    multistep as multistep,
    piecewise_constant as piecewise_constant,
    step as step,
)
from optax_extras.schedules._polynomial import (
    linear as linear,
    polynomial as polynomial,
)
from optax_extras.schedules._ramps import cooldown as cooldown, warmup as warmup
from optax_extras.schedules._rex import rex as rex
from optax_extras.schedules._warm_restarts import warm_restarts as warm_restarts
from optax_extras.schedules._wsd import wsd as wsd

__all__ = [name for name in dir() if not name.startswith("_")]
