"""Train with one of these as you would with ``optax.adam``: ``tx = oxe.nadam(2e-3)``.

The learning rate is a number, a schedule or a metric schedule. A schedule is a function
of the number of updates already made: 0 at the first update. A schedule as
`weight_decay` gives the weight decay of each update. :func:`learning_rate` reads from
the state the learning rate that the last update used, and ``optax.tree.get(state,
"mu")`` the buffer of that name. Each ``scale_by_<name>`` is the direction of the
optimizer ``<name>``, for use in ``optax.chain``.
"""

# Each file is one algorithm: its rule `<name>_rule`, public as `oxe.rules.<name>`, its
# direction `scale_by_<name>` and the optimizer `<name>`, in that order.
