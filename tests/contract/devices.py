"""Runs a script in a new process, in which JAX has eight devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import FLAGS as QUICK

ROOT = Path(__file__).parents[2]
# With warnings as errors, which pytest sets in its own process only.
PYTHON = [sys.executable, "-W", "error"]
# XLA's pool has as many threads as there are cores, or devices. In a collective each
# device waits on one of them, so that none may be left for the others.
THREADS = "32"
# XLA's CPU devices are threads, which wait for one another in every collective. On a
# busy machine eight of them may not all run in the 40 seconds after which XLA gives up.
PATIENCE = 240
FLAGS = (
    *QUICK,  # sharding is decided before code is generated
    "--xla_force_host_platform_device_count=8",
    f"--xla_cpu_collective_call_warn_stuck_timeout_seconds={PATIENCE}",
    f"--xla_cpu_collective_call_terminate_timeout_seconds={PATIENCE}",
)


def on_eight_devices(script, *arguments):
    """What the last line that it prints holds, as JSON.

    The number of CPU devices is fixed when JAX starts, hence the process. One program
    runs after the other: two at once could each hold threads that the other waits for.
    """
    done = subprocess.run(
        [*PYTHON, "-c", script, *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "XLA_FLAGS": " ".join([os.environ.get("XLA_FLAGS", ""), *FLAGS]),
            "JAX_PLATFORMS": "cpu",
            "NPROC": THREADS,
            "JAX_CPU_ENABLE_ASYNC_DISPATCH": "false",
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    if done.returncode < 0 and "rendezvous" in done.stderr:
        raise TimeoutError(
            "eight devices did not meet: this machine is too small or too busy for "
            f"the tests of many devices.\n{done.stderr[-2000:]}"
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
