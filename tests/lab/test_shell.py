"""`python -m optax_extras.lab`, which all tests but one call in this process."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from matplotlib import image

from optax_extras import lab, schedules
from optax_extras.lab.__main__ import main
from optax_extras.lab._calls import OPTAX, OURS, USUAL, _functions_of, parse_optimizer

ROOT = Path(__file__).parents[2]
PACKAGES = "rules", "schedules", "pytorch", "keras"


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def drawn(path):
    pixels = image.imread(path)[..., :3].mean(axis=-1)
    return 0.003 < (pixels < 0.9).mean() < 0.5


def test_race(capsys, monkeypatch):
    """A learning rate in the call overrides `--rate`, also without a name."""
    names = ["sgd", "optax.sgd(0.5)", "optax.sgd(learning_rate=0.5)"]
    names += ["optax_extras.rules.sgd"]
    monkeypatch.setattr(lab, "animate_race", lambda run, gif: gif.write_text("moving"))
    command = ["race", "--optimizers", *names, "--steps", "30", "--rate", "0.95"]
    command += ["--gif", "a.gif"]
    assert main(command) == 0
    title, head, *rows, last = capsys.readouterr().out.splitlines()
    assert title == "ditch, 30 updates"
    assert head.split() == ["optimizer", "value", "distance"]
    for row, name, rate in zip(rows, names, (0.95, 0.5, 0.5, 0.95), strict=True):
        x, y = -7 * (1 - rate / 10) ** 30, 2 * (1 - 2 * rate) ** 30
        assert row.split()[0] == name
        assert float(row.split()[1]) == pytest.approx(x**2 / 20 + y**2, rel=1e-3)
    assert last == "drawn: race.png, a.gif"
    assert drawn("race.png")
    assert Path("a.gif").read_text() == "moving"
    Path("race.png").unlink()
    assert main(command) == 1
    assert "a.gif exists: --force overwrites it" in capsys.readouterr().err
    assert not Path("race.png").exists()


@pytest.mark.parametrize(
    "problem",
    [
        "reddi_online",
        *(
            pytest.param(x, marks=pytest.mark.full)
            for x in ("noisy_quadratic", "wilson")
        ),
    ],
)
def test_race_on_every_kind_of_problem(problem, capsys):
    options = ["--problem", problem, "--steps", "5", "--out", "x.png"]
    assert main(["race", *options, "--optimizers", "adam", "rules.amsgrad"]) == 1
    assert "rules" in capsys.readouterr().err
    assert main(["race", *options, "--optimizers", "sgd"]) == 0
    assert drawn("x.png")


def found_by_hand():
    rates = np.geomspace(1e-5, 1, 9)
    losses = np.linspace(2, 1, 9)
    found = rates[4], rates[5], rates[8] / 10, np.nan, rates[6], rates[5:7]
    return lab.RangeTest(rates, losses[None], losses, *found)


def test_range_test(capsys, monkeypatch):
    """The arguments of a range test, which is replaced, and the printed table."""
    seen = []

    def lr_range_test(loss, params, batches, make, **options):
        seen.append((jax.tree.map(np.shape, batches), make(0.5), options))
        return found_by_hand()

    monkeypatch.setattr(lab, "lr_range_test", lr_range_test)
    names = ["momentum(0.95)", "optax_extras.rules.heavy_ball(momentum=0.8)", "adam"]
    options = ["--rates", "9", "--steps", "50", "--stop", "1", "--seeds", "2"]
    assert main(["range-test", "--optimizers", *names, *options]) == 0
    for batches, tx, asked in seen:
        assert batches == ((88, 32, 64), (88, 32)), "as many epochs as are needed"
        assert tx.init(np.ones(2)) is not None
        assert jax.random.key_data(asked.pop("key")).tolist() == [0, 0]
        assert asked == {
            "start": 1e-5,
            "stop": 1.0,
            "mode": "grid",
            "steps": 50,
            "rates": 9,
            "seeds": 2,
        }
    title, head, *rows, last = capsys.readouterr().out.splitlines()
    assert title == "digits, grid, 50 updates, 2 seeds"
    assert head.split() == ["optimizer", "best", "from", "to"]
    for row, name in zip(rows, names, strict=True):
        assert row.split() == [name, "0.056234", "0.013335", "0.056234"]
    assert last == "drawn: range_test.png"
    assert drawn("range_test.png")
    assert main(["range-test", "--mode", "linear", "--force"]) == 0
    _, head, row, _ = capsys.readouterr().out.splitlines()
    assert head.split() == ["optimizer", "valley", "steep", "minimum", "slide"]
    assert row.split() == ["adam", "0.0031623", "0.013335", "0.1", "nan"]


def test_optimizers_from_a_rate():
    """A rule without a learning rate, one with it inside, and an optimizer."""
    packages = "optax_extras", "optax_extras.rules", "optax"

    @jax.jit
    def moved(rate):
        def two(text):
            tx = parse_optimizer(text, packages)(rate)
            state, weight = tx.init(1.0), 1.0
            for _ in range(2):
                update, state = tx.update(2.0, state, weight)
                weight = weight + update
            return weight

        names = "momentum(0.5)", "optax_extras.rules.heavy_ball(momentum=0.5)"
        return [two(text) for text in (*names, "optax.sgd(momentum=0.5)")]

    # The first update is 2 learning rates, the second 2 and half of 2.
    np.testing.assert_allclose(moved(0.1), [1 - 0.1 * 5] * 3, rtol=1e-6)


@pytest.mark.ci
def test_range_test_of_digits(capsys):
    names = ["momentum(0.95)", "optax_extras.rules.heavy_ball(momentum=0.8)"]
    options = ["--rates", "9", "--steps", "12", "--stop", "1", "--seeds", "2"]
    assert main(["range-test", "--optimizers", *names, *options]) == 0
    _, _, *rows, _ = capsys.readouterr().out.splitlines()
    for row in rows:
        best, low, high = map(float, row.split()[1:])
        assert 1e-5 <= low <= best <= high <= 1
    assert drawn("range_test.png")


def test_schedules(capsys):
    """Existing files are overwritten only with --force."""
    Path("b.png").write_text("mine")
    names = ["linear", "linear(0.5, transition_steps=20)"]
    dotted = ["optax.constant_schedule(0.3)", "optax_extras.schedules.linear"]
    command = ["schedules", *names, *dotted, "--out", "b.png"]
    assert main(command) == 1
    assert "b.png exists: --force overwrites it" in capsys.readouterr().err
    assert Path("b.png").read_text() == "mine"
    assert main([*command, "--force"]) == 0
    assert capsys.readouterr().out == "overwritten: b.png\n"
    assert drawn("b.png")
    assert main([*command[:-1], "a.png"]) == 0
    assert capsys.readouterr().out == "drawn: a.png\n"


FORBIDDEN = [
    "os.system('touch owned')",
    "builtins.print(1)",
    "optax.adam(__import__('os'))",
    "optax.adam(open('owned', 'w'))",
    "_numerics.as_float(1)",
    "__import__('os')",
    "os.system",
    "optax_extras.lab._calls.parse_optimizer('system(\"touch owned\")', ('os',))",
    "optax_extras.lab._calls.parse_call('x', ('this',))",
    "optax_extras.lab.__main__.main(['race', '--out', 'owned.png'])",
    "optax_extras.lab.minimize(1)",
    "optax_extras._numerics.as_float(1)",
    "optax_extras.schedules._curve.schedule('x', 1)",
    "optax.jnp.save('owned', 1)",
    "optax.schedules._schedule.jnp.save('owned', 1)",
    "optax._src.base.identity()",
    "optax.apply_updates(1, 1)",
    "optax_extras.os.system('touch owned')",
    "optax_extras.rules..adam()",
    "sgd(**{'momentum': 1})",
    "sgd(*[1])",
    "adam(0.5)(0.9)",
    "linear(1)(2)",
    "adam(b1=open('owned', 'w')).adam(0.9)",
    "adam(0.5).nonsense[3](0.9)",
    "sgd(" + "-" * 9000 + "1)",
]


def test_nothing_else_is_called(capsys):
    """Only names of two libraries, with literal arguments; nothing is evaluated."""
    for text in FORBIDDEN:
        for command in (["race", "--optimizers"], ["schedules"]):
            assert main([*command, text]) == 1, text
            assert capsys.readouterr().err.startswith("error: "), text
            assert not list(Path().iterdir()), text


def test_what_may_be_called():
    """Our public functions, and Optax's schedules and optimizers."""
    ours = ["optax_extras", *(f"optax_extras.{x}" for x in PACKAGES)]
    found = {package: _functions_of(package) for package in (*OURS, *OPTAX)}
    assert [x for x in found if x.startswith("optax_extras")] == ours
    for package in ours:
        public = sys.modules[package].__all__
        assert set(found[package]) <= set(public), package
    rest = {**found["optax"], **found["optax.schedules"], **found["optax.contrib"]}
    assert {"adam", "sgd", "cosine_decay_schedule", "prodigy"} <= rest.keys()
    for name, thing in rest.items():
        words = inspect.signature(thing).parameters
        assert "learning_rate" in words or "schedule" in thing.__module__, name


