"""What every test run shares."""

import os

import jax


def pytest_configure(config):
    """Programs that were compiled in an earlier run are not compiled again.

    Each worker has a folder of its own, for two of them may write at once, and a
    process that a test starts has none. `pytest --cache-clear` empties them.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    folder = config.rootpath / ".pytest_cache" / "d" / "jax" / worker
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
