"""Any number of any optimizer as a schedule, in float32 whatever the params are."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras._hyperparameters._factory_arguments import filled, sources_in
from optax_extras._learning_rates._source import SCHEDULE, STATEFUL, Source
from optax_extras._numerics import like, strong, wide


class ScheduledState(NamedTuple):
    """State of an optimizer that `scheduled` made."""

    count: ArrayLike
    """Shape (), int32: updates made; it stops at 2**31 - 1."""
    hyperparams: dict[str, jax.Array]
    """By name, shape (), float32 (float64 under x64): the numbers of the last update,
    before any update those of the first, after an `observe` those of the next."""
    sources: dict[str, Any]
    """By name where they come from: ``{kind: state of the source}``."""
    inner_state: Any
    """The state of the optimizer itself."""


def scheduled(
    factory: Callable[..., optax.GradientTransformation],
    *,
    static_args: str | Sequence[str] = (),
) -> Callable[..., optax.GradientTransformationExtraArgs]:
    """Lets every number that an optimizer takes be a schedule or a metric schedule.

    Like ``optax.inject_hyperparams``, which keeps numbers in the dtype of the params:
    in bfloat16 0.999 is 1, and Adam divides by 0. Here they are float32, and the
    updates and the state of the optimizer keep their dtypes. Numbers may be read and
    set: :func:`hyperparameters`, :func:`set_hyperparameters`.

    Only arguments that are given are held in the state, no defaults; and of those:
    numbers (Python's, NumPy's, 0-d arrays); metric schedules; schedules, where default
    or annotation says that the argument takes numbers; numbers and schedules in a
    tuple, as ``betas[0]``. All else goes to the factory as it is: flags, dtypes, masks
    and other functions, trees, and integers that may count something, that is where the
    default is no float, the annotation is ``int``, or the argument is one of
    ``**kwargs``. In an update the optimizer sees float32 in the place of half
    precision.

    Around a wrapper that drops extra args it keeps the metric:
    ``oxe.scheduled(lambda rate: optax.lookahead(optax.sgd(rate), 5, 0.5))(plateau)``.

    Args:
      factory: What makes the optimizer: a function of `optax`, of this library, of your
        own. It is called anew in every update, with arrays for the numbers.
      static_args: The name or names of arguments that go to the factory as they are,
        because it has to know their values.

    Returns:
      A function of the same arguments, that returns an
      `optax.GradientTransformationExtraArgs` with a `ScheduledState`.

    Raises:
      ValueError: If `static_args` names no argument of `factory`; in `update`, if
        `state` holds other numbers than those that are given.
      TypeError: If `factory` is no function or `static_args` no names; when the
        optimizer is made or used, if `factory` has to know a number or returns no
        transformation. What `factory` itself refuses is refused when it is made.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_extras as oxe
      >>> rate = oxe.schedules.one_cycle(1e-2, 1000)
      >>> tx = oxe.scheduled(optax.adamw)(rate, b1=rate.momentum, weight_decay=1e-3)
      >>> state = tx.init(jnp.ones(3, jnp.bfloat16))
      >>> state = oxe.set_hyperparameters(state, weight_decay=0.0)
      >>> sorted(oxe.hyperparameters(state))
      ['b1', 'learning_rate', 'weight_decay']

      PyTorch's momentum cycling:

      >>> rate = oxe.pytorch.CyclicLR(0.01, 0.1, step_size_up=10)
      >>> tx = oxe.scheduled(oxe.pytorch.SGD)(lr=rate, momentum=rate.momentum)
    """
    rule = "scheduled"
    _checks.function(rule, "factory", factory)
    signature = inspect.signature(factory)
    one = isinstance(static_args, str)
    named = [static_args] if one else _checks.items(rule, "static_args", static_args)
    for name in named:
        if not isinstance(name, str):
            _checks.refuse_kind(rule, "static_args", "be names", name)
        if name not in signature.parameters:
            must = f"name arguments of the factory: {', '.join(signature.parameters)}"
            _checks.refuse(rule, "static_args", must, name)

    @functools.wraps(factory)
    def make(*args: Any, **kwargs: Any) -> optax.GradientTransformationExtraArgs:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            name = getattr(factory, "__name__", repr(factory))
            raise TypeError(f"scheduled: `{name}` cannot be called: {error}.") from None
        sources: dict[str, Source] = {}
        for name, given in bound.arguments.items():
            if name not in named:
                sources |= sources_in(name, signature.parameters[name], given)
        return _transformation(factory, bound, len(args), sources)

    return make


def _transformation(
    factory: Callable[..., optax.GradientTransformation],
    bound: inspect.BoundArguments,
    unnamed: int,
    sources: dict[str, Source],
) -> optax.GradientTransformationExtraArgs:
    def made(numbers: dict[str, jax.Array]) -> optax.GradientTransformationExtraArgs:
        args, kwargs = filled(bound, unnamed, numbers)
        try:
            tx = factory(*args, **kwargs)
        except jax.errors.ConcretizationTypeError as error:
            name = getattr(factory, "__name__", repr(factory))
            raise TypeError(
                f"scheduled: `{name}` must do without the values of its numbers, but "
                "needs to know one. Name that argument in `static_args`."
            ) from error
        return _checks.transformation("scheduled", "factory", tx, "return")

    scheduled_ones = [x for x in sources.items() if x[1].kind in (SCHEDULE, STATEFUL)]
    made({name: source.init()[0] for name, source in scheduled_ones})  # may refuse

    def init(params: Any) -> ScheduledState:
        first = {name: source.init() for name, source in sources.items()}
        numbers = {name: value for name, (value, _) in first.items()}
        kept = {name: own for name, (_, own) in first.items()}
        inner = jax.tree.map(strong, made(numbers).init(params))
        return ScheduledState(jnp.zeros((), jnp.int32), numbers, kept, inner)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any):
        if set(state.hyperparams) != set(sources):
            must = f"hold the numbers that are given, {sorted(sources)}"
            _checks.refuse("scheduled", "state", must, sorted(state.hyperparams))
        numbers = {
            name: source.now(state.count, state.hyperparams[name], state.sources[name])
            for name, source in sources.items()
        }
        given = jax.tree.map(wide, (updates, state.inner_state, params))
        us, inner = made(numbers).update(*given, **extra)
        us = jax.tree.map(like, updates, us)
        inner = jax.tree.map(like, state.inner_state, inner)
        kept = {
            name: source.after(state.sources[name], **extra)
            for name, source in sources.items()
        }
        count: Any = optax.safe_increment(state.count)
        return us, ScheduledState(count, numbers, kept, inner)

    return optax.GradientTransformationExtraArgs(init, update)
