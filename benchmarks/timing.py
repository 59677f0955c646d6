"""How everything here is timed: programs that alternate, medians, ratios with spread.

Other work on the machine slows all of them alike. So compare the ratios of one run, not
the times of two runs.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax


class Program(NamedTuple):
    """A compiled step with its arguments, and what XLA says about it."""

    name: str
    timed: Callable[[], float]
    """Runs one step and returns its milliseconds, including those on the device."""
    facts: dict[str, float]
    """What is known without a clock; empty if XLA did not compile the step."""
    again: Callable[[], float] | None = None
    """`timed` of a second compilation, if there is one."""


class Entry(NamedTuple):
    """A transformation to be timed."""

    tx: Any
    takes_metric: bool = False
    """Whether its update is given a metric."""
    warm: int = 2
    """Updates before it is timed."""


def bytes_of(tree: Any) -> int:
    return sum(x.nbytes for x in jax.tree.leaves(tree))


def build(name: str, entry: Entry, params: Any, grads: Any) -> Program:
    """A step with donated params and state: traced, compiled, warmed up."""

    def step(params, state, grads, value):
        extra = {"value": value} if entry.takes_metric else {}
        updates, state = entry.tx.update(grads, state, params, **extra)
        return optax.apply_updates(params, updates), state

    params = jax.tree.map(jnp.array, params)
    carry = [params, jax.jit(entry.tx.init)(params)]
    value = jnp.float32(1)
    start = time.perf_counter()
    lowered = jax.jit(step, donate_argnums=(0, 1)).lower(*carry, grads, value)
    middle = time.perf_counter()
    compiled = lowered.compile()
    end = time.perf_counter()

    count = sum(x.size for x in jax.tree.leaves(params))
    once = bytes_of(grads) + 2 * bytes_of(carry)
    facts = {
        "trace_s": middle - start,
        "compile_s": end - middle,
        "fewest": once / count,
    }
    costs = compiled.cost_analysis() or {}
    facts["moved"] = costs.get("bytes accessed", np.nan) / count
    memory = compiled.memory_analysis()
    temporary = memory.temp_size_in_bytes
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes
    facts["temporaries"] = temporary / bytes_of(params)
    facts["peak_mb"] = (held - memory.alias_size_in_bytes + temporary) / 1e6
    facts["state_scalars"] = sum(x.size == 1 for x in jax.tree.leaves(carry[1]))

    def timed():
        start = time.perf_counter()
        carry[:] = jax.block_until_ready(compiled(*carry, grads, value))
        return 1e3 * (time.perf_counter() - start)

    for _ in range(entry.warm):
        timed()
    return Program(name, timed, facts)


def build_both(one: tuple, other: tuple) -> tuple[Program, Program]:
    """Two programs, each compiled twice: one, other, other, one.

    With a thousand small leaves, the program compiled first is several percent faster
    than the same program compiled again, so neither may always be the first.
    """
    first, second, third, last = (build(*x) for x in (one, other, other, one))
    return first._replace(again=last.timed), second._replace(again=third.timed)


def floor(count: int, each: float) -> Program:
    """One pass in place over as many bytes as a step must move."""
    size = int(count * each / 8)  # float32, read and written
    compiled = (
        jax.jit(lambda x: x + 1, donate_argnums=0).lower(jnp.zeros(size)).compile()
    )
    carry = [jnp.zeros(size)]

    def timed():
        start = time.perf_counter()
        carry[0] = jax.block_until_ready(compiled(carry[0]))
        return 1e3 * (time.perf_counter() - start)

    timed()
    return Program("the same bytes, in place", timed, {"fewest": each, "moved": each})


class Found(NamedTuple):
    """The measurements of one program and another."""

    ms: float
    base_ms: float
    """Of the other program in these turns."""
    ratio: float
    low: float
    high: float


def against(base: Program, other: Program, repeats: int, pairs: int = 12) -> Found:
    """The median over the repeats of the ratio of two programs that alternate.

    Every other pair runs in the opposite order, because the second program finds the
    caches as the first left them. Second compilations, if there are any, run in the
    third and fourth of every four pairs, ordered so that each program runs twice in a
    row equally often. The ratio of one repeat is the geometric mean of the medians of
    all orders.
    """
    ways = 4 if base.again or other.again else 2
    if pairs < ways:
        raise ValueError(f"`pairs` must be at least {ways}, got {pairs}")
    builds = [(x.timed, x.again or x.timed) for x in (base, other)]
    builds = list(zip(*builds, strict=True))[: ways // 2]
    for timed in 2 * [timed for both in builds for timed in both]:
        timed()
    ratios, times = [], []
    for _ in range(repeats):
        both = []
        for i in range(pairs):
            which = i // 2 % len(builds)
            first, second = builds[which]
            if i % 2 != which:
                one = first()
                both.append((one, second()))
            else:
                two = second()
                both.append((first(), two))
        first, second = np.array(both).T
        each = second / first
        medians = [np.median(each[i::ways]) for i in range(ways)]
        ratios.append(np.exp(np.mean(np.log(medians))))
        times.append((np.median(second), np.median(first)))
    ms, base_ms = map(float, np.median(times, axis=0))
    low, ratio, high = map(float, np.quantile(ratios, [0, 0.5, 1]))
    return Found(ms, base_ms, ratio, low, high)


def seconds(functions: Iterable[Callable[[], Any]], repeats: int) -> np.ndarray:
    """The times of whole calls that alternate: one row for each repeat."""

    def one(function):
        start = time.perf_counter()
        jax.block_until_ready(function())
        return time.perf_counter() - start

    functions = list(functions)
    return np.array([[one(f) for f in functions] for _ in range(repeats)])
