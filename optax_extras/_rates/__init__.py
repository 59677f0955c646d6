"""Where the step size comes from: numbers, schedules, and reading what was applied.

A *metric schedule* stands where a rate stands and answers to a metric instead of the
step count: `oxe.plateau(1e-3)` is cut when the loss has stopped falling. It is shown
the metric with an update, ``tx.update(grads, state, params, value=loss)``, or between
two of them, ``state = oxe.observe(state, loss)``; `monitor` names the metric.
`oxe.learning_rate(state)` reads the rate, wherever it came from.
"""
