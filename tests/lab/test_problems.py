import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_extras.lab import problems

PROBLEMS = {
    name: getattr(problems, name) for name in problems.__all__ if name != "Problem"
}


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
class TestEvery:
    def test_record(self, problem):
        assert isinstance(problem, problems.Problem)
        assert np.shape(problem.start) == np.shape(problem.minimum) == (2,)
        for point in (problem.start, problem.minimum):
            for x, (low, high) in zip(point, problem.bounds, strict=True):
                assert low < x < high

    def test_minimum(self, problem):
        with jax.enable_x64(True):
            lowest = problem.fun(problem.minimum)
            slope = jax.grad(problem.fun)(jnp.asarray(problem.minimum))
            near = problem.minimum + 0.1 * np.eye(2)
            assert np.allclose(slope, 0, atol=1e-12)
            assert np.all(jax.vmap(problem.fun)(near) > lowest)

    def test_traceable_and_keeps_dtype(self, problem):
        for dtype in (jnp.float32, jnp.bfloat16):
            start = jnp.asarray(problem.start, dtype)
            value = jax.jit(problem.fun)(start)
            assert (value.shape, value.dtype) == ((), dtype)

    def test_holds_no_jax_array(self, problem):
        assert isinstance(problem.start, np.ndarray)
        assert isinstance(problem.minimum, np.ndarray)


def test_ditch():
    """The formula, and its gradient (x / 10, 2y)."""
    start = problems.ditch.start
    assert start.tolist() == [-7, 2]
    assert problems.ditch.fun(start) == pytest.approx(49 / 20 + 4)
    slope = jax.grad(problems.ditch.fun)(jnp.asarray(start))
    assert np.allclose(slope, [-0.7, 4])
