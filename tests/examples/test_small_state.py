"""Small state trains as float32 does: the difference lies in the noise of the seeds."""

import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    import small_state

    yield small_state
    for name in ("small_state", "characters"):
        sys.modules.pop(name, None)


# The others are measured in docs/small_state.md, and take long to compile.
GOOD = ["state in 8 bits", "with_compensation", "stochastic, 8 bits"]
LINEAR = "8 bits, linear (simulated)"


@pytest.mark.full
@pytest.mark.parametrize(
    ("data", "ways", "steps", "seeds"),
    [("digits", GOOD, 150, 4), ("text", GOOD[:1], 50, 2)],
)
def test_within_the_noise_of_the_seeds(example, data, ways, steps, seeds):
    """Of the test loss, at the end; and even steps of 8 bits are no way at all."""
    task = example.task_of(data)
    found = example.runs(task, steps, seeds, ["float32", LINEAR, *ways])
    _, exact, hits, *_ = found["float32"]
    # It has learned something: the loss of guessing is log 10, or log 67.
    assert exact.max() < (0.5 if data == "digits" else 3.2)
    for way in ways:
        _, losses, accuracies, *_ = found[way]
        noise = exact.std(ddof=1)
        assert abs(losses.mean() - exact.mean()) < noise, way
        assert abs(accuracies.mean() - hits.mean()) < 0.015, way
    assert not np.any(found[LINEAR][1] < exact + 5 * exact.std(ddof=1))
