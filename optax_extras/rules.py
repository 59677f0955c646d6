"""Combine classical optimizers with `oxe.switch` and `oxe.restart`.

A rule becomes a gradient transformation by `oxe.scale_by_moments`. This is Adam:

>>> import optax
>>> import optax_extras as oxe
>>> direction = oxe.scale_by_moments(oxe.rules.adam())
>>> tx = optax.chain(direction, oxe.scale_by_rate(1e-3))

To train with one algorithm alone, use its optimizer (`oxe.amsgrad`, `optax.adam`).

In the formulas g is the gradient, and t = 1, 2, ... the number of the rule's own
update. The buffers m and v (`mu` and `nu`) start at zero, and u is the direction: the
weights move by minus the learning rate times u. `heavy_ball`, `adabound`, `amsbound`
and the rules that `with_learning_rate` returns include the learning rate in u: follow
them with `optax.scale(-1.0)`. The carry of a rule is the scalars that it passes from
one update to the next.
"""

from optax_extras._optimizers.adabound import adabound_rule, amsbound_rule
from optax_extras._optimizers.adagrad import adagrad_rule
from optax_extras._optimizers.adam import adam_rule
from optax_extras._optimizers.amsgrad import amsgrad_rule
from optax_extras._optimizers.heavy_ball import heavy_ball_rule
from optax_extras._optimizers.nadam import nadam_rule
from optax_extras._optimizers.radam import radam_rule
from optax_extras._optimizers.rmsprop import rmsprop_rule
from optax_extras._optimizers.sgd import momentum_rule, sgd_rule
from optax_extras._switching.swats import swats_rule
from optax_extras._switching.with_learning_rate import (
    with_learning_rate as with_learning_rate,
)

adabound = adabound_rule
adagrad = adagrad_rule
adam = adam_rule
amsbound = amsbound_rule
amsgrad = amsgrad_rule
heavy_ball = heavy_ball_rule
momentum = momentum_rule
nadam = nadam_rule
radam = radam_rule
rmsprop = rmsprop_rule
sgd = sgd_rule
swats = swats_rule

__all__ = [name for name in dir() if not name.startswith("_") and name[-5:] != "_rule"]
