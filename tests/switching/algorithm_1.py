"""Algorithm 1 of Keskar and Socher 2017 in NumPy, line by line, and Wilson's data."""

from typing import NamedTuple

import numpy as np


class Run(NamedTuple):
    path: np.ndarray  # the weights after every step, the first ones included
    switch_step: int  # -1: never
    rate: float  # Lambda; 0 before
    estimates: np.ndarray  # lambda / (1 - b2^k) after every step of Adam
    ratios: np.ndarray  # the last gamma after every step of Adam


def absolute(tolerance):
    return lambda estimate, ratio: abs(estimate - ratio) < tolerance


def relative(tolerance):
    return lambda estimate, ratio: abs(estimate - ratio) < tolerance * estimate


def algorithm_1(
    grads, alpha, agrees, b1=0.9, b2=0.999, eps=1e-9, first=2, forced=None, w=0.0
):
    """With given gradients; nothing fires before step `first`; step `forced` fires."""
    k, phase, m, a, v, lam, rate, gamma = 0, "Adam", *(0.0 for _ in range(6))
    w = np.zeros(grads.shape[1]) + w
    path, estimates, ratios, switch_step = [w], [], [], -1
    for g in grads:
        k += 1
        if phase == "SGD":
            v = b1 * v + g
            w = w - (1 - b1) * rate * v
            path.append(w)
            continue
        m = b1 * m + (1 - b1) * g
        a = b2 * a + (1 - b2) * g * g
        p = -alpha * np.sqrt(1 - b2**k) / (1 - b1**k) * m / (np.sqrt(a) + eps)
        w = w + p
        if p @ g != 0:
            gamma = (p @ p) / (-p @ g)
            lam = b2 * lam + (1 - b2) * gamma
            estimate = lam / (1 - b2**k)
            if (k >= first and k > 1 and agrees(estimate, gamma)) or k == forced:
                phase, v, rate, switch_step = "SGD", 0.0, estimate, k
        ratios.append(gamma)
        estimates.append(lam / (1 - b2**k))
        path.append(w)
    return Run(np.array(path), switch_step, rate, np.array(estimates), np.array(ratios))


def wilson(size, positive, seed):
    """Wilson et al. 2017: one feature is the label, two are constant, others private.

    Labels +1 with probability `positive`; a private feature for every positive row,
    five for a negative one.
    """
    rng = np.random.default_rng(seed)
    y = np.where(rng.random(size) < positive, 1.0, -1.0)
    x = np.zeros((size, 3 + 5 * size))
    x[:, 0], x[:, 1:3] = y, 1
    for i, label in enumerate(y):
        start = 3 + 5 * i
        x[i, start : start + (1 if label > 0 else 5)] = 1
    return x, y
