"""Port a run of Hugging Face's Trainer: the schedules of ``transformers``.

Copy the function names and arguments from your code. Defaults and numbers are those of
``transformers.optimization``; the results are schedules, and two metric schedules. The
base learning rate `lr` takes the place of the optimizer. For
``TrainingArguments(lr_scheduler_type=name)`` there is :func:`get_scheduler`.

>>> import optax_extras as oxe
>>> schedule = oxe.transformers.get_cosine_schedule_with_warmup(5e-5, 100, 1000)
>>> tx = oxe.pytorch.AdamW(lr=schedule, weight_decay=0.0)

A schedule counts **updates**, as the Trainer does: one for each optimizer step, however
many batches the step accumulates. The count is 0 at the first update, so that the
learning rate of the first update of a warm-up is 0, as in transformers. A count below 0
is treated as 0. The docstrings say what happens after the last training step.

Numbers of steps are whole numbers; transformers also computes with a fraction, which
raises a ValueError here. `optimizer`, `last_epoch` and `verbose` raise an error that
says what to write instead, and so do the names of ``transformers.optimization`` that
are not here, such as ``Adafactor``.
"""

# Cosine decays.
from optax_extras.transformers._cosine import (
    get_cosine_schedule_with_warmup as get_cosine_schedule_with_warmup,
    get_cosine_with_hard_restarts_schedule_with_warmup as get_cosine_with_hard_restarts_schedule_with_warmup,  # noqa: E501
    get_cosine_with_min_lr_schedule_with_warmup as get_cosine_with_min_lr_schedule_with_warmup,  # noqa: E501
    get_cosine_with_min_lr_schedule_with_warmup_lr_rate as get_cosine_with_min_lr_schedule_with_warmup_lr_rate,  # noqa: E501
)

# Constant learning rates and other decays.
from optax_extras.transformers._curves import (
    get_constant_schedule as get_constant_schedule,
    get_constant_schedule_with_warmup as get_constant_schedule_with_warmup,
    get_inverse_sqrt_schedule as get_inverse_sqrt_schedule,
    get_linear_schedule_with_warmup as get_linear_schedule_with_warmup,
    get_polynomial_decay_schedule_with_warmup as get_polynomial_decay_schedule_with_warmup,  # noqa: E501
)

# Learning rates that react to a metric.
from optax_extras.transformers._metric import (
    get_greedy_schedule as get_greedy_schedule,
    get_reduce_on_plateau_schedule as get_reduce_on_plateau_schedule,
)

# Any of them by the Trainer's name.
from optax_extras.transformers._scheduler import get_scheduler as get_scheduler

# Says what to write for the names of transformers that are not here.
from optax_extras.transformers._unsupported import _missing as __getattr__  # noqa: F401

# Warm-up, constant learning rate, decay.
from optax_extras.transformers._wsd import get_wsd_schedule as get_wsd_schedule

__all__ = [name for name in dir() if not name.startswith("_")]
