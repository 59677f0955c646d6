"""Training rules for JAX and Optax: optimizers, learning rates and their combinations.

Public modules: `schedules` (functions of the step count), `averages` (averages of the
weights), `rules` (optimizers as values to combine), `layouts` (which leaves of a model
are matrices, for `muon`), `pytorch`, `keras`, `transformers` and `timm` (the names and
numbers of those libraries), `lab` (test problems, sweeps, the learning-rate range test,
figures) and `states` (the types of the states).

>>> import optax
>>> import optax_extras as oxe
>>> schedule = oxe.schedules.warmup(100, oxe.schedules.cosine(1e-3, 10_000))
>>> tx = optax.chain(optax.scale_by_adam(), oxe.scale_by_rate(schedule))
"""

# ruff: noqa: I001 (grouped by concept, several names to a line)
# fmt: off

import importlib as _importlib
from typing import TYPE_CHECKING as _TYPE_CHECKING

# Public modules.
from optax_extras import (
    averages as averages, rules as rules, schedules as schedules, states as states)

# Groups of params: numbers that depend on the path.
from optax_extras._by_path import FROZEN as FROZEN
from optax_extras._groups.by_path import by_path as by_path
from optax_extras._groups.describe_groups import describe_groups as describe_groups
from optax_extras._groups.layerwise import layerwise as layerwise
from optax_extras._groups.mup import mup as mup
from optax_extras._groups.vectors import vectors as vectors

# Optimizers, and their transformations without a learning rate.
from optax_extras._optimizers.adabound import adabound as adabound, amsbound as amsbound
from optax_extras._optimizers.adam import adam as adam, adamw as adamw
from optax_extras._optimizers.adadelta import (
    adadelta as adadelta, scale_by_adadelta as scale_by_adadelta)
from optax_extras._optimizers.adafactor import adafactor as adafactor
from optax_extras._optimizers.adagrad import (
    adagrad as adagrad, scale_by_adagrad as scale_by_adagrad)
from optax_extras._optimizers.adamax import (
    adamax as adamax, scale_by_adamax as scale_by_adamax)
from optax_extras._optimizers.amsgrad import (
    amsgrad as amsgrad, scale_by_amsgrad as scale_by_amsgrad)
from optax_extras._optimizers.asgd import asgd as asgd
from optax_extras._optimizers.ftrl import ftrl as ftrl
from optax_extras._optimizers.heavy_ball import heavy_ball as heavy_ball
from optax_extras._optimizers.lion import lion as lion, scale_by_lion as scale_by_lion
from optax_extras._groups._matrix_axes import MatrixAxes as MatrixAxes
from optax_extras._optimizers.muon import muon as muon, scale_by_muon as scale_by_muon
from optax_extras._optimizers.nadam import (
    nadam as nadam, scale_by_nadam as scale_by_nadam)
from optax_extras._optimizers.rmsprop import (
    rmsprop as rmsprop, scale_by_rmsprop as scale_by_rmsprop)
from optax_extras._optimizers.rprop import rprop as rprop
from optax_extras._optimizers.sgd import sgd as sgd

# Optimizers as values: the kernel they share.
from optax_extras._kernel.rule import Rule as Rule
from optax_extras._kernel.scale_by_moments import scale_by_moments as scale_by_moments
from optax_extras._kernel.tableau import Tableau as Tableau

# Switching to another optimizer, and restarting one.
from optax_extras._switching.conditions import (
    Condition as Condition, at_step as at_step, on_plateau as on_plateau)
from optax_extras._switching.projected_rate import (
    projected_rate_settles as projected_rate_settles)
from optax_extras._switching.restart import restart as restart
from optax_extras._switching.swats import (
    scale_by_swats as scale_by_swats, swats as swats)
from optax_extras._switching.switch import switch as switch

# Applying learning rates; learning rates that react to a metric.
from optax_extras._learning_rates.greedy import greedy as greedy
from optax_extras._learning_rates.metric_schedule import (
    MetricSchedule as MetricSchedule)
from optax_extras._learning_rates.plateau import plateau as plateau
from optax_extras._learning_rates.scale_by_metric import (
    scale_by_metric as scale_by_metric)
from optax_extras._learning_rates.scale_by_rate import scale_by_rate as scale_by_rate

# Reading, setting and scheduling the numbers in a state; passing it a metric.
from optax_extras._hyperparameters.hyperparameters import (
    hyperparameters as hyperparameters, set_hyperparameters as set_hyperparameters)
from optax_extras._hyperparameters.learning_rate import learning_rate as learning_rate
from optax_extras._hyperparameters.observe import observe as observe
from optax_extras._hyperparameters.scheduled import scheduled as scheduled

# Going on with the state of another optimizer.
from optax_extras._translation.report_types import (
    TranslationReport as TranslationReport,
)
from optax_extras._translation.load_optax_state import (
    load_optax_state as load_optax_state,
)
from optax_extras._translation.translate import translate as translate

# Averages of the weights.
from optax_extras._state.averaged import averaged as averaged
from optax_extras._state.with_average import with_average as with_average

# Wrappers that change the state: accumulation, precision, stacking.
from optax_extras._state.accumulate import accumulate as accumulate
from optax_extras._state.half_precision import (
    with_compensation as with_compensation, with_master_copy as with_master_copy)
from optax_extras._state.low_precision import low_precision_state as low_precision_state
from optax_extras._state.stacked import stacked as stacked
from optax_extras._state.stochastic_rounding import (
    apply_updates_stochastic as apply_updates_stochastic)

# Public modules that are imported when they are first used: most programs need few.
_LATER = ("keras", "lab", "layouts", "pytorch", "timm", "transformers")
if _TYPE_CHECKING:
    from optax_extras import (
        keras as keras, lab as lab, layouts as layouts, pytorch as pytorch,
        timm as timm, transformers as transformers)

__version__ = "0.1.0.dev0"
__all__ = sorted({*(name for name in dir() if not name.startswith("_")), *_LATER})


def __getattr__(name: str) -> object:
    if name in _LATER:
        return _importlib.import_module(f"optax_extras.{name}")
    raise AttributeError(f"module 'optax_extras' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
