"""Averages of the weights, for `oxe.with_average`."""

from optax_extras.averages._average import Average as Average
