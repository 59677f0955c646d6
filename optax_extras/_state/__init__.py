"""Wrappers that change what is kept between updates, and how.

Several gradients to an update: `accumulate`. Half-precision weights:
`with_master_copy`, `with_compensation`, `apply_updates_stochastic`. A smaller state:
`low_precision_state`. Very many small leaves: `stacked`.
"""
