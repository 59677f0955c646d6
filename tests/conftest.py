"""What every test run shares; most of its time goes into tracing and compiling."""

import gc
import os

import jax
import jaxlib

# What is compiled here is small: to split it over threads costs more than it saves. And
# XLA's older emitters compile in half of the time; `make full` and what CI runs beside
# `make test` set flags of their own, so that the default ones are tested, too.
FLAGS = ["--xla_cpu_parallel_codegen_split_count=1"]
if (0, 8) <= tuple(map(int, jaxlib.__version__.split(".")[:2])) <= (0, 10):
    FLAGS += ["--xla_cpu_use_fusion_emitters=false"]  # an error where it is unknown
os.environ.setdefault("XLA_FLAGS", " ".join(FLAGS))
# Tracing makes many objects that live on; to look through them less often is a tenth.
gc.set_threshold(200_000, 20, 100)


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
