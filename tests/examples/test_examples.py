import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib import image

from optax_extras import schedules

ROOT = Path(__file__).parents[2]


def run(script, out, *options):
    """What the script prints; its figures are in `out`."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, ROOT / "examples" / script, "--out", out, *options]
    done = subprocess.run(command, env=env, cwd=out, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_figure(path):
    """It is there, not small, mostly paper, and has ink all over."""
    pixels = image.imread(path)[..., :3].mean(axis=-1)
    assert min(pixels.shape) > 500
    for half in (pixels[: len(pixels) // 2], pixels[len(pixels) // 2 :]):
        assert 0.005 < (half < 0.5).mean() < 0.2


def test_ditch(tmp_path):
    printed = run("ditch.py", tmp_path)
    rows = dict(line.split(maxsplit=1) for line in printed.splitlines()[2:6])
    ends = {name: [float(x) for x in row.split()] for name, row in rows.items()}
    for name, expected in {
        "SGD": (-0.350393, 0.0847823, 0.0133268),
        "Momentum": (0.8964139, 0.0880856, 0.0479370),
        "AdaGrad": (-0.1201623, 0.0, 0.00072195),
        "Adam": (0.1360069, 0.3182454, 0.1022050),
    }.items():
        # float32; and the source of these numbers places the eps of Adam elsewhere.
        assert ends[name] == pytest.approx(expected, abs=3e-5)
    check_figure(tmp_path / "ditch.png")
    check_figure(tmp_path / "schedules.png")


def test_ditch_draws_every_schedule():
    script = runpy.run_path(str(ROOT / "examples" / "ditch.py"))
    assert set(script["SCHEDULES"]) == set(schedules.__all__)
    for name, schedule in script["SCHEDULES"].items():
        assert schedule.__name__ == name


def test_swats_digits(tmp_path):
    printed = run("swats_digits.py", tmp_path, "--epochs", "6", "--seeds", "2")
    title, _, *rows = printed.strip().splitlines()
    assert title == "digits, 6 epochs of 22 steps, 2 seeds"
    accuracies = [float(row[16:].split("%")[0]) for row in rows[:3]]
    assert all(80 < accuracy <= 100 for accuracy in accuracies)
    pixels = image.imread(tmp_path / "swats_digits.png")[..., :3].mean(axis=-1)
    assert min(pixels.shape) > 500
    assert 0.003 < (pixels < 0.5).mean() < 0.2


def test_reddi(tmp_path):
    """Steps enough for the ends of the first two; of the third a beginning is drawn."""
    printed = run("reddi.py", tmp_path, "--stochastic-steps", "20000")
    rows = [line.split() for line in printed.splitlines()[1:7]]
    ends = [float(row[-1]) for row in rows]
    expected = [float(row[-2]) for row in rows]
    assert [row[-3] for row in rows] == ["Adam", "AMSGrad"] * 3
    assert expected == [1, -1] * 3
    assert ends[:4] == pytest.approx([0.9972, -1, 0.9928, -0.9984], abs=1e-3)
    check_figure(tmp_path / "reddi.png")


@pytest.mark.full
def test_digits(tmp_path):
    printed = run("digits.py", tmp_path, "--epochs", "2", "--seed", "1")
    title, _, *rows = printed.strip().splitlines()
    assert title == "2 epochs, seed 1, highest rate 0.01"
    accuracies = [float(row[20:].split("%")[0]) for row in rows[:6]]
    # A tenth would be chance.
    assert all(80 < accuracy <= 100 for accuracy in accuracies)
    assert "no ranking" in printed
    check_figure(tmp_path / "digits.png")


@pytest.mark.full
def test_plateau_digits(tmp_path):
    printed = run("plateau_digits.py", tmp_path, "--epochs", "26")
    changes, _, table = printed.partition("\n\n")
    title, _, *rows = table.strip().splitlines()
    assert title == "26 epochs, seed 0, first rate 0.3"
    names = [f"{x}, {way}" for x in ("NNX", "Equinox") for way in ("observe", "value=")]
    names += ["TrainState, observe"]
    for name, row in zip(names, rows, strict=False):
        assert row.startswith(name)
        accuracy, _, last, cuts = row[20:].split()
        assert 90 < float(accuracy.rstrip("%")) <= 100
        # What was printed when the rate changed, and what it ended with.
        mine = [x for x in changes.splitlines() if x.startswith(f"{name}:")]
        assert len(mine) == int(cuts)
        if mine:
            assert float(mine[-1].split()[-1]) == pytest.approx(float(last), rel=0.05)
    assert sum(int(row.split()[-1]) for row in rows[:5]) >= 4
    check_figure(tmp_path / "plateau_digits.png")
