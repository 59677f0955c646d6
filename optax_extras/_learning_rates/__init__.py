"""Learning rates: numbers, schedules and metric schedules, and applying one.

A *metric schedule* stands where a learning rate stands and follows a metric instead
of the step count: `oxe.plateau(1e-3)` is cut when the loss has stopped falling. It is
given the metric with an update, ``tx.update(grads, state, params, value=loss)``, or
between two of them, ``state = oxe.observe(state, loss)``; `monitor` names the metric.
"""
