"""Numbers of an optimizer: where each comes from, and how a state holds it.

A number comes from a constant, a schedule or a stateful schedule (a metric schedule).
A state holds its value and a dict of one entry, ``{kind: state of the source}``. The
kind is a key of the dict, and so part of the tree structure, because code inside `jit`
has to know whether a number can be set.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_extras._boxes import unboxed_array
from optax_extras._check_values import is_traced, returned
from optax_extras._errors import refuse
from optax_extras._leaves import in_dtype_of
from optax_extras._lifted import is_by_path
from optax_extras._numerics import as_float
from optax_extras._types import State

CONSTANT, SCHEDULE, STATEFUL = "constant", "schedule", "stateful"


class Number(NamedTuple):
    """A number in a state, and its source: ``{kind: state of the source}``."""

    value: jax.Array
    source: Any

    @property
    def kind(self) -> str:
        """`CONSTANT`, `SCHEDULE` or `STATEFUL`."""
        (kind,) = self.source
        return kind

    def with_fields(self, fields: dict[str, Any]) -> "Number":
        """The number with other fields, also in the state of its metric schedule."""
        if not fields:
            return self
        number = self.with_value(fields.get("value", self.value))
        if self.kind != STATEFUL:
            return number

        def replaced(state: State) -> Any:
            return state._replace(
                **{
                    name: jnp.broadcast_to(
                        in_dtype_of(getattr(state, name), x),
                        jnp.shape(getattr(state, name)),
                    )
                    for name, x in fields.items()
                }
            )

        states = self.source[STATEFUL].items()
        source = {STATEFUL: {name: replaced(state) for name, state in states}}
        return number._replace(source=source)

    def with_value(self, value: Any) -> "Number":
        """The number with another value, in the same shape and dtype."""
        new = jnp.broadcast_to(as_float(value), jnp.shape(self.value))
        return self._replace(value=new.astype(jnp.result_type(self.value)))


class RateState(NamedTuple):
    """A learning rate in a state, for `learning_rate(state)` to read."""

    learning_rate: jax.Array
    """Shape (), float32 (float64 under x64): the learning rate of the last update;
    before any update that of the first, after an `observe` that of the next."""
    source: Any = None
    """Where it comes from: ``{kind: state of the source}``. None only in the second
    phase of ``swats(paper=True)``, whose learning rate the switch sets."""

    restarted_fields = ()

    def numbers(self) -> dict[str, Number]:
        """The numbers in this state, by name."""
        # The user cannot set what the switch sets: it counts as a schedule.
        source = {SCHEDULE: ()} if self.source is None else self.source
        return {"learning_rate": Number(self.learning_rate, source)}

    def with_numbers(self, numbers: dict[str, Number]) -> "RateState":
        """The state with other numbers."""
        new = numbers["learning_rate"]
        source = None if self.source is None else new.source
        return RateState(new.value, source)

    def applied_rate(self) -> jax.Array:
        """The learning rate that the last update was multiplied by."""
        return self.learning_rate


class RateFactor(NamedTuple):
    """A factor of the learning rate, for `learning_rate(state)` to read.

    The direction of SWATS contains such a factor after the switch.
    """

    rate_factor: jax.Array
    """Shape (), float32 (float64 under x64)."""

    def applied_factor(self) -> jax.Array:
        """The factor of the learning rate in the last update."""
        return self.rate_factor


# A tuple, because code that hashes closures, as Optimistix does, looks into it: the
# schedules of two equal optimizers are equal then, and it compiles once.
class Source(NamedTuple):
    """What the user gave for one number; makes and steps the state that holds it.

    A Python or NumPy number is stored in the state, where it can be set. A `jax.Array`
    or a tracer stays in the closure and wins over the state, so that
    `optax.inject_hyperparams` and `vmap` can replace it from outside.
    """

    argument: str
    """The name of the argument, for errors."""
    given: Any
    """What the user gave: a number, a schedule or a stateful schedule."""
    state_type: Callable[[jax.Array, Any], Any] = Number
    """A NamedTuple of two fields, like `Number`."""

    @property
    def kind(self) -> str:
        """`CONSTANT`, `SCHEDULE` or `STATEFUL`."""
        if isinstance(self.given, optax.schedules.StatefulSchedule):
            return STATEFUL
        return SCHEDULE if callable(self.given) else CONSTANT

    @property
    def needs_metric(self) -> bool:
        """Whether the number follows a metric."""
        return self.kind == STATEFUL

    def init(self) -> Any:
        """The state before any update."""
        kind, source_state = self.kind, ()
        if kind == STATEFUL:
            source_state = self.given.init()
            value = self._returned(self.given(source_state))
        elif kind == SCHEDULE:
            value = self._returned(self.given(jnp.zeros((), jnp.int32)))
        else:
            value = as_float(self.given)
        return self.state_type(value, {kind: source_state})

    def value_at(self, count: Any, state: State) -> tuple[jax.Array, Any]:
        """The number after `count` updates, and the state with it."""
        old, source = self._without_groups(state)
        self._check(source)
        if self.kind == STATEFUL:
            value = self._returned(self.given(source[STATEFUL]))
        elif self.kind == SCHEDULE:
            value = self._returned(self.given(count))
        else:
            value = as_float(self.given if isinstance(self.given, jax.Array) else old)
        value = value.astype(jnp.result_type(old))
        return value, self.state_type(value, source)

    def observe(self, state: State, /, **extra: Any) -> Any:
        """The state after an update with these extra args."""
        if not self.needs_metric:
            return state
        value, source = self._without_groups(state)
        new = self.given.update(source[STATEFUL], **extra)
        return self.state_type(value, {STATEFUL: new})

    def step(self, count: Any, state: State, /, **extra: Any) -> tuple[jax.Array, Any]:
        """The number for an update, and the state after that update."""
        value, state = self.value_at(count, state)
        return value, self.observe(state, **extra)

    def _returned(self, value: Any) -> jax.Array:
        return as_float(returned(self.argument, self.given, value))

    def _without_groups(self, state: State) -> Any:
        """The state for this one source; `state` may be of a number by path.

        A metric schedule then continues that of the first group that has one. Any
        other number is the one that was given, as in a first state.
        """
        if not isinstance(state, NumbersByPath):
            return state
        every = [*state.times.values(), *state.groups.values()]
        same = [x for x in every if STATEFUL in x[1] and self.needs_metric]
        return same[0] if same else self.init()

    def _check(self, source: Any) -> None:
        """Refuses a metric schedule's state for another number, and the reverse."""
        if source is not None and (STATEFUL in source) != (self.kind == STATEFUL):
            kind = "a metric" if self.kind == STATEFUL else "no metric"
            must = f"be of an optimizer with {kind} schedule for `{self.argument}`"
            refuse("state", must, [*source])


