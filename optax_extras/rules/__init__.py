"""The classical optimizers as values: what is switched, raced and compared is a Rule.

A rule becomes a gradient transformation by `oxe.scale_by_moments`. This is Adam:

>>> import optax
>>> import optax_extras as oxe
>>> direction = oxe.scale_by_moments(oxe.rules.adam())
>>> tx = optax.chain(direction, oxe.scale_by_rate(1e-3))

Alone it is better written as one of the optimizers (`oxe.amsgrad`, `optax.adam`); rules
are there to be combined first, by `oxe.switch` and `oxe.restart`.

In the formulas g is the gradient, t = 1, 2, ... the number of the rule's own update, m
and v are the buffers `mu` and `nu`, which start at zero, and u is the direction: the
weights move by minus the rate times u. `heavy_ball`, `adabound`, `amsbound` and what
`rated` returns have the rate inside u; behind them comes `optax.scale(-1.0)` alone.
The scalars that a rule keeps from one update to the next are its carry.
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
