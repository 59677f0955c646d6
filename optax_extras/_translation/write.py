"""Writes a state in the common form into the state of one of our optimizers."""

import math
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optax_extras._by_path import leaves_with_paths, recording
from optax_extras._kernel._missed import MissedUpdates
from optax_extras._kernel._recorded_rules import recording_rules
from optax_extras._kernel.scale_by_moments import MomentsState
from optax_extras._numerics import as_float, in_dtype_of
from optax_extras._state.low_precision import LowPrecisionState
from optax_extras._translation.arrays import converted
from optax_extras._translation.forms import (
    LAST,
    Scales,
    carry_after,
    forms_of,
    forms_of_optax,
    scale_of,
    with_named,
)
from optax_extras._translation.nearest import buffer_for
from optax_extras._translation.optax_states import Velocities, is_idle
from optax_extras._translation.rates import applied_values, has_schedule, with_rates
from optax_extras._translation.report import TranslationReport, TranslationRow
from optax_extras._translation.source import (
    AVERAGE,
    Form,
    Part,
    Source,
    conversion,
)
from optax_extras._translation.states import (
    COUNTED,
    FACTORED,
    KEPT,
    buffers_of,
    inner_field,
    inner_state,
    is_wrapper,
    leaves_by_path,
    with_inner_state,
    with_leaves,
)
from optax_extras._types import Params, State

_RATES = ("learning_rate", "lr", "rate")


def write(tx: Any, source: Source, params: Params) -> tuple[State, TranslationReport]:
    """The state of `tx` after what the source has done, and what became of it."""
    return Writer(tx, source, params).run()


