"""fastai's rules in plain Python, on curves that end before the first NaN."""

import math

import numpy as np


def valley(rates, losses):
    n = len(losses)
    lengths, end = [1] * n, 0
    for i in range(n):
        for j in range(i):
            if losses[j] > losses[i]:
                lengths[i] = max(lengths[i], lengths[j] + 1)
        if lengths[i] > lengths[end]:
            end = i
    length = lengths[end]
    if length == 1:
        return rates[0]
    return rates[max(end - length + length // 3 + length // 6, 0)]


def steep(rates, losses):
    if len(losses) < 2:
        return math.nan
    slopes = [
        (losses[i + 1] - losses[i]) / (math.log(rates[i + 1]) - math.log(rates[i]))
        for i in range(len(losses) - 1)
    ]
    return rates[slopes.index(min(slopes))]


def minimum(rates, losses):
    return rates[list(losses).index(min(losses))] / 10


def slide(rates, losses):
    if len(losses) < 16:
        return math.nan
    slopes = np.gradient(losses)
    right = len(losses) - 1
    left = right - 15
    found = rates[left]
    while left >= 0 and abs(slopes[right] - slopes[left]) > 0.005:
        found = rates[left]
        right, left = right - 1, left - 1
    return found


RULES = {"valley": valley, "steep": steep, "minimum": minimum, "slide": slide}


def smooth(losses):
    """The moving average of a ramp, with decay 0.98 and without bias to 0."""
    average, out = 0.0, []
    for i, x in enumerate(losses):
        average = 0.98 * average + 0.02 * x
        out.append(average / (1 - 0.98 ** (i + 1)))
    return np.array(out)
