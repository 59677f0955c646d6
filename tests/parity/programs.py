"""Compile many cases in one program, which costs little more than a single case."""

import functools

import jax
from hypothesis import given, settings

# A small program spends most of its time in compilation; these options cut it to a
# third.
quick_jit = functools.partial(
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_cpu_use_fusion_emitters": False,
        "xla_llvm_disable_expensive_passes": True,
    },
)


def examples(strategy, count):
    """The same examples of a hypothesis strategy at each call, in lists of up to 30."""
    found = []

    @settings(deadline=None, derandomize=True, database=None, max_examples=count)
    @given(strategy)
    def collect(example):
        found.append(example)

    collect()
    return [found[i : i + 30] for i in range(0, len(found), 30)]
