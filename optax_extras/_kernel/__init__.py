"""The update that the classical optimizers share, and helpers of all optimizers.

`tableau` defines the scalars of an update. `leaf_update` applies its formula to one
leaf, `scale_by_moments` to a tree.
"""
