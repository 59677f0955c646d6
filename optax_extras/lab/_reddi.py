"""Reddi, Kale and Kumar's losses on [-1, 1], on which Adam goes to the wrong end."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras.lab._problem import Problem


def _clip(x: Any) -> jax.Array:
    return jnp.clip(x, -1, 1)


def _cycle(large: float, small: float, period: int, start: float) -> Problem:
    """The slope `large` once in a period, at its first step, else `-small`."""

    def sample(x: Any, i: jax.Array, key: Any) -> jax.Array:
        return jnp.where(i % period == 0, large, -small) * x

    def average(x: Any) -> jax.Array:
        return (large - small * (period - 1)) / period * x

    return _on_the_interval(average, sample, start, stochastic=False)


def _rare(large: float, small: float, chance: float) -> Problem:
    """The slope `large` with this chance, else `-small`."""

    def sample(x: Any, i: jax.Array, key: Any) -> jax.Array:
        return jnp.where(jax.random.bernoulli(key, chance), large, -small) * x

    def average(x: Any) -> jax.Array:
        return (large * chance - small * (1 - chance)) * x

    return _on_the_interval(average, sample, 0.0, stochastic=True)


def _on_the_interval(average, sample, start: float, *, stochastic: bool) -> Problem:
    return Problem(
        fun=average,
        start=np.array(start),
        minimum=np.array(-1.0),
        bounds=((-1.0, 1.0),),
        sample=sample,
        stochastic=stochastic,
        project=_clip,
    )


reddi_theorem = _cycle(3.0, 1.0, period=3, start=1.0)
r"""Reddi et al.'s first theorem: a loss of 3x at step 0, 3, 6 and so on, else of -x.

Points are kept in [-1, 1]. On average the loss is x/3, so that -1 is best; Adam with
``b1=0``, ``b2=0.1`` and a rate :math:`\alpha / \sqrt t` goes to 1. The start is 1. Of
`On the convergence of Adam and beyond <https://arxiv.org/abs/1904.09237>`__, 2018.
"""

reddi_online = _cycle(1010.0, 10.0, period=101, start=0.0)
r"""Reddi et al.'s online losses: 1010x at step 0, 101, 202 and so on, else -10x.

Points are kept in [-1, 1] and start at 0; on average the loss is 10x/101. Section 5 of
`their paper <https://arxiv.org/abs/1904.09237>`__, 2018.
"""

reddi_stochastic = _rare(1010.0, 10.0, chance=0.01)
r"""Reddi et al.'s stochastic losses: 1010x with chance 0.01, else -10x.

Points are kept in [-1, 1] and start at 0; on average the loss is 0.2x. Section 5 of
`their paper <https://arxiv.org/abs/1904.09237>`__, 2018.
"""
