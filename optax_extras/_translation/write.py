"""Writes a state in the common form into the state of one of our optimizers."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._by_path import leaves_with_paths, recording
from optax_extras._kernel._missed_updates import groups_of_leaves
from optax_extras._kernel._recorded_rules import recording_rules
from optax_extras._kernel.scale_by_moments import MomentsState
from optax_extras._leaves import in_dtype_of, is_half
from optax_extras._numerics import LAST_COUNT, as_float
from optax_extras._switching._switch_state import SwitchState
from optax_extras._translation.arrays import converted
from optax_extras._translation.carries import new_carry, with_missed
from optax_extras._translation.common_form import CommonForm, Part, of_group
from optax_extras._translation.compare_recursions import (
    AVERAGE,
    Recursions,
    conversion,
    recursion_at,
)
from optax_extras._translation.copied import copied_state
from optax_extras._translation.few_bits import with_rounding
from optax_extras._translation.nearest import nearest
from optax_extras._translation.optax_states import is_idle, velocities
from optax_extras._translation.order import trained
from optax_extras._translation.rates import applied_values, has_schedule, with_rates
from optax_extras._translation.recursions_of_rules import (
    depends_on_count,
    pop_rules,
    recursions_of,
    recursions_of_optax,
    scales_before,
)
from optax_extras._translation.report_types import (
    TranslationReport,
    TranslationRow,
    some_of,
)
from optax_extras._translation.states import (
    COUNTED,
    FACTORED,
    buffers_of,
    fields_inside,
    follows_a_metric,
    is_placeholder,
    leaves_by_path,
    map_states,
    own_fields,
    place_of,
    shares_count,
    walk,
    with_count,
    with_counts,
    with_leaves,
)
from optax_extras._translation.trial import with_trial
from optax_extras._types import Params, State, Updates

_STARTS, _RATES = "starts as `init` makes it", ("learning_rate", "lr", "rate")


def write(
    tx: Any,
    source: CommonForm,
    params: Params,
    rows: list[TranslationRow],
    gradients: Updates,
    strict: bool,
    old: Callable[[], Any],
    old_state: Any = None,
) -> tuple[State, TranslationReport]:
    """The state of `tx` after what the source has done, with a report.

    `rows` are further ones of the report. `old` returns the old optimizer, for a trial
    step if there are gradients. `old_state` is its state; None: made from the source.
    """
    state, written = Writer(tx, source, params).run()
    rows = written + rows
    if gradients is not None:
        old_tx = old()
        if old_state is None:
            old_state, _ = Writer(old_tx, source, params).run()
        pairs = (old_tx, old_state), (tx, state)
        rows = with_trial(rows, *pairs, params, gradients)
    return state, TranslationReport((*rows,)).checked(strict)


class Writer:
    """One translation: a first state, into which the source is written."""

    def __init__(self, tx: Any, source: CommonForm, params: Params):
        self.tx, self.source, self.params = tx, source, params
        self.rows: list[TranslationRow] = []
        self.count = 1 if source.count is None else source.count
        self.rate_count = max(source.schedule_counts.values(), default=self.count)
        self.used: set[tuple[int, str, str]] = set()
        self.states = list(source.states)
        self.groups: dict[str, list[str]] = {}  # those of learning rates
        self.depends_on_count = False
        self.parts, self.missed = list(source.parts), dict(source.missed)
        self.paths = [path for path, _ in leaves_with_paths(params)]
        self.integers = {*self.paths} - trained(params).keys()
        self.written: dict[str, dict[str, Any]] = {}  # the leaves of each buffer

    def run(self) -> tuple[State, list[TranslationRow]]:
        """Writes everything."""
        with recording_rules() as self.rules, recording(self._record_groups):
            state = self.tx.init(self.params)
        self.parts_of = self._find_parts(state)
        rates, applied = self.source.rates, {}
        counted = with_counts(state, lambda n: self._counter(n, self.rate_count))
        if has_schedule(state):
            self.depends_on_count = True
            if self.rate_count:
                applied = applied_values(self.tx, counted, self.params)
        rated = list(walk(with_rates(counted, rates, self._paths_of, applied)))
        self.scales, self.velocities = scales_before(rated), velocities(rated)
        state = map_states(state, self._write_one)
        self.rows = with_rounding(self.rows, state, self.written, self.params)
        state = with_rates(state, rates, self._paths_of, applied, self.say)
        self._say_what_is_left()
        return state, self.rows

    def _find_parts(self, state: State) -> dict[str, list[int]]:
        """The parts that have a leaf for a param, in order, by its path."""
        has_switch = any(isinstance(x, SwitchState) for _, x in walk(state))
        found: dict[str, list[int]] = {}
        for i, part in enumerate(self.source.parts):
            paths = {p for buffer in part.buffers.values() for p in buffer.leaves}
            for path in paths if part.in_force or has_switch else ():
                found.setdefault(path, []).append(i)
        return found

    def _record_groups(self, by_path: Any, leaves: Any, names: Iterable[Any]) -> None:
        is_rate = by_path.argument in _RATES
        for (path, _), name in zip(leaves, names, strict=True) if is_rate else ():
            self.groups.setdefault(name, []).append(path)

    def _paths_of(self, group: str) -> list[str]:
        """The params that a learning rate in the state is for."""
        return self.groups.get(group, []) if group else self.paths

    def say(self, target: str, source: str, how: str, **more: Any) -> None:
        """A row of the report."""
        self.rows.append(TranslationRow(target, source, how, **more))

    def _counter(self, old: Any, count: int) -> Any:
        return in_dtype_of(old, jnp.asarray(min(count, LAST_COUNT), jnp.int32))

    def _write_one(self, place: str, state: State) -> Any:
        if buffers_of(state):
            return self._write_part(state, place)
        if not isinstance(state, COUNTED) or follows_a_metric(state):
            new = copied_state(place, state, self.states, self.say, self.source.hint)
            if new is not None:
                return new
        if isinstance(state, COUNTED):
            count = self.source.schedule_counts.get(place, self.rate_count)
            return with_count(state, lambda n: self._counter(n, count))
        for name, field in own_fields(state).items():
            is_exact = bool(fields_inside(state)) or not self.count
            is_exact |= not any(map(jnp.ndim, jax.tree.leaves(field)))
            self.say(place_of(place, name), "", _STARTS, exact=is_exact)
        return state

    # Buffers.
    def _write_part(self, state: State, place: str) -> Any:
        holds = buffers_of(state)
        fields = {f: x for f in holds if (x := getattr(state, f)) is not None}
        trees = {f: leaves_by_path(x, self.params) for f, x in fields.items()}
        paths = list(dict.fromkeys(path for tree in trees.values() for path in tree))
        chosen = {p: self.parts_of[p].pop(0) for p in paths if self.parts_of.get(p)}
        used = [*dict.fromkeys(chosen.values())]
        if not paths and len(self.parts) == 1:
            used = [0]
        parts = [self.parts[i] for i in used]
        counts = [part.count for part in parts if part.count is not None]
        count = max(counts, default=self.count)
        if isinstance(state, MomentsState):
            # What is frozen here, and has no moments there, has missed all updates.
            frozen = groups_of_leaves(state.missed or {})
            self.missed |= {path: count for path in frozen if path not in chosen}
            scalars = self._write_scalars(state, parts, place, count)
            state, recursions, is_copied = scalars
            if is_copied and not parts[0].has_rule:
                self.parts[used[0]] = parts[0].with_rule_of_target()
        else:
            rate = next(iter(self.source.rates.values()), math.nan)
            is_velocity, scale = place in self.velocities, self.scales[place]
            recursions = recursions_of_optax(state, is_velocity, rate, scale)
            state = self._write_named(state, parts, place)
        for field, tree in fields.items():
            new = self._converted(
                f"{place}.{field}",
                holds[field],
                trees[field],
                chosen,
                recursions.get(field, AVERAGE),
                recursions.get("nu", AVERAGE),
                count,
                alternative=isinstance(state, FACTORED),
            )
            state = state._replace(**{field: with_leaves(tree, self.params, new)})
        written = {path for f in fields for path in self.written[f"{place}.{f}"]}
        missing = [path for path in paths if path not in written]
        if isinstance(state, FACTORED) and missing:
            is_exact, note = self._is_new(missing, count), some_of(missing)
            for field in fields:
                self.say(f"{place}.{field}", "", _STARTS, exact=is_exact, note=note)
        if "count" in state._fields:
            state = state._replace(count=self._counter(state.count, count))
        return state

    def _converted(
        self,
        target: str,
        holds: str,
        tree: dict[str, Any],
        chosen: dict[str, int],
        recursions: Recursions,
        of_nu: Recursions,
        count: int,
        alternative: bool,
    ) -> dict[str, Any]:
        """The new leaves of a buffer, with rows for what became of them."""
        new, missing = {}, []
        ulps_of: dict[TranslationRow, list[float]] = {}
        for path, like in tree.items():
            part = self.parts[chosen[path]] if path in chosen else Part({})
            near = nearest(part, holds)
            unused = alternative and is_placeholder(like)
            if near is None or path not in part.buffers[near.holds].leaves or unused:
                missing.append(path)
                continue
            buffer = part.buffers[near.holds]
            self.used.add((chosen[path], near.holds, path))
            recursion = recursion_at(recursions, path)
            old = recursion_at(buffer.recursions, path) or recursion
            factor, lost = conversion(old, recursion, count)
            leaf, how, below = near.made(
                buffer.leaves[path], old, recursion_at(of_nu, path), count
            )
            new[path], ulps = converted(
                target, path, leaf, factor, like, self.source.hint
            )
            lost = lost or below
            if is_half(like) and not is_half(buffer.leaves[path]):
                lost = lost or f"rounded to {jnp.result_type(like)}"
            how = how or ("copied" if factor == 1 else f"times {factor:.6g}")
            is_exact, note = near.exact and not lost, lost or near.note or buffer.note
            row = TranslationRow(target, buffer.name, how, is_exact, note=note)
            ulps_of.setdefault(row, []).extend([] if ulps is None else [ulps])
        for row, ulps in ulps_of.items():
            self.rows.append(row._replace(ulps=max(ulps, default=None)))
        if missing and not alternative:
            note = "" if len(missing) == len(tree) else some_of(missing)
            forgotten = {p for p in tree if recursion_at(recursions, p).is_forgotten}
            used = [p for p in missing if p not in self.integers | forgotten]
            is_exact = self._is_new(used, count)
            self.say(target, "", _STARTS, exact=is_exact, note=note)
        self.written[target] = new
        return new

    def _is_new(self, paths: list[str], count: int) -> bool:
        """Whether the source has not moved leaves that it lacks."""
        return not count or all(self.missed.get(p) == count for p in paths)

    # Scalars.
    def _write_scalars(
        self, state: MomentsState, parts: list[Part], place: str, count: int
    ) -> tuple[MomentsState, Mapping[str, Recursions], bool]:
        """The carry of a rule, its recursions, and whether the carry is copied."""
        rules = pop_rules(self.rules, state)
        old = parts[0].carry if parts else None
        named = parts[0].scalars if parts else {}
        source = ""
        if jax.tree.leaves(state.carry):
            carry, source = new_carry(state.carry, rules, old, named, count)
            how = "computed from the count" if source == "count" else "copied"
            self.say(f"{place}.carry", source, how)
            state = state._replace(carry=carry)
        recursions = recursions_of(state, rules, count, self.scales[place])
        if self.source.count is None:
            self.depends_on_count |= depends_on_count(state, rules, count)
            if source == "count":
                later, _ = new_carry(carry, rules, old, named, count + 1000)
                same = jax.tree.map(np.array_equal, later, carry)
                self.depends_on_count |= not jax.tree.all(same)
        if self.missed:
            missed = with_missed(state.missed or {}, self.missed)
            is_exact = not jax.tree.leaves(state.carry)
            note = some_of(self.missed)
            note += "" if is_exact else ": the rule has one count for all params"
            self.say(f"{place}.missed", "count", "copied", exact=is_exact, note=note)
            state = state._replace(missed=missed)
        return state, recursions, source == "carry"

    def _write_named(self, state: State, parts: list[Part], place: str) -> Any:
        """Scalars that the source names as the state does.

        It has them by path, or by the names of its groups.
        """
        for name, value in (parts[0].scalars if parts else {}).items():
            if name not in state._fields:
                continue
            old, new, is_found = getattr(state, name), {}, True
            for group, x in (old if isinstance(old, dict) else {"": old}).items():
                found = of_group({name: value}, [*self._paths_of(group), group])
                new[group] = in_dtype_of(x, as_float(found.get(name, x)))
                is_found &= bool(found)
            state = state._replace(**{name: new if isinstance(old, dict) else new[""]})
            how = "copied" if is_found else "not copied"
            note = "" if is_found else "the source has other groups"
            self.say(f"{place}.{name}", name, how, exact=is_found, note=note)
        if self.source.missed and shares_count(state):
            note = f"{some_of(self.source.missed)}: the state has one count for all"
            self.say(f"{place}.count", "count", "copied", exact=False, note=note)
        return state

    def _say_what_is_left(self) -> None:
        for i, part in enumerate(self.source.parts):
            for holds, buffer in part.buffers.items():
                left = [p for p in buffer.leaves if (i, holds, p) not in self.used]
                if left:
                    note = "" if len(left) == len(buffer.leaves) else some_of(left)
                    self.say("", buffer.name, "left over", exact=False, note=note)
        for place, old in self.states:
            for name in own_fields(old):
                where, note = place_of(place, name), type(old).__name__ if name else ""
                self.say("", where, "left over", exact=is_idle(old), note=note)
        if self.source.count is not None:
            self.say("count", "count", "copied")
            return
        is_exact, note = not self.depends_on_count, "the source has no count"
        note += "" if is_exact else ": give `count`"
        self.say("count", "", "taken as 1", exact=is_exact, note=note)