class Writer:
    """One translation: a first state, into which the source is written."""

    def __init__(self, tx: Any, source: Source, params: Params):
        self.tx, self.source, self.params = tx, source, params
        self.rows: list[TranslationRow] = []
        self.count = 1 if source.count is None else source.count
        self.parts_of: dict[str, list[int]] = {}  # those left, by the path of a param
        for i, part in enumerate(source.parts):
            paths = {p for buffer in part.buffers.values() for p in buffer.leaves}
            for path in paths:
                self.parts_of.setdefault(path, []).append(i)
        self.used: set[tuple[int, str, str]] = set()
        self.states = list(source.states)
        self.velocities = Velocities()
        self.groups: dict[str, dict[str, list[str]]] = {}
        self.depends_on_count = False
        self.storage = ""  # what the wrapper around loses
        self.later: dict[str, dict[str, Form]] = {}  # how the moments move later
        self.scales, self.scale = Scales(), 1.0  # of a direction, by the chain so far

    def run(self) -> tuple[State, TranslationReport]:
        """Writes everything."""
        with recording_rules() as rules, recording(self._record_groups):
            state = self.tx.init(self.params)
        self.rules = rules
        state = self._write(state, "")
        applied = {}
        if has_schedule(state):
            self.depends_on_count = True
            applied = applied_values(self.tx, state, self.params) if self.count else {}
        rates = self.source.rates or {}
        state = with_rates(state, rates, self._paths_of, applied, self.say)
        self._say_what_is_left()
        return state, TranslationReport(tuple(self.rows))

    def _record_groups(self, by_path: Any, leaves: Any, names: Iterable[Any]) -> None:
        groups: dict[str, list[str]] = {}
        for (path, _), name in zip(leaves, names, strict=True):
            if name is not None:
                groups.setdefault(name, []).append(path)
        self.groups.setdefault(by_path.argument, {}).update(groups)

    def _paths_of(self, group: str) -> list[str]:
        """The params that a learning rate in the state is for."""
        if not group:
            return [path for path, _ in leaves_with_paths(self.params)]
        rates = (x for key, x in self.groups.items() if key in _RATES)
        return [path for groups in rates for path in groups.get(group, [])]

    def say(self, target: str, source: str, how: str, **more: Any) -> None:
        """A row of the report."""
        self.rows.append(TranslationRow(target, source, how, **more))

    def _write(self, state: State, place: str) -> State:
        kinds = (*COUNTED, optax.EmptyState)

        def is_ours(x: Any) -> bool:
            known = isinstance(x, kinds) or bool(buffers_of(x)) or is_wrapper(x)
            return known or self._is_kept(x)

        found, treedef = jax.tree_util.tree_flatten_with_path(state, is_leaf=is_ours)
        return treedef.unflatten(
            [
                self._write_one(x, place + jax.tree_util.keystr(path))
                if is_ours(x)
                else x
                for path, x in found
            ]
        )

    def _is_kept(self, x: Any) -> bool:
        return any(type(x) is type(old) for old in self.states)

    def _write_one(self, state: Any, place: str) -> Any:
        if isinstance(state, COUNTED):
            state = state._replace(count=self._counter(state.count))
            self.scales.add(place, scale_of(state, self.source.rates))
        are_steps, _ = self.velocities.are_steps(place, state)
        if buffers_of(state):
            self.scale = self.scales.before(place)
            return self._write_part(state, place, are_steps)
        if self._is_kept(state):
            state = self._copied(state, place)
        elif isinstance(state, KEPT):
            what = ", ".join(x for x in state._fields if x != "inner_state")
            self.say(place, "", "starts as `init` makes it", note=what)
        if is_wrapper(state):
            before = self.storage
            if isinstance(state, LowPrecisionState):
                self.storage = "large leaves are then rounded to few bits"
            new = self._write(inner_state(state), f"{place}.{inner_field(state)}")
            self.storage = before
            return with_inner_state(state, new)
        return state

    def _counter(self, old: Any) -> Any:
        return in_dtype_of(old, jnp.asarray(min(self.count, LAST), jnp.int32))

    def _copied(self, state: Any, place: str) -> Any:
        """A state of the same type in the source, but for what is inside of it."""
        for i, old in enumerate(self.states):
            if type(old) is not type(state):
                continue
            outside = old
            if is_wrapper(state):
                name = inner_field(state)
                outside = old._replace(**{name: getattr(state, name)})
            if _kinds(outside) == _kinds(state):
                del self.states[i]
                self.say(place or "state", place or "state", "copied")
                treedef = jax.tree.structure(state)
                return treedef.unflatten(map(jnp.array, jax.tree.leaves(outside)))
        return state

    # Buffers.
    def _write_part(self, state: Any, place: str, are_steps: bool) -> Any:
        holds = buffers_of(state)
        fields = {
            field: getattr(state, field)
            for field in holds
            if getattr(state, field) is not None
        }
        trees = {f: leaves_by_path(x, self.params) for f, x in fields.items()}
        paths = list(dict.fromkeys(path for tree in trees.values() for path in tree))
        chosen = {p: self.parts_of[p].pop(0) for p in paths if self.parts_of.get(p)}
        parts = [self.source.parts[i] for i in dict.fromkeys(chosen.values())]
        if not paths and len(self.source.parts) == 1:
            parts = [self.source.parts[0]]
        if isinstance(state, MomentsState):
            state, forms = self._write_scalars(state, parts, place)
        else:
            forms, self.later = {}, {}
            state = self._write_named(state, parts, place)
            rate = next(iter((self.source.rates or {}).values()), math.nan)
            found = forms_of_optax(state, are_steps, rate, self.scale)
            forms = {field: dict.fromkeys(paths, x) for field, x in found.items()}
        for field, tree in fields.items():
            new = self._converted(
                place,
                field,
                holds[field],
                trees[field],
                chosen,
                forms.get(field, {}),
                forms.get("nu", {}),
                alternative=isinstance(state, FACTORED),
            )
            state = state._replace(**{field: with_leaves(tree, self.params, new)})
        if "count" in state._fields:
            state = state._replace(count=self._counter(state.count))
        return state

    def _converted(
        self,
        place: str,
        field: str,
        holds: str,
        tree: dict[str, Any],
        chosen: dict[str, int],
        forms: dict[str, Form],
        second: dict[str, Form],
        alternative: bool,
    ) -> dict[str, Any]:
        """The new leaves of a buffer, with rows for what became of them."""
        new, missing = {}, []
        kinds: dict[tuple[str, str, str, str, bool], list[float | None]] = {}
        for path, like in tree.items():
            i = chosen.get(path)
            part = Part({}) if i is None else self.source.parts[i]
            found, buffer, near = buffer_for(part, holds)
            if i is None or buffer is None or path not in buffer.leaves:
                missing.append(path)
                continue
            self.used.add((i, found, path))
            form, now = buffer.form(path), forms.get(path, AVERAGE)
            factor, lost = conversion(form, now, self.count)
            then = self.later.get(field, {}).get(path, now)
            if not lost and conversion(form, then, self.count)[0] != factor:
                lost = "the factor changes"
            leaf = near.map(buffer.leaves[path], second.get(path, AVERAGE), self.count)
            x, ulps = converted(f"{place}.{field}", path, leaf, factor, like)
            new[path] = x
            note = near.note or buffer.note
            kind = (buffer.name, lost, near.how or _times(factor), note, near.exact)
            kinds.setdefault(kind, []).append(ulps)
        target = f"{place}.{field}"
        for (name, lost, how, note, exact), errors in kinds.items():
            ulps = max((x for x in errors if x is not None), default=None)
            lost = lost or self.storage
            exact, note = exact and not lost, lost or note
            self.say(target, name, how, exact=exact, ulps=ulps, note=note)
        if missing and not alternative:
            some = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            is_exact = not self.count or all(
                self.source.missed.get(path) == self.count for path in missing
            )
            note = "" if len(missing) == len(tree) else some
            self.say(target, "", "starts as `init` makes it", exact=is_exact, note=note)
        return new

    # Scalars.
    def _write_scalars(
        self, state: MomentsState, parts: list[Part], place: str
    ) -> tuple[MomentsState, dict[str, dict[str, Form]]]:
        """The carry of a rule, and how its moments move from here on."""
        rules = self._rules_of(state)
        old = parts[0].carry if parts else None
        named = parts[0].scalars if parts else {}
        if jax.tree.leaves(state.carry):
            if old is not None and _kinds(old) == _kinds(state.carry):
                new, how = jax.tree.map(jnp.array, old), "copied"
                source = f"{place}.carry"
            else:
                made = {g: carry_after(rule, self.count) for g, rule, _ in rules}
                made = {g: with_named(carry, named) for g, carry in made.items()}
                is_one = None in made
                new: Any = made[None] if is_one else {**state.carry, **made}
                source = ", ".join(named) or "count"
                how = "copied" if named else "computed from the count"
            carry = jax.tree.map(
                lambda like, x: jnp.broadcast_to(in_dtype_of(like, x), jnp.shape(like)),
                state.carry,
                jax.tree.structure(state.carry).unflatten(jax.tree.leaves(new)),
            )
            self.say(f"{place}.carry", source, how)
            state = state._replace(carry=carry)
        forms = forms_of(state, rules, self.count, self.scale)
        later = forms_of(state, rules, self.count + 1000, self.scale)
        self.depends_on_count |= later != forms or bool(jax.tree.leaves(state.carry))
        self.later = later
        missed = {
            f"translated {n}": MissedUpdates(
                jnp.asarray(n, jnp.int32),
                {p: () for p, m in self.source.missed.items() if m == n},
            )
            for n in sorted(set(self.source.missed.values()))
        }
        if missed:
            is_exact = not jax.tree.leaves(state.carry)
            note = "" if is_exact else "the rule has one count for all params"
            self.say(f"{place}.missed", "count", "copied", exact=is_exact, note=note)
            state = state._replace(missed={**(state.missed or {}), **missed})
        return state, forms

    def _rules_of(self, state: MomentsState) -> list[Any]:
        """The rules of a state: the record that has its count, or the next one."""
        for i, record in enumerate(self.rules):
            if record.count is state.count:
                return self.rules.pop(i).rules
        return self.rules.pop(0).rules if self.rules else []

    def _write_named(self, state: Any, parts: list[Part], place: str) -> Any:
        """Scalars that the source names as the state does."""
        for name, value in (parts[0].scalars if parts else {}).items():
            if name in state._fields:
                old = getattr(state, name)
                new = jax.tree.map(lambda x, v=value: in_dtype_of(x, as_float(v)), old)
                state = state._replace(**{name: new})
                self.say(f"{place}.{name}", name, "copied")
        return state

    def _say_what_is_left(self) -> None:
        for i, part in enumerate(self.source.parts):
            for holds, buffer in part.buffers.items():
                left = [p for p in buffer.leaves if (i, holds, p) not in self.used]
                if left:
                    some = ", ".join(left[:3]) + (", ..." if len(left) > 3 else "")
                    note = "" if len(left) == len(buffer.leaves) else some
                    self.say("", buffer.name, "left over", exact=False, note=note)
        for old in self.states:
            self.say("", type(old).__name__, "left over", exact=is_idle(old))
        target = "count"
        if self.source.count is None:
            note = "the source has no count"
            is_exact = not self.depends_on_count
            note += "" if is_exact else ": give `count`"
            self.say(target, "", "taken as 1", exact=is_exact, note=note)
        else:
            self.say(target, "count", "copied")


def _times(factor: float) -> str:
    return "copied" if factor == 1 else f"times {factor:.6g}"


def _kinds(tree: Any) -> Any:
    leaves, treedef = jax.tree.flatten(tree)
    return treedef, [jnp.shape(x) for x in leaves]
