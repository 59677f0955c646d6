"""The update that the classical optimizers share, and what every optimizer needs.

`tableau` says which scalars an update has, `leaf_update` is its formula for one leaf,
`scale_by_moments` runs it over a tree.
"""
