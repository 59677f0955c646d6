"""What low-precision state costs and saves: bytes, time of a step, temporaries.

bytes: weights and state together, per weight. temp bytes: temporaries of the compiled
step, per weight. x base: the time of a step over that of the first line, Adam in
float32, with which it alternates: the median over the repeats, with the least and the
greatest in brackets.
"""

import time
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_extras as oxe
from benchmarks import timing
from benchmarks.report import of_cases, of_size
from benchmarks.timing import Program, bytes_of

ADAM = optax.adam(1e-3)


class Case(NamedTuple):
    """An optimizer, the dtype of the weights, and whether rounding is stochastic."""

    tx: Any
    dtype: Any = jnp.float32
    stochastic: bool = False


small = oxe.low_precision_state
halves = partial(small, dtype="bfloat16")
HALF = jnp.bfloat16
CASES = {
    "Adam, float32": Case(ADAM),
    "optax mu_dtype=bfloat16": Case(optax.adam(1e-3, mu_dtype=HALF)),
    "state in 8 bits": Case(small(ADAM)),
    "state in bfloat16": Case(halves(ADAM)),
    "momentum, float32": Case(optax.sgd(1e-3, 0.9)),
    "momentum in 8 bits": Case(small(optax.sgd(1e-3, 0.9))),
    "swats in 8 bits": Case(small(oxe.swats(1e-3))),
    "bfloat16 weights": Case(ADAM, HALF),
    "with_master_copy": Case(oxe.with_master_copy(ADAM), HALF),
    "with_compensation": Case(oxe.with_compensation(ADAM), HALF),
    "stochastic": Case(ADAM, HALF, True),
    "with_master_copy, 8 bits": Case(oxe.with_master_copy(small(ADAM)), HALF),
    "with_compensation, 8 bits": Case(oxe.with_compensation(small(ADAM)), HALF),
    "stochastic, 8 bits": Case(small(ADAM), HALF, True),
}


def ready(name, size, leaves):
    """A step, compiled and warmed up, with its bytes per weight."""
    case = CASES[name]
    # Rows of 1000, a usual width.
    shape = (max(size // leaves // 1000, 1), 1000)
    count = shape[0] * 1000 * leaves
    params = {str(i): jnp.full(shape, 0.1, case.dtype) for i in range(leaves)}
    noise = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    grads = dict.fromkeys(params, noise + 0.1)
    if not case.stochastic:
        grads = jax.tree.map(lambda g: g.astype(case.dtype), grads)

    def step(params, state, key, grads):
        key, now = jax.random.split(key)
        u, state = case.tx.update(grads, state, params)
        if case.stochastic:
            params = oxe.apply_updates_stochastic(params, u, now)
        else:
            params = optax.apply_updates(params, u)
        return params, state, key

    like = grads if case.stochastic else params
    carry = [params, jax.jit(case.tx.init)(like), jax.random.key(0)]
    facts = {"bytes": bytes_of(carry[:2]) / count}
    step = jax.jit(step, donate_argnums=(0, 1, 2))
    compiled = step.lower(*carry, grads).compile()
    temporary = compiled.memory_analysis().temp_size_in_bytes
    facts["temporary_bytes"] = temporary / count

    def timed():
        start = time.perf_counter()
        carry[:] = jax.block_until_ready(compiled(*carry, grads))
        return 1e3 * (time.perf_counter() - start)

    for _ in range(2):
        timed()
    return Program(name, timed, facts)


def arguments(parser):
    of_size(parser)
    of_cases(parser, CASES)


def run(args):
    size = args.size // 10 if args.quick else args.size
    for leaves in args.leaves:
        title = f"state_size: {size} weights in {leaves} leaves"
        print(f"\n{title}")
        print(f"{'':28}{'bytes':>7}{'ms':>8}{'x base':>8}{'':16}{'temp bytes':>11}")
        first = next(iter(CASES))
        base = ready(first, size, leaves)
        records = []
        for name in dict.fromkeys([first, *args.only]):
            case = ready(name, size, leaves)
            found = timing.against(base, case, args.repeats)
            record = {"part": "state_size", "title": title, "name": name}
            records.append({**record, **case.facts, **found._asdict()})
            spread = f"  ({found.low:.3f}-{found.high:.3f})"
            print(
                f"{name:28}{case.facts['bytes']:7.2f}{found.ms:8.1f}{found.ratio:8.3f}"
                f"{spread:16}{case.facts['temporary_bytes']:11.2f}",
                flush=True,
            )
        yield records
