import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from optax_extras import schedules
from optax_extras.lab.__main__ import main
from optax_extras.lab._calls import _OPTAXS, _OURS, USUAL, _things

ROOT = Path(__file__).parents[2]
ROOMS = "rules", "schedules", "pytorch", "keras"


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def drawn(path):
    pixels = image.imread(path)[..., :3].mean(axis=-1)
    return 0.003 < (pixels < 0.9).mean() < 0.5


def test_race(capsys):
    names = ["sgd", "adagrad(eps=1e-7)", "nadam", "radam"]
    code = main(["race", "--optimizers", *names, "--steps", "30", "--rate", "0.95"])
    title, head, *rows, last = capsys.readouterr().out.splitlines()
    assert code == 0
    assert title == "ditch, 30 updates"
    assert head.split() == ["optimizer", "value", "distance"]
    assert [row.split()[0] for row in rows] == names
    x, y = -7 * 0.905**30, 2 * (-0.9) ** 30
    assert float(rows[0].split()[1]) == pytest.approx(x**2 / 20 + y**2, rel=1e-3)
    assert last == "drawn: race.png"
    assert drawn("race.png")


def test_arguments_of_optimizers(capsys):
    """A rate of its own comes before that of all; no name, and it is the first."""
    names = ["optax.sgd(0.5)", "optax.sgd(learning_rate=0.5)", "sgd"]
    assert main(["race", "--optimizers", *names, "--rate", "0.5"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:5]
    assert len({row.split(maxsplit=1)[1] for row in rows}) == 1


@pytest.mark.parametrize("problem", ["noisy_quadratic", "reddi_online", "wilson"])
def test_race_on_every_kind_of_problem(problem, capsys):
    options = ["--problem", problem, "--steps", "5", "--out", "x.png"]
    assert main(["race", *options, "--optimizers", "adam", "rules.amsgrad"]) == 1
    assert "rules" in capsys.readouterr().err
    assert main(["race", *options, "--optimizers", "adam", "rprop"]) == 0
    assert drawn("x.png")


def test_moving_picture(capsys):
    command = ["race", "--optimizers", "sgd", "adam", "--steps", "4", "--gif", "a.gif"]
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "drawn: race.png, a.gif"
    assert Path("a.gif").read_bytes()[:6] == b"GIF89a"
    Path("race.png").unlink()
    assert main(command) == 1
    assert "a.gif exists: --force overwrites it" in capsys.readouterr().err
    assert not Path("race.png").exists()


def test_range_test(capsys):
    """A rule without a rate, and one with its rate inside."""
    names = ["momentum(0.95)", "optax_extras.rules.heavy_ball(momentum=0.8)"]
    options = ["--rates", "9", "--steps", "12", "--stop", "1", "--seeds", "2"]
    code = main(["range-test", "--optimizers", *names, *options])
    title, head, *rows, last = capsys.readouterr().out.splitlines()
    assert code == 0
    assert title == "digits, grid, 12 updates, 2 seeds"
    assert head.split() == ["optimizer", "valley", "steep", "minimum", "slide"]
    assert [row.split()[0] for row in rows] == names
    for row in rows:
        valley, steep, minimum, slide = map(float, row.split()[1:])
        assert 1e-5 <= valley <= 1
        assert 1e-5 <= steep <= 1
        assert 1e-6 <= minimum <= 0.1
        assert np.isnan(slide)  # of 16 rates at least
    assert last == "drawn: range_test.png"
    assert drawn("range_test.png")


def test_schedules(capsys):
    names = ["cyclic", "cosine(0.5, decay_steps=20)"]
    dotted = ["optax.constant_schedule(0.3)", "optax_extras.schedules.rex"]
    assert main(["schedules", *names, *dotted, "--out", "a.png"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "drawn: a.png"
    assert drawn("a.png")


@pytest.mark.parametrize(
    "text",
    [
        "os.system('touch owned')",
        "builtins.print(1)",
        "optax.adam(__import__('os'))",
        "optax.adam(open('owned', 'w'))",
        "_numerics.as_float(1)",
        "__import__('os')",
        "os.system",
        "optax_extras.lab._calls.from_rate('system(\"touch owned\")', ('os',))",
        "optax_extras.lab._calls.called('x', ('this',))",
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
    ],
)
@pytest.mark.parametrize("command", ["schedules", "race"])
def test_nothing_else_is_called(text, command, capsys):
    """Names of two libraries, with literal arguments: nothing is evaluated."""
    words = ["--optimizers", text] if command == "race" else [text]
    assert main([command, *words]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert not list(Path().iterdir())


def test_what_may_be_called():
    """Of our public rooms what is public; of Optax what makes a rate or takes one."""
    ours = ["optax_extras", *(f"optax_extras.{x}" for x in ROOMS)]
    found = {room: _things(room) for room in (*_OURS, *_OPTAXS)}
    assert [room for room in found if room.startswith("optax_extras")] == ours
    for room in ours:
        public = sys.modules[room].__all__
        assert set(found[room]) <= set(public), room
    rest = {**found["optax"], **found["optax.schedules"], **found["optax.contrib"]}
    assert {"adam", "sgd", "cosine_decay_schedule", "prodigy"} <= rest.keys()
    for name, thing in rest.items():
        words = inspect.signature(thing).parameters
        assert "learning_rate" in words or "schedule" in thing.__module__, name


@pytest.mark.parametrize(
    "words",
    [
        ["race", "--optimizers", "adam", "--seed", "9" * 20],
        ["schedules", "rex", "--steps", "1" + "0" * 12],
        ["schedules", "rex", "--steps", "1" + "0" * 30],
    ],
)
def test_numbers_that_are_too_large(words, capsys):
    assert main(words) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert not list(Path().iterdir())


@pytest.mark.parametrize("name", sorted(set(USUAL) & set(schedules.__all__)))
@pytest.mark.parametrize("steps", [1, 100])
def test_usual_arguments(name, steps):
    """They are those of the schedule, and its values are in [0, 1]."""
    schedule = getattr(schedules, name)(**USUAL[name](steps))
    values = np.array([schedule(t) for t in range(0, steps, 7)])
    assert (values >= 0).all()
    assert (values <= 1).all()


def test_nothing_is_overwritten_unasked(capsys):
    Path("b.png").write_text("mine")
    command = ["schedules", "rex", "--out", "b.png"]
    assert main(command) == 1
    assert "b.png exists: --force overwrites it" in capsys.readouterr().err
    assert Path("b.png").read_text() == "mine"
    assert main([*command, "--force"]) == 0
    assert capsys.readouterr().out == "overwritten: b.png\n"
    assert drawn("b.png")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["race", "--optimizers", "adagrda"], "no 'adagrda'; of similar name: adagrad"),
        (["race", "--optimizers", "adam("], "'adam(' is not of the form name(1, b=2)"),
        (["race", "--optimizers", "adam(b1=2j"], "is not of the form"),
        (
            ["schedules", "cosine(init_value=1, init_value=2, decay_steps=3)"],
            "gives `init_value` more than once",
        ),
        (["race", "--optimizers", "nadam(b1=2)"], "`b1` must be in [0, 1), got 2"),
        (["race", "--optimizers", "adam(b3=2)"], "b3"),
        (["race", "--optimizers", "adam", "--problem", "beal"], "such as 'beale'"),
        (
            ["race", "--optimizers", "adam", "--steps", "0"],
            "`steps` must be an integer",
        ),
        (["range-test", "--start", "1", "--stop", "0.1"], "`start` must be below `sto"),
        (["range-test", "--steps", "1"], "`steps` must be an integer of at least 2"),
        (
            ["range-test", "--optimizers", "optax.adam(0.1)"],
            "brings a rate, which is what",
        ),
        (["range-test", "--optimizers", "adamm"], "no 'adamm'; of similar name: adam"),
        (["range-test", "--optimizers", "optax.cosine_similarity"], "no 'cosine_sim"),
        (["schedules", "cyclc"], "no 'cyclc'; of similar name: cyclic"),
        (["schedules", "no.such"], "must begin with one of optax_extras, "),
        (["schedules", "rex", "--steps", "0"], "--steps must be at least 1, got 0"),
        (["schedules", "rex", "--out", "no/such.png"], "there is no folder no."),
        (["schedules", "rex", "--out", "picture"], "picture must end in one of "),
        (
            ["race", "--optimizers", "adam", "--gif", "a.png"],
            "a.png must end in one of .gif.",
        ),
        (["schedules", "piecewise_constant"], "missing 2 required"),
    ],
)
def test_what_cannot_be_done(command, message, capsys, tmp_path):
    assert main(command) == 1
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("adam(" + "-" * 9000 + "1)", "' is not of the form name(1, b=2)"),
        ("nadam(b1=1" + "0" * 4000 + ")", "nadam: `b1` must be in [0, 1), got 1"),
        ("nadam(b1='" + "x" * 9000 + "')", "nadam: `b1` must be a real number, got"),
        ("a" * 9000, "; of similar name: none."),
    ],
)
def test_what_is_very_long_is_shortened(text, right, capsys):
    assert main(["race", "--optimizers", text]) == 1
    printed = capsys.readouterr().err
    assert right in printed
    assert " ... " in printed
    assert len(printed) < 700


