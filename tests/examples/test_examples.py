"""Every example runs, once and short, and what it prints is right.

The eight that compile most are in the full run only.
"""

import re
import runpy
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib import image, pyplot

from optax_extras import schedules

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a script in this process and returns what it prints."""
    matplotlib.use("Agg")
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.chdir(tmp_path)

    def run(script, *options):
        script = str(EXAMPLES / script)
        monkeypatch.setattr(sys, "argv", [script, "--out", str(tmp_path), *options])
        runpy.run_path(script, run_name="__main__")
        return capsys.readouterr().out

    yield run
    pyplot.close("all")
    for name in ("characters", "muon_text"):
        sys.modules.pop(name, None)


def check_figure(path, least=0.005):
    """It is there, not small, mostly paper, and has ink all over."""
    pixels = image.imread(path)[..., :3].mean(axis=-1)
    assert min(pixels.shape) > 500
    for half in (pixels[: len(pixels) // 2], pixels[len(pixels) // 2 :]):
        assert least < (half < 0.5).mean() < 0.2


@pytest.mark.ci
def test_ditch(run, tmp_path):
    printed = run("ditch.py")
    rows = dict(line.split(maxsplit=1) for line in printed.splitlines()[2:6])
    ends = {name: [float(x) for x in row.split()] for name, row in rows.items()}
    for name, expected in {
        "SGD": (-0.350393, 0.0847823, 0.0133268),
        "Momentum": (0.8964139, 0.0880856, 0.0479370),
        "AdaGrad": (-0.1201623, 0.0, 0.00072195),
        "Adam": (0.1360069, 0.3182454, 0.1022050),
    }.items():
        # float32; and the source of these numbers places the eps of Adam elsewhere.
        assert ends[name][:3] == pytest.approx(expected, abs=3e-5)
        assert ends[name][3:5] == pytest.approx(expected[:2], abs=1e-6)
    assert ends["SGD"][5] == 30  # y changes its sign at every update
    drawn = runpy.run_path(str(EXAMPLES / "ditch.py"))["SCHEDULES"]
    assert {name: x.__name__ for name, x in drawn.items()} == {
        name: name for name in schedules.__all__
    }
    effects = [line.split() for line in printed.splitlines()[8:-1]]
    assert [row[0] for row in effects] == list(drawn)
    for _, expected, measured in effects:
        assert float(measured) == pytest.approx(float(expected), rel=2e-3)
    check_figure(tmp_path / "ditch.png")
    check_figure(tmp_path / "ditch_schedules.png")
    check_figure(tmp_path / "schedules.png")


@pytest.mark.full
def test_swats_digits(run, tmp_path):
    printed = run("swats_digits.py", "--epochs", "6", "--seeds", "2")
    title, _, *rows = printed.strip().splitlines()
    assert title == "digits, 6 epochs of 22 steps, 2 seeds"
    accuracies = [float(row[16:].split("%")[0]) for row in rows[:3]]
    assert all(80 < accuracy <= 100 for accuracy in accuracies)
    pixels = image.imread(tmp_path / "swats_digits.png")[..., :3].mean(axis=-1)
    assert min(pixels.shape) > 500
    assert 0.003 < (pixels < 0.5).mean() < 0.2


@pytest.mark.ci
def test_reddi(run, tmp_path):
    """Steps enough for the ends of the first two; of the third a beginning is drawn."""
    printed = run("reddi.py", "--stochastic-steps", "20000")
    rows = [line.split() for line in printed.splitlines()[1:7]]
    ends = [float(row[-1]) for row in rows]
    expected = [float(row[-2]) for row in rows]
    assert [row[-3] for row in rows] == ["Adam", "AMSGrad"] * 3
    assert expected == [1, -1] * 3
    assert ends[:4] == pytest.approx([0.9972, -1, 0.9928, -0.9984], abs=1e-3)
    check_figure(tmp_path / "reddi.png")


@pytest.mark.ci
def test_saddle(run, tmp_path):
    printed = run("saddle.py", "--steps", "300", "--seeds", "100")
    rows = [line[20:].split() for line in printed.splitlines()[2:8]]
    expected, measured = np.array(rows, float).T
    assert (expected[0], measured[0]) == (np.inf, np.inf)  # on the ridge
    assert expected[1] == pytest.approx(np.log(0.5e6) / np.log(1.1), abs=0.5)
    # Whole updates, and y⁴, which slows the last of them down.
    np.testing.assert_allclose(measured[[1, 3, 4, 5]], expected[[1, 3, 4, 5]], atol=4)
    assert measured[2] == pytest.approx(expected[2], abs=8)
    check_figure(tmp_path / "saddle.png", least=0.002)


@pytest.mark.ci
def test_minima(run, tmp_path):
    printed = run("minima.py", "--steps", "200", "--starts", "20")
    rows = [line[22:].split() for line in printed.splitlines()[2:13]]
    assert {row[0] for row in rows} == {"sharp", "flat", "neither"}
    for expected, *shares in rows:
        sharp, flat = (float(share.rstrip("%")) for share in shares)
        all_of = {"sharp": (100, 0), "flat": (0, 100), "neither": (0, 0)}
        assert (sharp, flat) == all_of[expected]
    check_figure(tmp_path / "minima.png")


@pytest.mark.full
def test_wilson(run, tmp_path):
    printed = run("wilson.py", "--steps", "5000")
    rows = [line[22:].split() for line in printed.splitlines()[2:19]]
    for loss, expected, measured in rows:
        assert float(loss) < 1e-4
        assert expected == measured
    assert {row[1] for row in rows} == {"0.00", "0.50"}
    check_figure(tmp_path / "wilson.png", least=0.002)


@pytest.mark.full
def test_cycles_digits(run, tmp_path):
    printed = run("cycles_digits.py", "--budgets", "2", "4", "--seeds", "2")
    head, *rows = printed.splitlines()[:6]
    assert head.split()[-4:] == ["2", "epochs", "4", "epochs"]
    for row in rows:
        assert all(0 < float(x) < 30 for x in re.findall(r"(\d+\.\d+)% ±", row))
    assert printed.count("measured") == 3
    check_figure(tmp_path / "cycles_digits.png", least=0.002)


@pytest.mark.full
def test_range_test_digits(run, tmp_path):
    options = ("--data", "digits", "--epochs", "2", "--seeds", "2")
    printed = run("range_test_digits.py", *options)
    rows = printed.splitlines()[3:5]
    for row in rows:
        errors = [float(x) for x in re.findall(r"(\d+\.\d+)%", row)]
        assert len(errors) == 8
        assert errors[-1] < 20
        assert errors[-1] <= errors[0] + 5, "the best of all is the best, or nearly"
        assert errors[4] < 20, "of `best`"
    check_figure(tmp_path / "range_test_digits.png", least=0.002)


@pytest.mark.ci
def test_digits(run, tmp_path):
    printed = run("digits.py", "--epochs", "2", "--seed", "1")
    title, _, *rows = printed.strip().splitlines()
    assert title == "2 epochs, seed 1, highest learning rate 0.01"
    accuracies = [float(row[20:].split("%")[0]) for row in rows[:6]]
    # A tenth would be chance.
    assert all(80 < accuracy <= 100 for accuracy in accuracies)
    assert "no ranking" in printed
    check_figure(tmp_path / "digits.png")


@pytest.mark.ci
def test_plateau_digits(run, tmp_path):
    printed = run("plateau_digits.py", "--epochs", "26")
    changes, _, table = printed.partition("\n\n")
    title, _, *rows = table.strip().splitlines()
    assert title == "26 epochs, seed 0, first learning rate 0.3"
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


@pytest.mark.full
def test_small_state(run, tmp_path):
    printed = run("small_state.py", "--steps", "40", "--seeds", "2")
    title, _, *rows = printed.splitlines()
    assert title.startswith("digits, 40 steps, 2 seeds")
    bytes_ = {row[:28].strip(): float(row[34:39]) for row in rows[:9]}
    assert bytes_["float32"] == 8
    assert bytes_["state in 8 bits"] < 2.2
    check_figure(tmp_path / "small_state_digits.png", least=0.002)


@pytest.mark.full
def test_muon_text(run, tmp_path):
    title, _, *rows = run("muon_text.py", "--quick").splitlines()
    assert title == "20 steps of 256 bytes, 2 seeds in tuning, 4 fresh seeds"
    assert [row.split()[0] for row in rows[:3]] == ["AdamW", "Muon", "NorMuon"]
    losses = [float(row[9:15]) for row in rows[:3]]
    assert max(losses) < 4  # the loss of guessing is log 256
    differences = [float(row[26:33]) for row in rows[1:3]]
    assert differences == pytest.approx(np.subtract(losses[1:], losses[0]), abs=2e-4)
    # AdamW: 8 bytes per weight. Muon: 4 in the block. NorMuon: a number per output.
    block, others, outputs = 12 * 64**2, (256 + 32 + 256) * 64, 9 * 64
    expected = 8 * (block + others), 4 * block + 8 * others
    expected = *expected, expected[1] + 4 * outputs
    printed = [float(re.search(r"(\d+) kB", row)[1]) for row in rows[:3]]
    assert printed == pytest.approx(np.array(expected) / 1e3, abs=0.6)
    assert "on this task, with these sizes" in " ".join(rows)
    check_figure(tmp_path / "muon_text.png", least=0.002)


@pytest.mark.full
def test_decay_after_the_run(run, tmp_path):
    title, head, _, *rows = run("decay_after_the_run.py", "--quick").splitlines()
    assert title == "80 updates of 256 bytes, 2 seeds"
    assert 2 < float(head.split()[-1]) < 4  # the loss of guessing is log 256
    names = [row[:17] for row in rows[:10]]
    assert names[::9] == ["linear  10%    80", "linear  20%    40"]
    numbers = [re.findall(r"[+-]?\d\.\d{4}", row[17:]) for row in rows[:10]]
    decayed, exact, _, rebuilt, _ = np.array(numbers, float).T
    assert all(2 < x < 4 for x in decayed)
    # 80 snapshots of 80 updates: nothing is lost by rebuilding.
    assert rebuilt == pytest.approx(exact, abs=2e-4)
    assert np.abs(exact).max() < 0.05
    assert "none on large models" in " ".join(rows)
    check_figure(tmp_path / "decay_after_the_run.png", least=0.002)


@pytest.mark.full
def test_finetune_digits(run, tmp_path):
    *groups, table = run("finetune_digits.py", "--quick").split("\n\n")
    values = [dict(re.findall(r"learning_rate +(\S+) +(\S.*?)  ", x)) for x in groups]
    frozen, thawed = (x for x in values if x)
    assert set(frozen.values()) == {"10 * cosine", "frozen"}
    assert frozen.keys() == thawed.keys()
    assert thawed["layers_1/.*"] == "(warm-up to 0.5) * cosine"
    _, *rows = table.strip().splitlines()
    names = "from scratch", "one learning rate", "frozen trunk", "groups"
    for name, row in zip(names, rows, strict=False):
        assert row.startswith(name)
        assert 20 < float(row[20:24]) <= 100
    accuracies = [float(row[20:24]) for row in rows[:4]]
    differences = [float(rows[i][39:45]) for i in (0, 2, 3)]
    expected = np.subtract(accuracies, accuracies[1])[[0, 2, 3]]
    assert differences == pytest.approx(expected, abs=0.11)
    assert "none on which way to choose" in " ".join(rows)
    check_figure(tmp_path / "finetune_digits.png", least=0.002)


@pytest.mark.ci
def test_carry_over(run, tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    title, *lines = run("carry_over.py", "--epochs", "3").splitlines()
    assert title == "66 updates, seed 0: PyTorch, after 33 Flax, after 49"
    report = [line.split() for line in lines if "exp_avg" in line]
    assert [row[:4] for row in report] == [
        ["[0].mu", "exp_avg", "copied", "yes"],
        ["[0].nu", "exp_avg_sq", "copied", "yes"],
    ]
    names = "PyTorch alone", "carried over", "a new state"
    rows = {line[:15].strip(): line[15:].split() for line in lines}
    alone, carried, new = (np.array(rows[name], float) for name in names)
    # Rounding, after 33 updates; and whatever is printed of the rest is the same.
    assert carried[0] < 1e-5
    assert carried[1] < 1e-13
    assert carried[2:] == pytest.approx(alone[2:], abs=2e-4)
    assert new[:2].min() > 1e-2
    assert new[2] > 1.5
    check_figure(tmp_path / "carry_over.png", least=0.002)
