"""The options of Keras' optimizers, beside those of ours."""

import inspect
import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_extras._by_path import FROZEN
from optax_extras._errors import refuse, refuse_kind
from optax_extras._learning_rates.metric_schedule import MetricSchedule
from optax_extras._translation.call import Call
from optax_extras._translation.options import (
    by_path_values,
    option_rows,
    schedule_rows,
)
from optax_extras._translation.order import trained
from optax_extras._translation.rates import has_schedule
from optax_extras._translation.report_types import NOT_COMPARED, TranslationRow, some_of
from optax_extras._types import Params, State

_in_ball = optax.projections.projection_l2_ball
_CLIPS = ("clipnorm", "global_clipnorm", "clipvalue")
# The updates from now on at which schedules are compared.
_AHEAD = np.unique(np.geomspace(1, 10**7, 500).astype(np.int64)) - 1


def check_config(config: Any, name: str) -> None:
    """Refuses what is not a config of the optimizer of this name."""
    hint = "Pass `optimizer.get_config()`."
    if not isinstance(config, Mapping):
        refuse_kind("config", "be a dict", config, hint)
    missing = [x for x in _parameters(name) if x not in config]
    if missing:
        refuse("config", f"have the {missing[0]!r} of {name}", [*config], hint)


def optimizer_of(name: str, config: Any) -> Any:
    """The optimizer of `oxe.keras` of this config, behind its clipping."""
    rate = config["learning_rate"]
    if isinstance(rate, Mapping):
        rate = _schedule_of(rate)
        if rate is None:
            must = "have a schedule of `oxe.keras` for a trial step"
            refuse("config", must, config["learning_rate"])
    given = {x: config[x] for x in _parameters(name)} | {"learning_rate": rate}
    tx = getattr(_package(), name)(**given)
    clips = {
        "clipnorm": lambda x: optax.stateless(
            lambda updates, _: jax.tree.map(lambda g: _in_ball(g, x), updates)
        ),
        "global_clipnorm": optax.clip_by_global_norm,
        "clipvalue": optax.clip,
    }
    found = [clips[x](config[x]) for x in _CLIPS if config.get(x) is not None]
    return optax.chain(*found, tx) if found else tx


def _schedule_of(config: Mapping[str, Any]) -> Any:
    """The schedule of `oxe.keras` of a config; None if it is another one."""
    make: Any = getattr(_package(), str(config.get("class_name")), None)
    numbers = {k: x for k, x in config.get("config", {}).items() if k != "name"}
    if make is None or not {*numbers} <= {*inspect.signature(make).parameters}:
        return None
    return make(**numbers)


def rows_of_options(
    call: Call | None, config: Mapping[str, Any] | None, params: Params
) -> list[TranslationRow]:
    """The options of Keras' optimizer beside those of `tx`."""
    if config is None:
        advice = "Keras' variables do not hold them: give `config`"
        return [TranslationRow("options", "", NOT_COMPARED, None, note=advice)]
    if call is not None:
        ours = _without_none(call.arguments)
        if not (config["use_ema"] or ours["use_ema"]):
            ours = {k: x for k, x in ours.items() if not k.startswith("ema_")}
        call = call._replace(arguments=ours)
    advice = "give `gradients` for a trial step"
    options = dict.fromkeys(trained(params), _without_none(config))
    rows = option_rows(call, options, params, "config", advice)
    clips = [x for x in _CLIPS if call is not None and config.get(x) is not None]
    for x in clips:
        note = f"{config[x]} there: put it before `tx`, in `optax.chain`"
        rows.append(TranslationRow(x, x, "differs", exact=False, note=note))
    return rows


def _without_none(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, with what a None stands for."""
    empty = {"weight_decay": 0.0, "exclude_layers": ()}
    return {k: empty[k] if x is None and k in empty else x for k, x in options.items()}


def rows_of_rates(
    call: Call | None,
    rate: float | None,
    config: Mapping[str, Any] | None,
    state: State,
    params: Params,
    count: int,
) -> list[TranslationRow]:
    """Rows where a schedule of `tx` is not Keras'. `rate`: that of the variables."""
    given = None if call is None else call.arguments["learning_rate"]
    paths = [*trained(params)]
    if rate is not None:
        rows = schedule_rows(given, dict.fromkeys(paths, rate), params, count)
        if not rows and has_schedule(state):
            note = f"taken to be what has set Keras' learning rate, {rate:g}"
            how = "that of the schedule of `tx`"
            rows = [TranslationRow("lr", "learning_rate", how, note=note)]
        return rows
    ours = dict.fromkeys(paths, given) | by_path_values(given, params)
    schedules = {path: x for path, x in ours.items() if x is not FROZEN}
    constant = any(
        not callable(x) or isinstance(x, MetricSchedule) for x in schedules.values()
    )
    if not has_schedule(state) or (call is not None and constant):
        note = "Keras' follows a schedule: the variables have none"
        return [TranslationRow("lr", "", "that of `tx`", exact=False, note=note)]
    if call is None or config is None:
        return []
    found = config["learning_rate"]
    theirs = _schedule_of(found) if isinstance(found, Mapping) else None
    if theirs is None:
        how, note = NOT_COMPARED, f"{found} is none of `oxe.keras`"
        return [TranslationRow("lr", "config", how, exact=False, note=note)]
    other = [path for path, x in schedules.items() if not _agree(x, theirs, count)]
    if other:
        how, note = "the schedule differs", f"it is another one for {some_of(other)}"
        return [TranslationRow("lr", "config", how, exact=False, note=note)]
    return []


def _agree(ours: Any, theirs: Any, count: int) -> bool:
    """Whether two schedules agree from here on, at counts ever further apart."""
    t = jnp.asarray(np.minimum(count + _AHEAD, 2**31 - 1), jnp.int32)
    found, wanted = (np.asarray(jax.vmap(f)(t)) for f in (ours, theirs))
    return np.allclose(found, wanted, rtol=1e-5, atol=1e-6 * np.abs(wanted).max())


def _parameters(name: str) -> list[str]:
    return [*inspect.signature(getattr(_package(), name)).parameters]


def _package() -> Any:
    return sys.modules[__package__ or ""]
