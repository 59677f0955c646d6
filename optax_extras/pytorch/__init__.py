"""PyTorch's optimizers and schedulers, by its names and with its numbers."""

from optax_extras.pytorch._composed import ChainedScheduler as ChainedScheduler
from optax_extras.pytorch._composed import LambdaLR as LambdaLR
from optax_extras.pytorch._composed import MultiplicativeLR as MultiplicativeLR
from optax_extras.pytorch._composed import SequentialLR as SequentialLR
from optax_extras.pytorch._cosines import SWALR as SWALR
from optax_extras.pytorch._cosines import CosineAnnealingLR as CosineAnnealingLR
from optax_extras.pytorch._cosines import (
    CosineAnnealingWarmRestarts as CosineAnnealingWarmRestarts,
)
from optax_extras.pytorch._cycles import CyclicLR as CyclicLR
from optax_extras.pytorch._cycles import OneCycleLR as OneCycleLR
from optax_extras.pytorch._decays import ConstantLR as ConstantLR
from optax_extras.pytorch._decays import ExponentialLR as ExponentialLR
from optax_extras.pytorch._decays import LinearLR as LinearLR
from optax_extras.pytorch._decays import MultiStepLR as MultiStepLR
from optax_extras.pytorch._decays import PolynomialLR as PolynomialLR
from optax_extras.pytorch._decays import StepLR as StepLR

__all__ = [name for name in dir() if not name.startswith("_")]
