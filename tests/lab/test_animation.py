from pathlib import Path

import numpy as np
import optax
import pytest
from PIL import Image

from optax_extras.lab import animate_race, race

TXS = {"a": optax.sgd(0.95), "b": optax.sgd(0.1)}


@pytest.fixture(scope="module")
def run():
    return race("ditch", TXS, 20)


def frames_of(file):
    with Image.open(file) as gif:
        found = []
        for i in range(gif.n_frames):
            gif.seek(i)
            pixels = np.asarray(gif.convert("L"), float)
            found.append((pixels, gif.info["duration"]))
        return found


def test_gif(run, tmp_path):
    """Each frame has more ink than the one before, and the last shows everything."""
    figure = animate_race(run, tmp_path / "a.gif", frames=3, fps=2)
    frames = frames_of(tmp_path / "a.gif")
    assert len({pixels.shape for pixels, _ in frames}) == 1
    ink = [np.mean(pixels < 128) for pixels, _ in frames]
    assert len(ink) >= 3
    assert ink[:3] == sorted(ink[:3])
    assert ink[2] > 1.05 * ink[0]
    # Two frames of half a second, and the last for a second.
    assert sum(duration for _, duration in frames) == pytest.approx(2000, rel=0.1)
    left, right = figure.axes
    np.testing.assert_allclose(left.lines[0].get_xydata(), run.paths["a"].params)
    assert len(right.lines[0].get_xdata()) == 21


@pytest.mark.full
def test_more_frames_than_points(run, tmp_path):
    short = race("ditch", TXS, 2)
    animate_race(short, str(tmp_path / "a.gif"), frames=50, fps=1)
    assert len(frames_of(tmp_path / "a.gif")) == 3


@pytest.mark.full
def test_problem_without_a_landscape(tmp_path):
    figure = animate_race(race("reddi_online", TXS, 3), tmp_path / "A.GIF", frames=2)
    assert len(figure.axes) == 1


def test_bad_arguments(run, tmp_path):
    good = {"race": run, "file": tmp_path / "a.gif"}
    for wrong, kind, message in (
        ({"race": 3}, TypeError, "`race` must be what `race` returned, got 3"),
        ({"file": b"a.gif"}, TypeError, "`file` must be a path, got b'a.gif'"),
        ({"file": "a.txt"}, ValueError, "`file` must end in .gif, got 'a.txt'"),
        ({"file": ".gif"}, ValueError, "`file` must end in .gif, got '.gif'"),
        ({"file": Path("a")}, ValueError, r"`file` must end in .gif, got .*Path\('a'"),
        ({"frames": 1}, ValueError, "`frames` must be an integer of at least 2, got 1"),
        ({"fps": 0}, ValueError, "`fps` must be an integer of at least 1, got 0"),
    ):
        with pytest.raises(kind, match=f"^animate_race: {message}"):
            animate_race(**{**good, **wrong})
    assert not list(tmp_path.iterdir())
