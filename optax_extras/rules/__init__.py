"""The classical optimizers as values: what is switched, raced and compared is a Rule.

A Rule becomes a gradient transformation by `oxe.scale_by_moments(rule)`.
"""

from optax_extras.rules._adabound import adabound as adabound
from optax_extras.rules._adabound import amsbound as amsbound
from optax_extras.rules._adagrad import adagrad as adagrad
from optax_extras.rules._adam import adam as adam
from optax_extras.rules._amsgrad import amsgrad as amsgrad
from optax_extras.rules._heavy_ball import heavy_ball as heavy_ball
from optax_extras.rules._nadam import nadam as nadam
from optax_extras.rules._radam import radam as radam
from optax_extras.rules._rated import rated as rated
from optax_extras.rules._rmsprop import rmsprop as rmsprop
from optax_extras.rules._sgd import momentum as momentum
from optax_extras.rules._sgd import sgd as sgd
from optax_extras.rules._swats import swats as swats

__all__ = [name for name in dir() if not name.startswith("_")]
