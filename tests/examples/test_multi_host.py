"""Two processes, each with half of the weights; and one of them killed half-way."""

import os
import runpy
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = [sys.executable, "-W", "error", ROOT / "examples" / "multi_host.py"]
ENV = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
STEPS, EVERY = 200, 20


def start(folder, processes, process, port):
    command = [*SCRIPT, "--coordinator", f"localhost:{port}"]
    command += ["--processes", str(processes), "--process", str(process)]
    command += ["--folder", folder, "--steps", str(STEPS), "--every", str(EVERY)]
    command += ["--split-weights"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=ENV, text=True, **pipes)


def start_all(folder, processes):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return [start(folder, processes, i, port) for i in range(processes)]


def finish(started):
    """What the first one printed."""
    ended = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0] * len(started), ended
    return ended[0][0].splitlines()[-STEPS // EVERY - 3 :]


def numbers_of(lines):
    """Every loss that was printed, and the line about the switch."""
    return [float(x.split()[-1]) for x in lines if x.startswith("step")], lines[-1]


def start_and_kill(folder):
    """Two processes, which end before they are done."""
    started = start_all(folder, 2)
    while not (folder / str(2 * EVERY)).exists():
        assert all(process.poll() is None for process in started)
        time.sleep(0.01)
    started[1].kill()
    assert not (folder / str(STEPS)).exists()
    started[0].kill()  # which would wait for the other
    for process in started:
        process.communicate()


@pytest.mark.ci
def test_two_processes_that_were_killed(tmp_path):
    """Started again, they go on, and arrive where one process does."""
    start_and_kill(tmp_path / "two")
    two = finish(start_all(tmp_path / "two", 2))
    assert "from step 0" not in "".join(two)
    assert "holds 2400 of the state's 4800 numbers" in two[-STEPS // EVERY - 2]
    losses, switch = numbers_of(two)
    assert len(losses) == STEPS // EVERY
    alone, alone_switch = numbers_of(finish(start_all(tmp_path / "one", 1)))
    assert losses == pytest.approx(alone, rel=1e-4)
    step = switch.split()[3]
    assert step == alone_switch.split()[3]
    assert 0 < int(step.rstrip(",")) < STEPS


@pytest.mark.full
def test_every_digit_after_a_restart(tmp_path):
    start_and_kill(tmp_path / "killed")
    again, whole = (
        numbers_of(finish(start_all(tmp_path / name, 2))) for name in ("killed", "two")
    )
    assert again == whole


def by_itself(folder, *words):
    command = [*SCRIPT, "--processes", "1", "--folder", folder]
    return subprocess.run([*command, *words], env=ENV, text=True, capture_output=True)


@pytest.mark.full
def test_a_run_that_is_made_longer(tmp_path):
    """It goes on from where it ended; with fewer steps there is nothing to do."""
    lines = []
    for steps in ("20", "40", "40", "20"):
        done = by_itself(tmp_path, "--steps", steps, "--every", "10")
        assert done.returncode == 0, done.stderr
        lines.append([x for x in done.stdout.splitlines() if x.startswith("step")])
        assert "no switch so far" in done.stdout
    assert list(map(len, lines)) == [2, 4, 4, 2]
    assert lines[1][:2] == lines[0] == lines[3]
    assert lines[2] == lines[1]


@pytest.mark.ci
def test_numbers_below_one(monkeypatch, capsys):
    for name in ("processes", "steps", "every"):
        words = ["--processes", "1", "--folder", "none", f"--{name}", "0"]
        monkeypatch.setattr(sys, "argv", ["multi_host.py", *words])
        with pytest.raises(SystemExit, match="2"):
            runpy.run_path(str(SCRIPT[-1]), run_name="__main__")
        assert f"--{name} must be at least 1, got 0" in capsys.readouterr().err
