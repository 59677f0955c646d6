"""Train with one of these as you would with ``optax.adam``: ``tx = oxe.nadam(2e-3)``.

The learning rate is a number, a schedule (called with the number of updates already
made) or a metric schedule. From the state, :func:`learning_rate` reads the current one
and ``optax.tree.get(state, "mu")`` the buffer of that name. Each ``scale_by_<name>`` is
the direction of the optimizer ``<name>``, for use in ``optax.chain``.
"""

# Each file is one algorithm: its rule `<name>_rule`, public as `oxe.rules.<name>`, its
# direction `scale_by_<name>` and the optimizer `<name>`, in that order.
