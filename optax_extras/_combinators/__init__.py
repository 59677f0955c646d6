"""Transformations, or rules, in; one of the same kind out.

One optimizer after another: `switch`, `restart`, `settle`. Several gradients to an
update: `accumulate`. Half-precision weights: `with_master_copy`, `with_compensation`.
A smaller state: `low_precision_state`. Very many small leaves: `stacked`.
"""
