"""Let a metric control the learning rate, or apply a learning rate yourself.

A *metric schedule* is a learning rate that reacts to a metric instead of the step
count: `oxe.plateau(1e-3)` lowers it when the loss stops falling, `oxe.greedy(1e-3)`
also raises it. Optimizers of this library take one as their learning rate. Pass the
metric with an update, ``tx.update(grads, state, params, value=loss)``, or between two
updates, ``state = oxe.observe(state, loss)``. `monitor` names the metric.
"""