def starts_at_zero(rate: Source) -> bool:
    """Whether a schedule is known to be 0 at step 0.

    `scheduled` and `inject_hyperparams` make an array of the schedule's value, so an
    array of 0 counts as a schedule; a plain 0.0 does not.
    """
    first, _ = rate.init()
    varies = callable(rate.given) or isinstance(rate.given, jax.Array)
    return varies and not is_traced(first) and bool(jnp.all(first == 0))


def rises(rate: Source) -> bool:
    """Whether a schedule is known to rise above its first value, as a warm-up does."""
    if rate.kind != SCHEDULE:
        return False
    first = rate.init()
    some = [rate.value_at(jnp.asarray(10**k), first)[0] for k in range(6)]
    known = not any(map(is_traced, [first[0], *some]))
    return known and any(bool(jnp.any(x > first[0])) for x in some)


def as_rate(argument: str, x: Any) -> Source:
    """The source of a learning rate, which a `RateState` holds."""
    if is_by_path(x):
        must = "be one number or schedule in this optimizer"
        hint = "Give each group an optimizer of its own with `optax.partition`."
        refuse(argument, must, x, hint)
    return Source(argument, x, RateState)


class NumbersByPath(NamedTuple):
    """The numbers of groups, by names such as ``"head/.*/learning_rate"``."""

    groups: dict[str, Any]
    """Schedules and vectors: the state of each is that of a number without groups."""
    times: dict[str, Any]
    """The factor of all groups, as ``"times/learning_rate"``; or empty."""
    constants: dict
    """The names of the constants, which are in one vector: each array in a state costs
    a microsecond or two of every step."""
    values: jax.Array
    """Their numbers, in the order of the sorted names."""

    restarted_fields = ()

    @classmethod
    def empty(cls) -> "NumbersByPath":
        """Without groups."""
        return cls({}, {}, {}, as_float(()))

    def rows(self) -> dict[str, jax.Array]:
        """The constants by name, not multiplied by `times`."""
        if not self.constants:
            return {}
        values = unboxed_array(self.values)
        return {name: values[i] for i, name in enumerate(sorted(self.constants))}

    def numbers(self) -> dict[str, Number]:
        """The numbers that are applied, by name; with `times` they cannot be set."""
        found = {name: Number(*x) for name, x in {**self.times, **self.groups}.items()}
        found |= {name: Number(x, {CONSTANT: ()}) for name, x in self.rows().items()}
        for name, (value, source) in found.items() if self.times else ():
            if name not in self.times:
                (factor, _) = next(iter(self.times.values()))
                # A product cannot be set: it counts as a schedule.
                shown = source if STATEFUL in source else {SCHEDULE: ()}
                product = unboxed_array(value) * unboxed_array(factor)
                found[name] = Number(product, shown)
        return found

    def with_numbers(self, numbers: dict[str, Number]) -> "NumbersByPath":
        """The state with other numbers."""
        times = {name: type(x)(*numbers[name]) for name, x in self.times.items()}
        groups = {}
        for name, old in self.groups.items():
            value, source = numbers[name]
            if times:  # the number is a product
                value, is_metric = old[0], STATEFUL in source
                if is_metric:
                    (metric_state,) = source[STATEFUL].values()
                    value = metric_state.value
                source = source if is_metric else old[1]
            groups[name] = type(old)(value, source)
        values = self.values
        if self.constants and not times:
            values = jnp.stack([numbers[name].value for name in sorted(self.constants)])
        return self._replace(groups=groups, times=times, values=values)

    def by_group(self) -> dict[str, jax.Array]:
        """The numbers that are applied, by the names of the groups."""
        return {
            name.rpartition("/")[0]: number.value
            for name, number in self.numbers().items()
            if name not in self.times
        }

    def applied_rates(self) -> dict[str, jax.Array]:
        """The learning rates of the last update: that of `times`, or of all groups."""
        numbers = self.numbers()
        return {
            name: numbers[name].value
            for name in self.times or numbers
            if name.endswith("/learning_rate")
        }
