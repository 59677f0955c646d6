"""NAdam: how it differs from Optax's, and long runs."""

import numpy as np
import optax

import optax_extras as oxe
from tests.optimizers.paths import difference, gradients, path_of, paths_of


def test_optax_has_another_form():
    paths = paths_of(
        {"ours": oxe.nadam(0.01), "theirs": optax.nadam(0.01)}, gradients()
    )
    assert difference(paths["ours"], paths["theirs"]) > 1e-2


def test_the_product_of_the_momenta_stays_a_number():
    """It underflows to 0; the steps are then those of a constant gradient."""
    path = path_of(oxe.nadam(0.1), np.ones((3000, 1)), "float32")
    np.testing.assert_allclose(np.diff(path[-50:], axis=0), -0.1, rtol=1e-3)
