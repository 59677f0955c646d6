"""Optimizers: a learning rate in, a gradient transformation out.

The rate is a number, a schedule (a function of the number of updates already made) or a
metric schedule (such as `oxe.plateau(1e-3)`). `oxe.scale_by_...` is the direction
without a rate, to be chained in front of `oxe.scale_by_rate`.
"""
