"""From the state of one of Optax's optimizers to that of one of ours."""

from typing import Any

import jax
import numpy as np

from optax_extras._by_path import leaves_with_paths
from optax_extras._checks import StepCountOrZero, Transformation, checked
from optax_extras._errors import refuse, refuse_kind
from optax_extras._hyperparameters._walker import INJECTED
from optax_extras._translation.arrays import refuse_traced
from optax_extras._translation.common_form import CommonForm
from optax_extras._translation.optax_states import OTHER_RULES
from optax_extras._translation.rates import constant_rate
from optax_extras._translation.report_types import (
    OPTIONS,
    TranslationReport,
    TranslationRow,
)
from optax_extras._translation.states import buffers_of, leaves_by_path, walk
from optax_extras._translation.translate import source_of
from optax_extras._translation.write import write
from optax_extras._types import Params, State, Updates


@checked
def load_optax_state(
    tx: Transformation,
    optax_state: Any,
    params: Params,
    *,
    source: Transformation | None = None,
    count: StepCountOrZero | None = None,
    gradients: Updates = None,
    strict: bool = False,
) -> tuple[Any, TranslationReport]:
    r"""The state with which `tx` goes on where an optimizer of Optax stopped.

    A run with ``optax.adamw`` goes on as :func:`adamw`, :func:`swats` or any other
    optimizer of this library, and keeps its moments and its count. It does what
    :func:`translate` does, which reads Optax's states, too; beyond that, it copies the
    constant learning rate of ``optax.inject_hyperparams``, and the report names
    everything in `optax_state` that was not read.

    It reads the states of Optax's ``adam``, ``adamw``, ``adamax``, ``nadam``,
    ``radam``, ``amsgrad``, ``sgd``, ``rmsprop``, ``adagrad``, ``adadelta``, ``lion``
    and ``rprop``, alone, in chains, under masks, partitions and other wrappers, and
    beside those of this library. Others are copied into one of the same type in `tx`.

    With the arguments on the right, the next updates are those of Optax, to rounding:

    - ``optax.rmsprop``: `rmsprop` with ``initial="zero", eps_in_root=True, decay=0.9``.
      With a momentum, `keras.RMSprop`; its velocity contains the learning rates.
    - ``optax.adagrad``: `adagrad` with ``eps=0.0`` and an `initial_accumulator_value`
      of 0.1 + 1e-7, the start of Optax's sum plus its epsilon. Another start of `tx`
      gives the same updates as long as no sum is below it.

    The rules of ``optax.amsgrad``, ``nadam`` and ``rprop`` are others than those of
    this library. The report says so where the state tells; a second moment of
    ``optax.adamax`` looks like one of ``optax.adam``, and what to do with it depends on
    `tx`.

    A state of Optax does not hold the decays, the schedules and the other options,
    which a row of the report says. With `source` and `gradients` the next updates are
    compared.

    Args:
      tx: The new optimizer.
      optax_state: The state of the old optimizer.
      params: The params at this time.
      source: The old optimizer, for the comparison with `gradients`. If it is `tx`
        itself, there is nothing to compare.
      count: The number of updates, for states that do not store it, such as that of
        ``optax.sgd`` with a constant learning rate.
      gradients: Like the params. With them and `source`, the next two updates of both
        optimizers are compared, in a row of the report.
      strict: Raise a ValueError if anything is not exact.

    Returns:
      The new state and a :class:`TranslationReport`, a row for each buffer and scalar.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_extras as oxe
      >>> params = {"w": jnp.ones(3)}
      >>> old = optax.adamw(1e-3)
      >>> _, optax_state = old.update(params, old.init(params), params)
      >>> tx = oxe.adamw(1e-3, weight_decay=1e-4)
      >>> state, report = oxe.load_optax_state(
      ...     tx, optax_state, params, source=old, gradients=params
      ... )
      >>> report.exact
      True
    """
    if gradients is not None and source is None:
        refuse("source", "be given with `gradients`", source)
    if optax_state is None or jax.tree_util.all_leaves([optax_state]):
        refuse_kind("optax_state", "be a state of Optax", optax_state)
    if params is None:
        refuse("params", "be given", None)
    refuse_traced(optax_state=optax_state, params=params)
    states = [x for _, x in walk(optax_state)]
    if states and not any(hasattr(x, "_fields") for x in states):
        must = "be that of an optimizer of Optax or of this library"
        refuse("optax_state", must, optax_state)
    first: Any = tx.init(params)
    rates = _injected_rates(states, params)
    known = {*rates.values()}
    rate = known.pop() if len(known) == 1 else constant_rate(first)
    found = source_of(optax_state, params, source, argument="", rate=rate)
    found = _with_count(found, count)._replace(rates=rates)
    rows = _rows_of_other_rules(states, first)
    rows += [] if source is tx else [OPTIONS]
    old = optax_state
    return write(tx, found, params, rows, gradients, strict, lambda: source, old)


def _with_count(source: CommonForm, count: Any) -> CommonForm:
    if count is None or count == source.count:
        return source
    if source.count is not None:
        refuse("count", f"be that of `optax_state`, {source.count}", count)
    return source._replace(count=count)


def _injected_rates(states: list[Any], params: Params) -> dict[str, float]:
    """The constant learning rates of `optax.inject_hyperparams`, by path."""
    rates: dict[str, float] = {}
    found = [x for x in states if isinstance(x, INJECTED)]
    for state in found:
        scheduled = getattr(state, "hyperparams_states", {})
        rate = state.hyperparams.get("learning_rate")
        if rate is None or "learning_rate" in scheduled:
            continue
        paths = [path for path, _ in leaves_with_paths(params)]
        if len(found) > 1:  # those that have buffers in it
            inside = [x for _, x in walk(state.inner_state)]
            trees = [getattr(x, field) for x in inside for field in buffers_of(x)]
            paths = [path for tree in trees for path in leaves_by_path(tree, params)]
        rates |= dict.fromkeys(paths, float(np.asarray(rate)))
    return rates


def _rows_of_other_rules(states: list[Any], new: State) -> list[TranslationRow]:
    """Rows for states of Optax whose rule is another one in a state of ours."""
    rows = []
    for state in states:
        is_other, note = OTHER_RULES.get(type(state), (lambda _: False, ""))
        if any(is_other(x) for _, x in walk(new) if type(x) is not type(state)):
            name = type(state).__name__
            row = TranslationRow("", name, "another rule", exact=False, note=note)
            rows.append(row)
    return rows
