"""Port a run of timm: timm's schedulers under their timm names.

Copy the class names and arguments from your timm code. The base learning rate `lr`
takes the place of the optimizer; names, order, defaults and numbers are timm's. The
results are schedules of the update count, and `PlateauLRScheduler` a metric schedule.

>>> import optax
>>> import optax_extras as oxe
>>> schedule = oxe.timm.CosineLRScheduler(
...     1e-3, t_initial=300, warmup_t=5, warmup_lr_init=1e-5, updates_per_epoch=1251
... )
>>> tx = optax.adamw(schedule, weight_decay=0.05)

**What t counts.** In timm a schedule counts epochs, unless ``t_in_epochs=False``. Give
one that counts epochs `updates_per_epoch`: an optimizer calls it with the number of
updates, and it holds its value for so many of them. Without, it is a function of t
itself, and in an optimizer t counts updates. Either way t is 0 at the first update: t
is timm's ``epoch`` or ``num_updates`` *before* the epoch or the update. As in timm's
training, the first value is `warmup_lr_init` with a warm-up and `lr` without.

These arguments raise an error that says what to write instead: `optimizer`,
`initialize`, `noise_range_t`, `noise_type`, `noise_pct`, `noise_std` and `noise_seed`.
"""

# Schedulers that decay in cycles.
from optax_extras.timm._cycles import (
    CosineLRScheduler as CosineLRScheduler,
    PolyLRScheduler as PolyLRScheduler,
    TanhLRScheduler as TanhLRScheduler,
)

# The scheduler that reacts to a metric.
from optax_extras.timm._plateau import PlateauLRScheduler as PlateauLRScheduler

# Schedulers that are constant between steps.
from optax_extras.timm._steps import (
    MultiStepLRScheduler as MultiStepLRScheduler,
    StepLRScheduler as StepLRScheduler,
)

# Warm-up, stable phase and decay.
from optax_extras.timm._wsd import WSDLRScheduler as WSDLRScheduler

__all__ = [name for name in dir() if not name.startswith("_")]
