"""Switch from one optimizer to another, or restart one, when a condition holds.

`switch` and `restart` take a condition, such as `at_step` and `on_plateau`. `swats` is
a finished optimizer: Adam, which switches to SGD with momentum by itself.
"""
