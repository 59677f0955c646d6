"""From the state of one of Optax's optimizers to that of one of ours."""

from typing import Any

import jax
import optax

from optax_extras._by_path import leaves_with_paths
from optax_extras._checks import StepCountOrZero, Transformation, checked
from optax_extras._errors import refuse, refuse_kind
from optax_extras._translation.arrays import refuse_traced
from optax_extras._translation.optax_states import (
    OTHER_RULES,
    injected_rates,
)
from optax_extras._translation.rates import constant_rate
from optax_extras._translation.report import TranslationReport, TranslationRow
from optax_extras._translation.source import Source
from optax_extras._translation.states import buffers_of, leaves_by_path, walk
from optax_extras._translation.translate import source_of, with_options
from optax_extras._translation.trial import with_trial
from optax_extras._translation.write import write
from optax_extras._types import Params, State


@checked
def load_optax_state(
    tx: Transformation,
    optax_state: Any,
    params: Params,
    *,
    source: Transformation | None = None,
    count: StepCountOrZero | None = None,
    gradients: Any = None,
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
    states = [x.state for x in walk(optax_state)]
    if states and not any(hasattr(x, "_fields") for x in states):
        must = "be that of an optimizer of Optax or of this library"
        refuse("optax_state", must, optax_state)
    first: Any = tx.init(params)
    paths = [path for path, _ in leaves_with_paths(params)]
    rates = injected_rates(
        states, paths, lambda state: _paths(state.inner_state, params)
    )
    known = {*rates.values()}
    rate = known.pop() if len(known) == 1 else constant_rate(first)
    found = source_of(optax_state, params, source, argument="", rate=rate)
    found = _with_count(found, count)._replace(rates=rates or None)
    new, report = write(tx, found, params)
    rows = _rows_of_other_rules(states, first)
    report = TranslationReport((*report.rows, *rows))
    if source is not tx:
        report = with_options(report)
    if gradients is not None:
        pairs = (source, optax_state), (tx, new)
        report = with_trial(report, *pairs, params, gradients)
    return new, report.checked(strict)


def _with_count(source: Source, count: Any) -> Source:
    if count is None or count == source.count:
        return source
    if source.count is not None:
        refuse("count", f"be that of `optax_state`, {source.count}", count)
    return source._replace(count=count)


def _paths(state: State, params: Params) -> list[str]:
    """The paths of the params that have buffers in a state."""
    trees = (
        getattr(x.state, field) for x in walk(state) for field in buffers_of(x.state)
    )
    return [*dict.fromkeys(p for tree in trees for p in leaves_by_path(tree, params))]


def _rows_of_other_rules(states: list[Any], new: State) -> list[TranslationRow]:
    """Rows for states of Optax whose rule is another one in a state of ours."""
    targets = [x.state for x in walk(new)]
    rows = []
    for state in states:
        field, note = OTHER_RULES.get(type(state), ("", ""))
        if any(hasattr(x, field) and type(x) is not type(state) for x in targets):
            name = type(state).__name__
            rows.append(
                TranslationRow("", name, "another rule", exact=False, note=note)
            )
        is_adam = isinstance(state, optax.ScaleByAdamState)
        if is_adam and any(_warms_up(x) for x in targets):
            note = "optax.nadam keeps the momentum constant, here it warms up"
            name = type(state).__name__
            rows.append(
                TranslationRow("", name, "another rule", exact=False, note=note)
            )
    return rows


def _warms_up(state: Any) -> bool:
    """Whether a state is that of NAdam, which has a product of momenta."""
    return bool(jax.tree.leaves(getattr(getattr(state, "carry", None), "product", ())))
