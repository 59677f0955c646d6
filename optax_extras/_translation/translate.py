"""From the state of one of our optimizers to that of another."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from optax_extras._boxes import without_boxes
from optax_extras._by_path import leaves_with_paths
from optax_extras._checks import Transformation, checked
from optax_extras._errors import refuse
from optax_extras._kernel._missed_updates import groups_of_leaves
from optax_extras._kernel._recorded_rules import recording_rules
from optax_extras._kernel.scale_by_moments import MomentsState
from optax_extras._switching._switch_state import SwitchState
from optax_extras._translation.arrays import refuse_traced
from optax_extras._translation.common_form import Buffer, CommonForm, Part
from optax_extras._translation.compare_recursions import AVERAGE, SUM, UNKNOWN
from optax_extras._translation.optax_states import velocities
from optax_extras._translation.recursions_of_rules import (
    has_inner_rate,
    pop_rules,
    recursions_of,
    recursions_of_optax,
    scaled,
    scales_before,
)
from optax_extras._translation.report_types import OPTIONS, TranslationReport
from optax_extras._translation.states import (
    COUNTED,
    FACTORED,
    buffers_of,
    follows_a_metric,
    is_placeholder,
    leaves_by_path,
    walk,
)
from optax_extras._translation.write import write
from optax_extras._types import Params, State, Updates


@checked
def translate(
    state: State,
    tx: Transformation,
    params: Params = None,
    *,
    source: Transformation | None = None,
    gradients: Updates = None,
    strict: bool = False,
) -> tuple[Any, TranslationReport]:
    r"""The state with which another optimizer goes on where this one stopped.

    Adam's moments after 10 000 updates are worth keeping: a new optimizer with a first
    state would take steps of another size for hundreds of updates. Here its moments,
    its count and the scalars of its rule are computed from the old state.

    Buffers that hold the same thing are copied. A first moment
    :math:`m \leftarrow a\,m + c\,g` of another weight :math:`c` is multiplied by the
    ratio of the weights: from an average (Adam, :math:`c = 1 - a`) to a sum (SGD with
    momentum, :math:`c = 1`) by :math:`1 / (1 - a)`, into :func:`heavy_ball` also by
    the learning rate. Scalars of a rule, such as NAdam's product, are computed from the
    count; a condition starts to watch from here on. Wrappers, of this library and of
    Optax, are entered: their own numbers and buffers are copied to a wrapper of the
    same kind. Of a :func:`switch`, the phase in force is read. What the old state does
    not have, such as an average of the weights, starts as ``tx.init`` makes it.

    A row of the report is exact if the new state holds what `tx` would hold after the
    same gradients. `tx` may be another rule, so its next updates may be others:
    `gradients` compares them.

    The new state shares no arrays with the old one, and has the structure, dtypes and
    shardings of ``tx.init(params)``; after a thaw also the updates that params have
    missed. Call it outside of `jit`. For Flax NNX, pass ``optimizer.opt_state`` and
    ``nnx.state(model, nnx.Param)``, and start a new optimizer with the new state:
    ``nnx.Optimizer(model, tx._replace(init=lambda _: state), wrt=nnx.Param)``.

    Args:
      state: The state of the old optimizer, of this library.
      tx: The new optimizer. Its learning rates are used, not those in `state`.
      params: The params at this time. None: zeros like the first moments, for
        optimizers that store nothing of the params and have the same params.
      source: The old optimizer. With it the decays of both are compared, by the rules
        of this library; the state does not hold them. None: they are not
        compared, which the report says, but taken to be those of `tx`; a first moment
        beside a second one is taken to be an average, one alone to be a sum.
      gradients: Like the params. With them and `source`, the next two updates of both
        optimizers are compared, in a row of the report. If they agree, so do the
        options.
      strict: Raise a ValueError if anything is not exact, or left over.

    Returns:
      The new state and a :class:`TranslationReport`, a row for each buffer and scalar.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> params = {"w": jnp.ones(3)}
      >>> tx = oxe.adam(1e-3)
      >>> _, state = tx.update(params, tx.init(params), params)
      >>> new = oxe.swats(1e-3)
      >>> state, report = oxe.translate(state, new, params, source=tx)
      >>> report.exact
      True
    """
    refuse_traced(state=state, params=params)
    if params is None:
        params = _like_moments(state)
    if gradients is not None and source is None:
        refuse("source", "be given with `gradients`", source)
    found = source_of(state, params, source)
    is_compared = source is tx or (source is not None and _are_compared(found))
    rows = [] if is_compared else [OPTIONS]
    return write(tx, found, params, rows, gradients, strict, lambda: source, state)


def _are_compared(source: CommonForm) -> bool:
    """Whether the rules of all buffers are known, and a wrapper has no state."""
    parts = (part for part in source.parts if part.buffers)
    return all(part.has_rule for part in parts) and not source.states


def source_of(
    state: State,
    params: Params,
    tx: Any = None,
    *,
    argument: str = "state",
    rate: float = math.nan,
) -> CommonForm:
    """A state of this library or of Optax in the common form.

    `argument` is its name in errors, or "" if its states may all be of unknown kinds.
    `rate` is the learning rate that Optax's states do not store.
    """
    state = without_boxes(state)
    places = list(walk(state))
    if argument and not any(
        buffers_of(x) or isinstance(x, COUNTED) or follows_a_metric(x)
        for _, x in places
    ):
        refuse(argument, "be that of an optimizer of this library or of Optax", state)
    rules = rules_of(tx, params) if tx is not None else iter(())
    idle = tuple(
        f"{place}.{'first' if bool(x.switched) else 'second'}"
        for place, x in places
        if isinstance(x, SwitchState)
    )
    parts, missed, states = [], {}, []
    steps, scales = velocities(places), scales_before(places)
    for place, node in places:
        if buffers_of(node):
            scale, known = scales[place], None
            if isinstance(node, MomentsState):
                known = next(rules, None)
                recursions, note = _recursions(node, known, scale)
            else:
                is_velocity, note = place in steps, steps.get(place, "")
                recursions = recursions_of_optax(node, is_velocity, rate, scale)
            part = _part(place, node, params, recursions, note)
            in_force, has_rule = not place.startswith(idle), known is not None
            parts.append(part._replace(in_force=in_force, has_rule=has_rule))
            groups = getattr(node, "missed", None) or {}
            for path, group in groups_of_leaves(groups).items():
                missed[path] = int(groups[group].count)
        elif not isinstance(node, COUNTED) or follows_a_metric(node):
            states.append((place, node))
    counts = [part.count for part in parts if part.in_force and part.count is not None]
    counted = ((place, x) for place, x in places if isinstance(x, COUNTED))
    schedule_counts = {place: _number(x.count) for place, x in counted}
    return CommonForm(
        parts,
        max(counts or schedule_counts.values(), default=None),
        {k: n for k, n in missed.items() if n},
        states=tuple(states),
        schedule_counts=schedule_counts,
        hint="Give the params of that run.",
    )


def _part(
    place: str, node: Any, params: Params, recursions: Mapping[str, Any], note: str
) -> Part:
    buffers = {}
    for field, holds in buffers_of(node).items():
        tree = getattr(node, field)
        if tree is not None:
            leaves = leaves_by_path(tree, params)
            if isinstance(node, FACTORED):
                leaves = {p: x for p, x in leaves.items() if not is_placeholder(x)}
            of_field = recursions.get(field, AVERAGE)
            buffers[holds] = Buffer(f"{place}.{field}", leaves, of_field, note)
    eta = getattr(node, "eta", None)
    scalars = {} if eta is None else {"eta": eta}
    count = _number(node.count) if "count" in node._fields else None
    return Part(buffers, scalars, getattr(node, "carry", None), count)


def _number(count: Any) -> int:
    return int(np.max(jax.tree.leaves(count)[0]))


def rules_of(tx: Any, params: Params) -> Iterator[Any]:
    """The rules of each state with moments, with their groups and paths."""
    with recording_rules() as records:
        first = tx.init(params)
    for _, node in walk(first):
        if isinstance(node, MomentsState):
            yield pop_rules(records, node)


def _recursions(
    node: MomentsState, known: Any, scale: float
) -> tuple[Mapping[str, Any], str]:
    """Those of the moments by field, and what is assumed; `known` are the rules."""
    if known is not None:
        count = int(jax.tree.leaves(node.count)[0])
        return recursions_of(node, known, count, scale), ""
    if isinstance(node.carry, SwitchState) and np.any(node.carry.switched):
        return {"mu": UNKNOWN, "nu": UNKNOWN}, ""
    if node.mu is None:
        return {"nu": None}, ""  # an average, or AdaGrad's sum
    if node.nu is not None:
        return {}, ""
    carry: Any = node.carry
    carries = [*carry.values()] if isinstance(carry, Mapping) else [carry]
    if all(map(has_inner_rate, carries)):
        rates = {float(x.learning_rate) for x in carries}
        # Of groups with several rates nothing here says which leaves are whose.
        is_one = len(rates) == 1
        return {"mu": scaled(SUM, scale * rates.pop()) if is_one else UNKNOWN}, ""
    return {"mu": scaled(SUM, scale)}, "taken to be a sum of gradients, as in `sgd`"


def _like_moments(state: State) -> Params:
    """Zeros like the first buffer that is like the params."""
    for _, node in walk(state):
        for field in buffers_of(node):
            tree = getattr(node, field)
            if tree is not None and leaves_with_paths(tree):
                return jax.tree.map(jax.numpy.zeros_like, tree)
    refuse("params", "be given, since the state has no buffer like them", None)
