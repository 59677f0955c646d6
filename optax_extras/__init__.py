"""Training rules for JAX and Optax: schedules, rates, optimizers, switches.

Here are the optimizers, what combines them, and rates that answer to a metric. Rooms of
their own: `schedules` (functions of the step count), `rules` (optimizers as values),
`pytorch` and `keras` (the same under the names of those libraries), `lab` (problems,
races, the learning-rate range test, pictures).

>>> import optax
>>> import optax_extras as oxe
>>> schedule = oxe.schedules.warmup(100, oxe.schedules.cosine(1e-3, 10_000))
>>> tx = optax.chain(optax.scale_by_adam(), oxe.scale_by_rate(schedule))
"""

from optax_extras import keras as keras
from optax_extras import lab as lab
from optax_extras import pytorch as pytorch
from optax_extras import rules as rules
from optax_extras import schedules as schedules
from optax_extras._combinators._groups import GroupedLeaves as GroupedLeaves
from optax_extras._combinators.accumulate import AccumulateState as AccumulateState
from optax_extras._combinators.accumulate import accumulate as accumulate
from optax_extras._combinators.half_precision import (
    CompensationState as CompensationState,
)
from optax_extras._combinators.half_precision import MasterCopyState as MasterCopyState
from optax_extras._combinators.half_precision import (
    with_compensation as with_compensation,
)
from optax_extras._combinators.half_precision import (
    with_master_copy as with_master_copy,
)
from optax_extras._combinators.low_precision import (
    LowPrecisionState as LowPrecisionState,
)
from optax_extras._combinators.low_precision import (
    low_precision_state as low_precision_state,
)
from optax_extras._combinators.restart import restart as restart
from optax_extras._combinators.settle import settle as settle
from optax_extras._combinators.stacked import stacked as stacked
from optax_extras._combinators.switch import switch as switch
from optax_extras._optimizers.adabound import adabound as adabound
from optax_extras._optimizers.adabound import amsbound as amsbound
from optax_extras._optimizers.adadelta import adadelta as adadelta
from optax_extras._optimizers.adadelta import scale_by_adadelta as scale_by_adadelta
from optax_extras._optimizers.adafactor import AdafactorState as AdafactorState
from optax_extras._optimizers.adafactor import adafactor as adafactor
from optax_extras._optimizers.adagrad import adagrad as adagrad
from optax_extras._optimizers.adagrad import scale_by_adagrad as scale_by_adagrad
from optax_extras._optimizers.adamax import adamax as adamax
from optax_extras._optimizers.adamax import scale_by_adamax as scale_by_adamax
from optax_extras._optimizers.amsgrad import amsgrad as amsgrad
from optax_extras._optimizers.amsgrad import scale_by_amsgrad as scale_by_amsgrad
from optax_extras._optimizers.asgd import AsgdState as AsgdState
from optax_extras._optimizers.asgd import asgd as asgd
from optax_extras._optimizers.heavy_ball import heavy_ball as heavy_ball
from optax_extras._optimizers.muon import muon as muon
from optax_extras._optimizers.muon import scale_by_muon as scale_by_muon
from optax_extras._optimizers.nadam import nadam as nadam
from optax_extras._optimizers.nadam import scale_by_nadam as scale_by_nadam
from optax_extras._optimizers.rmsprop import rmsprop as rmsprop
from optax_extras._optimizers.rmsprop import scale_by_rmsprop as scale_by_rmsprop
from optax_extras._optimizers.rprop import RpropState as RpropState
from optax_extras._optimizers.rprop import rprop as rprop
from optax_extras._optimizers.swats import scale_by_swats as scale_by_swats
from optax_extras._optimizers.swats import swats as swats
from optax_extras._rates.greedy import GreedyState as GreedyState
from optax_extras._rates.greedy import greedy as greedy
from optax_extras._rates.hyperparameters import hyperparameters as hyperparameters
from optax_extras._rates.hyperparameters import (
    set_hyperparameters as set_hyperparameters,
)
from optax_extras._rates.metric import MetricSchedule as MetricSchedule
from optax_extras._rates.observe import observe as observe
from optax_extras._rates.plateau import PlateauState as PlateauState
from optax_extras._rates.plateau import plateau as plateau
from optax_extras._rates.rate import RateFactor as RateFactor
from optax_extras._rates.rate import RateState as RateState
from optax_extras._rates.reading import learning_rate as learning_rate
from optax_extras._rates.scale_by_metric import (
    ScaleByMetricState as ScaleByMetricState,
)
from optax_extras._rates.scale_by_metric import scale_by_metric as scale_by_metric
from optax_extras._rates.scale_by_rate import ScaleByRateState as ScaleByRateState
from optax_extras._rates.scale_by_rate import scale_by_rate as scale_by_rate
from optax_extras._rates.scheduled import ScheduledState as ScheduledState
from optax_extras._rates.scheduled import scheduled as scheduled
from optax_extras._transforms.stochastic_rounding import (
    apply_updates_stochastic as apply_updates_stochastic,
)
from optax_extras.rules._conditions import Condition as Condition
from optax_extras.rules._conditions import at_step as at_step
from optax_extras.rules._conditions import on_plateau as on_plateau
from optax_extras.rules._kernel import MomentsState as MomentsState
from optax_extras.rules._kernel import Rule as Rule
from optax_extras.rules._kernel import scale_by_moments as scale_by_moments
from optax_extras.rules._projection import ProjectionState as ProjectionState
from optax_extras.rules._projection import (
    projected_rate_settles as projected_rate_settles,
)
from optax_extras.rules._restart import RestartState as RestartState
from optax_extras.rules._switch import SwitchState as SwitchState
from optax_extras.rules._tableau import Tableau as Tableau

__version__ = "0.1.0.dev0"
__all__ = [name for name in dir() if not name.startswith("_")]
