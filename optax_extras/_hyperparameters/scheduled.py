"""Any number of any optimizer as a schedule, in float32 for params of any dtype."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from optax_extras import _check_values, _errors
from optax_extras._checks import checked
from optax_extras._errors import refuse, refuse_kind
from optax_extras._hyperparameters._factory_arguments import (
    sources_in,
    with_new_numbers,
)
from optax_extras._learning_rates._source import CONSTANT, Number, Source
from optax_extras._leaves import cast_like, upcast_half, without_weak_type
from optax_extras._types import Params, State, Updates

_SOURCE = "_source"


class ScheduledState(NamedTuple):
    """State of an optimizer that `scheduled` made."""

    count: ArrayLike
    """Shape (), int32: updates made; it stops at 2**31 - 1."""
    hyperparams: dict[str, jax.Array]
    """By name, shape (), float32 (float64 under x64): the numbers of the last update;
    before any update those of the first, after an `observe` those of the next."""
    sources: dict[str, Any]
    """Where they come from, ``{kind: state of the source}``, by the name and "_source":
    ``optax.tree.set(state, learning_rate=0.1)`` does not find these."""
    inner_state: State
    """The state of the optimizer."""

    restarted_fields = ("inner_state",)

    def numbers(self) -> dict[str, Number]:
        """The numbers in this state, by name."""
        return {
            name: Number(value, self.sources[name + _SOURCE])
            for name, value in self.hyperparams.items()
        }

    def with_numbers(self, numbers: dict[str, Number]) -> "ScheduledState":
        """The state with other numbers."""
        return self._replace(
            hyperparams={name: x.value for name, x in numbers.items()},
            sources={name + _SOURCE: x.source for name, x in numbers.items()},
        )


@checked
def scheduled(
    factory: Callable[..., optax.GradientTransformation],
    *,
    static_args: str | Sequence[str] = (),
) -> Callable[..., optax.GradientTransformationExtraArgs]:
    """Lets any numeric argument of an optimizer be a schedule or a metric schedule.

    It is like ``optax.inject_hyperparams``, which stores numbers in the dtype of the
    params: in bfloat16 0.999 is 1, and Adam divides by 0. Here numbers are float32, and
    the updates and the state of the optimizer keep their dtypes. Read and set the
    numbers with :func:`hyperparameters` and :func:`set_hyperparameters`.

    The state, a `ScheduledState`, stores only arguments that are given, no defaults:

    * numbers (Python's, NumPy's, 0-d arrays) and metric schedules;
    * schedules, if the default or the annotation says that the argument takes numbers;
    * numbers and schedules in a tuple, as ``betas[0]``, and in a :func:`by_path` for an
      argument that takes numbers only, as ``b2[head/.*]``.

    Everything else goes to the factory unchanged: flags, dtypes, masks and other
    functions, trees. An integer is stored only if it cannot be a count: if the default
    is a float or, without a default, if there is no annotation or one that allows a
    float. All others go to the factory unchanged, as do those in ``**kwargs``. In an
    update, the optimizer gets float32 gradients, params and state in place of
    half-precision ones.

    `scheduled` gets the metric even if the optimizer inside drops extra args:
    ``oxe.scheduled(lambda lr: optax.lookahead(optax.sgd(lr), 5, 0.5))(plateau)``.

    Args:
      factory: The function that makes the optimizer, from `optax`, from this library or
        your own. Every update calls it, with arrays for the numbers.
      static_args: The name or names of arguments that go to the factory unchanged,
        because it needs their values.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_extras as oxe
      >>> cycle = oxe.schedules.one_cycle(1e-2, 1000)
      >>> tx = oxe.scheduled(optax.adamw)(cycle, b1=cycle.momentum, weight_decay=1e-3)
      >>> state = tx.init(jnp.ones(3, jnp.bfloat16))
      >>> state = oxe.set_hyperparameters(state, weight_decay=0.0)
      >>> sorted(oxe.hyperparameters(state))
      ['b1', 'learning_rate', 'weight_decay']

      PyTorch's momentum cycling:

      >>> cycle = oxe.pytorch.CyclicLR(0.01, 0.1, step_size_up=10)
      >>> tx = oxe.scheduled(oxe.pytorch.SGD)(lr=cycle, momentum=cycle.momentum)
    """
    signature = inspect.signature(factory)
    one = isinstance(static_args, str)
    named = [static_args] if one else _check_values.items("static_args", static_args)
    for name in named:
        if not isinstance(name, str):
            refuse_kind("static_args", "be names", name)
        if name not in signature.parameters:
            must = f"name arguments of the factory: {', '.join(signature.parameters)}"
            refuse("static_args", must, name)

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
        # Not the `BoundArguments`: Optimistix hashes what is in a closure.
        given = signature, tuple(bound.arguments.items()), len(args)
        return _transformation(factory, given, sources)

    return make


def _transformation(
    factory: Callable[..., optax.GradientTransformation],
    given: tuple[inspect.Signature, tuple[tuple[str, Any], ...], int],
    sources: dict[str, Source],
) -> optax.GradientTransformationExtraArgs:
    name = getattr(factory, "__name__", repr(factory))

    def make(numbers: dict[str, jax.Array]) -> optax.GradientTransformationExtraArgs:
        args, kwargs = with_new_numbers(*given, numbers)
        try:
            tx = _errors.named(name, factory)(*args, **kwargs)
        except jax.errors.ConcretizationTypeError as error:
            raise TypeError(
                f"scheduled: `{name}` must not need the value of a number. "
                "Name the argument whose value it needs in `static_args`."
            ) from error
        tx = _check_values.transformation("factory", tx, "return")
        return _errors.named_result(name, tx)

    not_constant = [x for x in sources.items() if x[1].kind != CONSTANT]
    # So that the factory refuses bad arguments at construction.
    make({name: source.init().value for name, source in not_constant})

    def init(params: Params) -> ScheduledState:
        numbers = {name: source.init() for name, source in sources.items()}
        values = {name: x.value for name, x in numbers.items()}
        inner = jax.tree.map(without_weak_type, make(values).init(params))
        state = ScheduledState(jnp.zeros((), jnp.int32), {}, {}, inner)
        return state.with_numbers(numbers)

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        if set(state.hyperparams) != set(sources):
            must = f"hold the numbers that are given, {sorted(sources)}"
            refuse("state", must, sorted(state.hyperparams))
        numbers = {
            name: source.step(state.count, state.numbers()[name], **extra)[1]
            for name, source in sources.items()
        }
        values = {name: x.value for name, x in numbers.items()}
        wide = jax.tree.map(upcast_half, (updates, state.inner_state, params))
        us, inner = make(values).update(*wide, **extra)
        us = jax.tree.map(cast_like, updates, us)
        inner = jax.tree.map(cast_like, state.inner_state, inner)
        count: Any = optax.safe_increment(state.count)
        return us, ScheduledState(count, {}, {}, inner).with_numbers(numbers)

    tx = optax.GradientTransformationExtraArgs(init, update)
    return _errors.named_result("scheduled", tx)
