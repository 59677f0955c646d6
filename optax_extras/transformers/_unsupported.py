"""What of transformers is not here, each with what to write instead."""

import functools
from typing import Any, NoReturn

from optax_extras._checks import checked, refuse_options

OPTIONS = {
    "optimizer": (
        "Give the base learning rate `lr` in its place, and pass the schedule to the "
        "optimizer as its learning rate."
    ),
    "last_epoch": "To resume a run, restore the optimizer state, which has the count.",
    "verbose": "Print `oxe.learning_rate(state)` where you want to see it.",
}
_of_schedulers = refuse_options("optimizer", **OPTIONS)


def _of_get_scheduler(_: str, args: tuple, kwargs: dict[str, Any]) -> None:
    """Its first argument is the name; that of the others comes second."""
    _of_schedulers("lr", args if "name" in kwargs else args[1:], kwargs)


scheduler = functools.partial(checked, before=_of_schedulers)
get_scheduler = functools.partial(checked, before=_of_get_scheduler)

_ADAFACTOR = (
    "With `relative_step=True`, Adafactor chooses its learning rate itself: write "
    "`oxe.adafactor(1e-2)`. With `relative_step=False` and `scale_parameter=False`, as "
    "in the Trainer, write `optax.adafactor(lr, min_dim_size_to_factor=1, "
    "multiply_by_parameter_scale=False)`."
)
_ADAFACTOR_SCHEDULE = (
    "It only reports the learning rate that Adafactor chooses itself. Write "
    "`oxe.adafactor(1e-2)`, without a schedule."
)
_PER_LAYER = (
    "It lets PyTorch update each weight inside of the backward pass. Under `jax.jit` "
    "pass the schedule to the optimizer as usual."
)
NOT_HERE = {
    "Adafactor": _ADAFACTOR,
    "AdafactorSchedule": _ADAFACTOR_SCHEDULE,
    "get_adafactor_schedule": _ADAFACTOR_SCHEDULE,
    "GreedyLR": "Call `oxe.transformers.get_greedy_schedule`, or `oxe.greedy`.",
    "StreamingAverage": "Give `window=` to `oxe.greedy`.",
    "LayerWiseDummyOptimizer": _PER_LAYER,
    "LayerWiseDummyScheduler": _PER_LAYER,
    "ReduceLROnPlateau": "Call `oxe.transformers.get_reduce_on_plateau_schedule`.",
    "LambdaLR": "Call `oxe.pytorch.LambdaLR`.",
    "SchedulerType": "Give its value, a str, to `oxe.transformers.get_scheduler`.",
    "TYPE_TO_SCHEDULER_FUNCTION": "Call `oxe.transformers.get_scheduler(name, lr)`.",
}


def _missing(name: str) -> NoReturn:
    """For the module's ``__getattr__``: says what to write instead."""
    hint = f" {NOT_HERE[name]}" if name in NOT_HERE else ""
    raise AttributeError(f"oxe.transformers has no `{name}`.{hint}")
