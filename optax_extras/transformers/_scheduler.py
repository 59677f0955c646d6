"""Any schedule by the name that the Trainer gives it."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from optax_extras._check_values import choice
from optax_extras._checks import NonNegative
from optax_extras._errors import refusal, refuse, refuse_kind
from optax_extras._learning_rates.metric_schedule import MetricSchedule
from optax_extras.schedules._curve import Schedule
from optax_extras.transformers import _cosine, _curves, _metric, _unsupported, _wsd

SCHEDULERS: dict[str, Callable[..., Any]] = {
    "linear": _curves.get_linear_schedule_with_warmup,
    "cosine": _cosine.get_cosine_schedule_with_warmup,
    "cosine_with_restarts": _cosine.get_cosine_with_hard_restarts_schedule_with_warmup,
    "polynomial": _curves.get_polynomial_decay_schedule_with_warmup,
    "constant": _curves.get_constant_schedule,
    "constant_with_warmup": _curves.get_constant_schedule_with_warmup,
    "inverse_sqrt": _curves.get_inverse_sqrt_schedule,
    "reduce_lr_on_plateau": _metric.get_reduce_on_plateau_schedule,
    "cosine_with_min_lr": _cosine.get_cosine_with_min_lr_schedule_with_warmup,
    "cosine_warmup_with_min_lr": (
        _cosine.get_cosine_with_min_lr_schedule_with_warmup_lr_rate
    ),
    "warmup_stable_decay": _wsd.get_wsd_schedule,
    "greedy": _metric.get_greedy_schedule,
}


@_unsupported.get_scheduler
def get_scheduler(
    name: Any,
    lr: NonNegative,
    num_warmup_steps: Any = None,
    num_training_steps: Any = None,
    scheduler_specific_kwargs: Mapping[str, Any] | None = None,
) -> Schedule | MetricSchedule:
    """Transformers' ``get_scheduler``: the schedule of a ``lr_scheduler_type``.

    A schedule takes the numbers of steps that it has as arguments and ignores the
    others: ``"constant"`` has **no** warm-up, whatever `num_warmup_steps` is.
    Transformers also ignores `scheduler_specific_kwargs` for ``"constant"`` and
    ``"constant_with_warmup"``; its documentation promises a TypeError for arguments
    that do not fit, which is raised here.

    Args:
      name: ``"linear"``, ``"cosine"``, ``"cosine_with_restarts"``, ``"polynomial"``,
        ``"constant"``, ``"constant_with_warmup"``, ``"inverse_sqrt"``,
        ``"reduce_lr_on_plateau"``, ``"cosine_with_min_lr"``,
        ``"cosine_warmup_with_min_lr"``, ``"warmup_stable_decay"`` or ``"greedy"``; or
        a member of transformers' ``SchedulerType``.
      lr: The base learning rate.
      num_warmup_steps: Updates of the warm-up, for the schedules that have one.
      num_training_steps: Updates of the run, for the schedules that have an end.
      scheduler_specific_kwargs: Other arguments of the schedule's function, as in
        ``lr_scheduler_kwargs``.

    Returns:
      A metric schedule for ``"reduce_lr_on_plateau"`` and ``"greedy"``, else a
      schedule.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.transformers.get_scheduler(
      ...     "polynomial", 0.1, 10, 110, scheduler_specific_kwargs={"power": 2.0}
      ... )
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 60, 110)]
      [0.0, 0.05, 0.1, 0.025, 0.0]
    """
    name = choice("name", getattr(name, "value", name), list(SCHEDULERS))
    make = SCHEDULERS[name]
    arguments = inspect.signature(make).parameters
    given = {
        "num_warmup_steps": num_warmup_steps,
        "num_training_steps": num_training_steps,
    }
    steps = {argument: x for argument, x in given.items() if argument in arguments}
    for argument, x in steps.items():
        if x is None and arguments[argument].default is inspect.Parameter.empty:
            refuse(argument, f"be given for {name!r}", x)

    more = {} if scheduler_specific_kwargs is None else scheduler_specific_kwargs
    if not isinstance(more, Mapping):
        refuse_kind("scheduler_specific_kwargs", "be a dict or None", more)
    instead = _unsupported.OPTIONS | {
        argument: f"Give `{argument}` to `get_scheduler` itself."
        for argument in ("lr", *given)
    }
    for argument in filter(instead.__contains__, more):
        must, hint = f"not have {argument!r}", instead[argument]
        raise refusal(TypeError, "scheduler_specific_kwargs", must, repr(more), hint)
    try:
        inspect.signature(make).bind(lr, **steps, **more)
    except TypeError as error:
        must = f"be arguments of `{make.__name__}` ({error})"
        raise refusal(
            TypeError, "scheduler_specific_kwargs", must, repr(more), ""
        ) from None
    return make(lr, **steps, **more)
