"""Going on with the state of another optimizer.

`translate` makes the state of one optimizer from that of another one, in the middle of
a run. Its report says what became of each buffer and number.
"""
