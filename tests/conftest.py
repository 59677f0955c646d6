"""What every test run shares."""

import os


def pytest_configure(config):
    """Programs that were compiled in an earlier run are not compiled again.

    Each worker has a folder of its own, for two of them may write at once; a process
    that a test starts takes over its worker's. `pytest --cache-clear` empties them.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    folder = config.rootpath / ".pytest_cache" / "d" / "jax" / worker
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
