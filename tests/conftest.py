"""Settings of every test run, most of whose time goes into tracing and compiling."""

import gc
import os

import jax
import jaxlib

# The programs here are small: compiling them on several threads, or with LLVM's
# optimizations, costs more than it saves. XLA's older emitters compile in half of the
# time. `make full`, and CI for pages and examples, set other flags: XLA's defaults are
# tested, too.
FLAGS = [
    "--xla_cpu_parallel_codegen_split_count=1",
    "--xla_backend_optimization_level=0",
]
if (0, 8) <= tuple(map(int, jaxlib.__version__.split(".")[:2])) <= (0, 10):
    FLAGS += [
        "--xla_cpu_use_fusion_emitters=false"
    ]  # other versions do not know the flag
os.environ.setdefault("XLA_FLAGS", " ".join(FLAGS))
# Workers have a core each: more threads of NumPy and PyTorch only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tracing makes many objects that stay: collecting less often saves a tenth of the time.
gc.set_threshold(200_000, 20, 100)
# JAX keeps more than a megabyte for each program, and compiles slower and slower. Twice
# compiling those that are needed again costs less.
MOST_PROGRAMS = 600
programs = 0


def count_programs(event, duration, **_):
    global programs
    programs += event == "/jax/core/compile/jaxpr_to_mlir_module_duration"


jax.monitoring.register_event_duration_secs_listener(count_programs)


def pytest_runtest_setup():
    """Forgets the programs when there are many."""
    global programs
    if programs > MOST_PROGRAMS:
        jax.clear_caches()
        programs = 0


def pytest_configure(config):
    """Caches compiled programs for later runs.

    Each worker has its own folder, because two may write at once; processes that a test
    starts have none. `pytest --cache-clear` empties the folders.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    folder = config.rootpath / ".pytest_cache" / "d" / "jax" / worker
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
