"""Optimizers: a learning rate in, a gradient transformation out.

One file, one algorithm.

It holds the rule (an optimizer as a value, `<name>_rule`, public as
`oxe.rules.<name>`), `scale_by_<name>` (the direction without a learning rate) and the
optimizer itself, in that order.
"""
