"""Keras' optimizers and schedules, by its names and with its numbers."""

from optax_extras.keras._cycles import CosineDecayRestarts as CosineDecayRestarts
from optax_extras.keras._cycles import CyclicLR as CyclicLR
from optax_extras.keras._decays import CosineDecay as CosineDecay
from optax_extras.keras._decays import ExponentialDecay as ExponentialDecay
from optax_extras.keras._decays import InverseTimeDecay as InverseTimeDecay
from optax_extras.keras._decays import PiecewiseConstantDecay as PiecewiseConstantDecay
from optax_extras.keras._decays import PolynomialDecay as PolynomialDecay

__all__ = [name for name in dir() if not name.startswith("_")]
