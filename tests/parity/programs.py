"""Many cases in one compiled program, which costs little more than one of them."""

import functools

import jax
from hypothesis import given, settings

# Most of a small program's time is its compilation: these options make it a third.
quick_jit = functools.partial(
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_cpu_use_fusion_emitters": False,
        "xla_llvm_disable_expensive_passes": True,
    },
)


def examples(strategy, count):
    """Examples of a hypothesis strategy, always the same, in lists of 30 at most."""
    found = []

    @settings(deadline=None, derandomize=True, database=None, max_examples=count)
    @given(strategy)
    def collect(example):
        found.append(example)

    collect()
    return [found[i : i + 30] for i in range(0, len(found), 30)]
