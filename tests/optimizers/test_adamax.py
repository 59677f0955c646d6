"""Adamax: the two places of its epsilon."""

import numpy as np

import optax_extras as oxe
from tests.optimizers.paths import difference, paths_of


def test_where_gradients_fade_the_two_forms_differ():
    """The divisor is 0.1 + b2^k in one, the larger of 0.1 and b2^k in the other."""
    kw, grads = {"b2": 0.5, "eps": 0.1}, 0.2 ** np.arange(50.0)[:, None]
    forms = {x: oxe.adamax(0.1, eps_in_maximum=x, **kw) for x in (True, False)}
    paths = paths_of(forms, grads)
    assert difference(paths[False], paths[True]) > 1e-3
