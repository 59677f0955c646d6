"""Rprop: Optax is one update late, tiny gradients, and the single learning rate."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.optimizers.paths import gradients, path_of, paths_of


def test_optax_is_one_update_late():
    """Optax's first update is 0, and each step is taken at the next gradient."""
    paths = paths_of(
        {"ours": oxe.rprop(0.01), "theirs": optax.rprop(0.01)}, np.ones((4, 1))
    )
    assert paths["theirs"][1] == 0
    np.testing.assert_allclose(paths["theirs"][2:], paths["ours"][1:-1], rtol=1e-12)


def test_signs_of_tiny_gradients_agree():
    """The product of 1e-30 and 1e-30 is 0 in float32; the signs are not."""
    steps = np.diff(path_of(oxe.rprop(1.0), np.full((5, 1), 1e-30), "float32")[:, 0])
    np.testing.assert_allclose(steps, [-(1.2**i) for i in range(5)], rtol=1e-6)


def test_of_a_schedule_only_the_first_value_is_used():
    def rising(t):
        return 0.25 + t

    paths = paths_of({"": oxe.rprop(0.25), "t": oxe.rprop(rising)}, gradients(50))
    np.testing.assert_array_equal(paths["t"], paths[""])
    assert oxe.learning_rate(oxe.rprop(rising).init(jnp.zeros(2))) == 0.25


def test_complex_leaves_are_refused_by_their_path():
    params = {"a": jnp.ones(2), "b": jnp.ones(2, complex)}
    with pytest.raises(ValueError, match=r"rprop: `params`\['b'\] must be real"):
        oxe.rprop(0.1).init(params)


@pytest.mark.parametrize(
    ("make", "name"),
    [(oxe.rprop, "rprop: `learning"), (oxe.pytorch.Rprop, "Rprop: `lr`")],
)
def test_a_schedule_that_starts_at_0_is_refused(make, name):
    """Nothing would ever move; one that starts above 0 is its first value."""
    for rate in (oxe.schedules.warmup(9, 0.1), oxe.plateau(0.0)):
        with pytest.raises(ValueError, match=f"^{name}.* must not start at 0"):
            make(rate)
        with pytest.raises(ValueError, match=f"^{name}.* must not start at 0"):
            oxe.scheduled(make)(rate)
        with pytest.raises(ValueError, match=f"^{name}.* must not start at 0"):
            optax.inject_hyperparams(make)(rate).init(jnp.ones(2))
    g = jnp.ones(2)
    for rate in (0.1, oxe.schedules.linear(0.1, 9)):
        tx = make(rate)
        assert (tx.update(g, tx.init(g), g)[0] == np.float32(-0.1)).all()
