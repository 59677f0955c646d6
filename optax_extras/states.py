"""Read the fields of an optimizer's state, or recognize a state by its type.

`init` and `update` return these types, at any place in the state of a chain; you never
make one yourself. ``optax.tree.get(state, "mu")`` finds a field by its name.
"""

from optax_extras._hyperparameters.scheduled import ScheduledState as ScheduledState
from optax_extras._kernel._missed_updates import MissedUpdates as MissedUpdates
from optax_extras._kernel._weight_decay import WeightDecayState as WeightDecayState
from optax_extras._kernel.scale_by_moments import MomentsState as MomentsState
from optax_extras._learning_rates._source import (
    NumbersByPath as NumbersByPath,
    RateFactor as RateFactor,
    RateState as RateState,
)
from optax_extras._learning_rates._warmup import (
    MetricWarmupState as MetricWarmupState,
)
from optax_extras._learning_rates.greedy import GreedyState as GreedyState
from optax_extras._learning_rates.plateau import PlateauState as PlateauState
from optax_extras._learning_rates.scale_by_metric import (
    ScaleByMetricState as ScaleByMetricState,
)
from optax_extras._learning_rates.scale_by_rate import (
    ScaleByRateState as ScaleByRateState,
)
from optax_extras._optimizers.adabound import AdaBoundState as AdaBoundState
from optax_extras._optimizers.adadelta import (
    ScaleByAdadeltaState as ScaleByAdadeltaState,
)
from optax_extras._optimizers.adafactor import AdafactorState as AdafactorState
from optax_extras._optimizers.adamax import ScaleByAdamaxState as ScaleByAdamaxState
from optax_extras._optimizers.asgd import AsgdState as AsgdState
from optax_extras._optimizers.ftrl import FtrlState as FtrlState
from optax_extras._optimizers.lion import ScaleByLionState as ScaleByLionState
from optax_extras._optimizers.muon import NormalizedState as NormalizedState
from optax_extras._optimizers.rprop import RpropState as RpropState
from optax_extras._optimizers.schedule_free import (
    ScheduleFreeState as ScheduleFreeState,
)
from optax_extras._state._loss_scale import LossScaleState as LossScaleState
from optax_extras._state._stacking import GroupedLeaves as GroupedLeaves
from optax_extras._state.accumulate import AccumulateState as AccumulateState
from optax_extras._state.half_precision import (
    CompensationState as CompensationState,
    MasterCopyState as MasterCopyState,
)
from optax_extras._state.low_precision import LowPrecisionState as LowPrecisionState
from optax_extras._state.with_average import WithAverageState as WithAverageState
from optax_extras._switching._rate_of_each_phase import (
    PhasedRateState as PhasedRateState,
)
from optax_extras._switching._switch_state import SwitchState as SwitchState
from optax_extras._switching.projected_rate import ProjectionState as ProjectionState
from optax_extras._switching.restart import RestartState as RestartState

__all__ = [name for name in dir() if not name.startswith("_")]