def test_usual_arguments():
    """The schedules accept them, and have values in [0, 1]."""
    names = sorted(set(USUAL) & set(schedules.__all__))

    @jax.jit
    def values():
        return {
            (name, steps): jax.vmap(getattr(schedules, name)(**USUAL[name](steps)))(
                np.arange(0, steps, 7)
            )
            for name in names
            for steps in (1, 100)
        }

    for name, found in values().items():
        assert 0 <= found.min() <= found.max() <= 1, name


CANNOT = [
    ("race --optimizers adagrda", "no 'adagrda'; similar names: adagrad"),
    ("race --optimizers adam(", "'adam(' is not of the form name(1, b=2)"),
    ("race --optimizers adam(b1=2j", "is not of the form"),
    (
        "schedules cosine(init_value=1,init_value=2,decay_steps=3)",
        "gives `init_value` more than once",
    ),
    ("race --optimizers nadam(b1=2)", "`b1` must be in [0, 1), got 2"),
    ("race --optimizers adam(b3=2)", "b3"),
    ("race --optimizers adam --problem beal", "such as 'beale'"),
    ("race --optimizers adam --steps 0", "`steps` must be an integer"),
    ("race --optimizers adam --seed " + "9" * 20, ""),
    ("race --optimizers adam --gif a.png", "a.png must end in one of .gif."),
    ("range-test --start 1 --stop 0.1", "`start` must be below `sto"),
    ("range-test --steps 1", "`steps` must be an integer of at least 2"),
    ("range-test --optimizers optax.adam(0.1)", "must not set the learning rate"),
    ("range-test --optimizers adamm", "no 'adamm'; similar names: adam"),
    ("range-test --optimizers optax.cosine_similarity", "no 'cosine_sim"),
    (
        "range-test --optimizers optax_extras.schedules.rex(1,decay_steps=3)",
        "makes no optimizer from a learning rate",
    ),
    ("schedules cyclc", "no 'cyclc'; similar names: cyclic"),
    ("schedules no.such", "must begin with one of optax_extras, "),
    ("schedules rex --steps 0", "--steps must be at least 1, got 0"),
    ("schedules rex --steps 1" + "0" * 12, ""),
    ("schedules rex --steps 1" + "0" * 30, ""),
    ("schedules rex --out no/such.png", "there is no folder no."),
    ("schedules rex --out picture", "picture must end in one of "),
    ("schedules piecewise_constant", "missing 2 required"),
]


