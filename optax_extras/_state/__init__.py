"""Wrappers that change how an optimizer stores its state.

One update for several gradients: `accumulate`. Averages of the weights: `with_average`,
read by `averaged`. Half-precision weights:
`with_master_copy`, `with_compensation`, `apply_updates_stochastic`. A smaller state:
`low_precision_state`. Very many small leaves: `stacked`.
"""
