"""How everything here is timed: programs that take turns, medians, ratios with spread.

What else a machine does slows all of them alike, so ratios of one run are what counts;
times of two runs are not to be compared.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax


class Program(NamedTuple):
    """A compiled step, its arguments in place, and what XLA knows of it."""

    name: str
    timed: Callable[[], float]
    """Makes one step and returns its milliseconds, once the device is done."""
    facts: dict[str, float]
    """What is known without a clock; nothing for what XLA did not compile."""
    again: Callable[[], float] | None = None
    """The same of a second build, where there is one."""


class Entry(NamedTuple):
    """A transformation to be timed."""

    tx: Any
    told: bool = False
    """Whether its update is given a metric."""
    warm: int = 2
    """Updates before the clock runs."""


def bytes_of(tree: Any) -> int:
    return sum(x.nbytes for x in jax.tree.leaves(tree))


def build(name: str, entry: Entry, params: Any, grads: Any) -> Program:
    """A step with donated params and state: traced, compiled, warmed up."""

    def step(params, state, grads, value):
        given = {"value": value} if entry.told else {}
        updates, state = entry.tx.update(grads, state, params, **given)
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
    beside = memory.temp_size_in_bytes
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes
    facts["temporaries"] = beside / bytes_of(params)
    facts["peak_mb"] = (held - memory.alias_size_in_bytes + beside) / 1e6
    facts["state_scalars"] = sum(x.size == 1 for x in jax.tree.leaves(carry[1]))

    def timed():
        start = time.perf_counter()
        carry[:] = jax.block_until_ready(compiled(*carry, grads, value))
        return 1e3 * (time.perf_counter() - start)

    for _ in range(entry.warm):
        timed()
    return Program(name, timed, facts)


def build_both(one: tuple, other: tuple) -> tuple[Program, Program]:
    """Two programs, each built twice: one, other, other, one.

    Of a thousand small leaves what is built first is several per cent faster than the
    same built once more, so that who comes first must not matter.
    """
    first, second, third, last = (build(*x) for x in (one, other, other, one))
    return first._replace(again=last.timed), second._replace(again=third.timed)


def floor(count: int, each: float) -> Program:
    """One pass in place over as many bytes as a step has to move at least."""
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
    """What was measured of one program beside another."""

    ms: float
    base_ms: float
    """Of the other one in these turns."""
    ratio: float
    low: float
    high: float


def against(base: Program, other: Program, repeats: int, pairs: int = 12) -> Found:
    """The median over the repeats of the ratios of pairs that take turns.

    Every other pair is the other way round, for the one that comes second finds the
    caches as the first one leaves them; where there are second builds, they take the
    third and the fourth pair of four, in the order that the first builds did not end
    with, so that as often the one as the other runs twice in a row. Of a repeat it is
    the geometric mean of the medians of all ways.
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
    """The times of whole calls that take turns: one row a repeat."""

    def one(function):
        start = time.perf_counter()
        jax.block_until_ready(function())
        return time.perf_counter() - start

    functions = list(functions)
    return np.array([[one(f) for f in functions] for _ in range(repeats)])