def test_what_cannot_be_done(capsys):
    for command, message in CANNOT:
        assert main(command.split()) == 1, command
        printed = capsys.readouterr()
        assert printed.err.startswith("error: "), command
        assert message in printed.err
        assert not message or printed.err.count("\n") == 1, command
        assert not list(Path().iterdir()), command


def test_what_is_very_long_is_shortened(capsys):
    for text, right in (
        ("adam(" + "-" * 9000 + "1)", "' is not of the form name(1, b=2)"),
        ("nadam(b1=1" + "0" * 4000 + ")", "nadam: `b1` must be in [0, 1), got 1"),
        ("nadam(b1='" + "x" * 9000 + "')", "nadam: `b1` must be a real number, got"),
        ("a" * 9000, "; similar names: none."),
    ):
        assert main(["race", "--optimizers", text]) == 1
        printed = capsys.readouterr().err
        assert right in printed
        assert " ... " in printed
        assert len(printed) < 700


def test_matplotlib_is_missed_before_anything_is_run(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for command in ("race --optimizers adam", "schedules rex"):
        assert main(command.split()) == 1
        printed = capsys.readouterr()
        right = "error: lab: drawing needs matplotlib: `pip install matplotlib`.\n"
        assert printed.err == right
        assert printed.out == ""


def test_what_is_unclear(capsys):
    for command in ([], ["race"], ["marathon"], ["schedules"]):
        with pytest.raises(SystemExit) as leaving:
            main(command)
        assert leaving.value.code == 2
        assert "usage: python -m optax_extras.lab" in capsys.readouterr().err


def test_help(capsys):
    for command, expected in (
        ([], ["race ", "range-test ", "schedules ", "Exit codes: 0", "--help"]),
        (["race"], ["--optimizers", "--problem", "--gif", "for example:"]),
        (["range-test"], ["--start", "--rates", "(adam)", "for example:"]),
        (["schedules"], ["--steps", "schedules cyclic", "for example:"]),
    ):
        with pytest.raises(SystemExit) as leaving:
            main([*command, "--help"])
        assert leaving.value.code == 0
        printed = capsys.readouterr().out
        assert all(words in printed for words in expected)


@pytest.mark.ci
def test_from_a_shell():
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "optax_extras.lab", "race", "--help"]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--optimizers" in done.stdout