@pytest.mark.parametrize("command", ["race --optimizers adam", "schedules rex"])
def test_matplotlib_is_missed_before_anything_is_run(command, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(command.split()) == 1
    printed = capsys.readouterr()
    assert (
        printed.err
        == "error: lab: drawing needs matplotlib: `pip install matplotlib`.\n"
    )
    assert printed.out == ""


@pytest.mark.parametrize("command", [[], ["race"], ["marathon"], ["schedules"]])
def test_what_is_unclear(command, capsys):
    with pytest.raises(SystemExit) as leaving:
        main(command)
    assert leaving.value.code == 2
    assert "usage: python -m optax_extras.lab" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ([], ["race ", "range-test ", "schedules ", "Exit codes: 0", "--help"]),
        (["race"], ["--optimizers", "--problem", "--gif", "for example:"]),
        (["range-test"], ["--start", "--rates", "(adam)", "for example:"]),
        (["schedules"], ["--steps", "schedules cyclic", "for example:"]),
    ],
)
def test_help(command, expected, capsys):
    with pytest.raises(SystemExit) as leaving:
        main([*command, "--help"])
    assert leaving.value.code == 0
    printed = capsys.readouterr().out
    assert all(words in printed for words in expected)


def test_help_from_a_shell():
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    for command in ([], ["race"]):
        done = subprocess.run(
            [sys.executable, "-m", "optax_extras.lab", *command, "--help"],
            env=env,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        expected = "--optimizers" if command == ["race"] else "schedules"
        assert expected in done.stdout
