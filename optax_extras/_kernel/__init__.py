"""The update that the classical optimizers share, and what every optimizer needs.

`tableau` holds the formula for one leaf, `scale_by_moments` runs it over a tree.
"""
