"""Two processes, each with half of the weights; and one of them killed half-way."""

import os
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


@pytest.mark.full
def test_two_processes_and_one_killed(tmp_path):
    alone, alone_switch = numbers_of(finish(start_all(tmp_path / "one", 1)))
    two = finish(start_all(tmp_path / "two", 2))
    assert "holds 2400 of the state's 4800 numbers" in two[-STEPS // EVERY - 2]
    losses, switch = numbers_of(two)
    assert len(losses) == STEPS // EVERY
    assert losses == pytest.approx(alone, rel=1e-4)
    step = switch.split()[3]
    assert step == alone_switch.split()[3]
    assert 0 < int(step.rstrip(",")) < STEPS

    started = start_all(tmp_path / "killed", 2)
    saved = tmp_path / "killed" / str(2 * EVERY)
    while not saved.exists():
        assert all(process.poll() is None for process in started)
        time.sleep(0.01)
    started[1].kill()
    assert not (tmp_path / "killed" / str(STEPS)).exists()  # before it was done
    started[0].kill()  # which would wait for the other
    for process in started:
        process.communicate()
    again = finish(start_all(tmp_path / "killed", 2))
    assert "from step 0" not in "".join(again)
    assert numbers_of(again) == (losses, switch)  # every digit


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


@pytest.mark.parametrize("name", ["processes", "steps", "every"])
def test_numbers_below_one(name, tmp_path):
    done = by_itself(tmp_path, f"--{name}", "0")
    assert done.returncode == 2
    assert f"--{name} must be at least 1, got 0" in done.stderr
