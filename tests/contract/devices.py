"""A script in a process of its own, in which JAX sees eight devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# With warnings as errors, which pytest sees to in its own process alone.
PYTHON = [sys.executable, "-W", "error"]


def on_eight_devices(script, *arguments):
    """What the last line that it prints holds, as JSON.

    The number of CPU devices is fixed when JAX starts, hence the process.
    """
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [*PYTHON, "-c", script, *arguments],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
