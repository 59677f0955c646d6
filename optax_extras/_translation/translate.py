"""From the state of one of our optimizers to that of another."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import optax

from optax_extras._by_path import leaves_with_paths
from optax_extras._checks import Transformation, checked
from optax_extras._errors import refuse
from optax_extras._kernel._missed import groups_of_leaves
from optax_extras._kernel._recorded_rules import recording_rules
from optax_extras._kernel.scale_by_moments import MomentsState
from optax_extras._learning_rates._source import STATEFUL, RateState
from optax_extras._learning_rates.scale_by_rate import ScaleByRateState
from optax_extras._translation.forms import (
    Scales,
    forms_of,
    forms_of_optax,
    has_inner_rate,
    scale_of,
    scaled,
)
from optax_extras._translation.optax_states import Velocities
from optax_extras._translation.report import TranslationReport
from optax_extras._translation.source import AVERAGE, SUM, Buffer, Part, Source
from optax_extras._translation.states import (
    COUNTED,
    KEPT,
    buffers_of,
    leaves_by_path,
    walk,
)
from optax_extras._translation.trial import with_trial
from optax_extras._translation.write import write
from optax_extras._types import Params, State


@checked
def translate(
    state: State,
    tx: Transformation,
    params: Params = None,
    *,
    source: Transformation | None = None,
    gradients: Any = None,
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
    count. Into and out of :func:`low_precision_state`, :func:`with_master_copy`,
    :func:`stacked`, :func:`with_average` and :func:`accumulate` the buffers are
    converted. What the old state does not have, such as an average of the weights,
    starts as ``tx.init`` makes it.

    Args:
      state: The state of the old optimizer, of this library.
      tx: The new optimizer. Its learning rates are used, not those in `state`.
      params: The params at this time. None: zeros like the first moments, for
        optimizers that store nothing of the params and have the same params.
      source: The old optimizer. With it the decays of both are compared. None: the
        decays are taken to be those of `tx`, a first moment beside a second one to be
        an average, and a first moment alone to be a sum.
      gradients: Like the params. With them and `source`, the next updates of both
        optimizers are compared, in a row of the report.
      strict: Raise a ValueError if anything is not exact.

    Returns:
      The new state and a :class:`TranslationReport`, a row for each buffer and scalar.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> params = {"w": jnp.ones(3)}
      >>> tx = oxe.adam(1e-3)
      >>> _, state = tx.update(params, tx.init(params), params)
      >>> tx = oxe.swats(1e-3)
      >>> state, report = oxe.translate(state, tx, params)
      >>> report.exact
      True
    """
    if params is None:
        params = _like_moments(state)
    if gradients is not None and source is None:
        refuse("source", "be given with `gradients`", source)
    new, report = write(tx, source_of(state, params, source), params)
    if gradients is not None:
        pairs = (source, state), (tx, new)
        report = with_trial(report, *pairs, params, gradients)
    return new, report.checked(strict)


def source_of(
    state: State,
    params: Params,
    tx: Any = None,
    *,
    argument: str = "state",
    rate: float = math.nan,
) -> Source:
    """A state of this library or of Optax in the common form.

    `argument` is its name in errors, or "" if all may be of unknown types. `rate` is
    the learning rate that Optax's states do not store.
    """
    places = list(walk(state, (*KEPT, optax.EmptyState)))
    velocities = Velocities()
    nodes = [x for x in places if buffers_of(x.state)]
    is_counted = any(isinstance(x.state, COUNTED) for x in places)
    if argument and jax.tree.leaves(state) and not nodes and not is_counted:
        must = "be that of an optimizer of this library or of Optax"
        refuse(argument, must, state)
    rules = _rules(tx, params) if tx is not None else iter(())
    parts, missed, scales = [], {}, Scales()
    for place, node in places:
        are_steps, note = velocities.are_steps(place, node)
        if not buffers_of(node):
            scales.add(place, scale_of(node))
            continue
        scale = scales.before(place)
        forms = dict(_forms(node, rules, scale))
        forms |= forms_of_optax(node, are_steps, rate, scale)
        buffers = {}
        for field, holds in buffers_of(node).items():
            tree = getattr(node, field)
            if tree is None:
                continue
            leaves = leaves_by_path(tree, params)
            buffers[holds] = Buffer(
                f"{place}.{field}", leaves, forms.get(field, AVERAGE), note
            )
        carry = getattr(node, "carry", None)
        scalars = {"eta": node.eta} if hasattr(node, "eta") else {}
        parts.append(Part(buffers, scalars, carry))
        groups = getattr(node, "missed", None) or {}
        for path, group in groups_of_leaves(groups).items():
            missed[path] = int(groups[group].count)
    counts = [x.state.count for x in nodes if "count" in x.state._fields]
    counts = counts or [x.state.count for x in places if isinstance(x.state, COUNTED)]
    count = max((int(np.max(jax.tree.leaves(x)[0])) for x in counts), default=None)
    kept = [x.state for x in places if isinstance(x.state, KEPT)]
    kept += [x.state for x in places if _follows_a_metric(x.state)]
    return Source(
        parts, count, {k: n for k, n in missed.items() if n}, states=tuple(kept)
    )


def _rules(tx: Any, params: Params) -> Iterator[Any]:
    with recording_rules() as records:
        first = tx.init(params)
    for _, node in walk(first):
        if isinstance(node, MomentsState):
            same = [i for i, x in enumerate(records) if x.count is node.count]
            yield records.pop(same[0] if same else 0).rules


def _forms(node: Any, rules: Iterator[Any], scale: float) -> Iterator[Any]:
    """How the moments of a state move, by field."""
    if not isinstance(node, MomentsState):
        return
    known = next(rules, None)
    if known is not None:
        count = int(jax.tree.leaves(node.count)[0])
        yield from forms_of(node, known, count, scale).items()
    elif node.nu is None:
        rate = float(node.carry.learning_rate) if has_inner_rate(node) else 1.0
        yield "mu", scaled(SUM, scale * rate)


def _follows_a_metric(state: Any) -> bool:
    rate = getattr(state, "rate", None) if isinstance(state, ScaleByRateState) else None
    return isinstance(rate, RateState) and STATEFUL in (rate.source or {})


def _like_moments(state: State) -> Params:
    """Zeros like the first buffer that is like the params."""
    for _, node in walk(state):
        for field in buffers_of(node):
            tree = getattr(node, field)
            if tree is not None and leaves_with_paths(tree):
                return jax.tree.map(jax.numpy.zeros_like, tree)
    refuse("params", "be given, since the state has no buffer like them", None)
