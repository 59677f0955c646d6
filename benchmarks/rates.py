"""What a rate that answers to a metric costs around optax.adam: time and state.

python benchmarks/rates.py [--size 20000000] [--repeats 3] [--only CASE ...]

Ratios of one run are to be compared, not times of two. Each case takes turns with plain
Adam, so that what else the machine does slows both; a ratio is the median over the
repeats of the median of twelve such pairs of donated steps. "moved" is by XLA's count
how often as many bytes as by plain Adam go through memory.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_extras as oxe

RATE = 1e-3


def rate():
    return oxe.plateau(RATE, patience=1000)


# A transformation, and whether its update is told a metric.
CASES = {
    "optax.adam": (optax.adam(RATE), False),
    "scale_by_rate, number": (
        optax.chain(optax.scale_by_adam(), oxe.scale_by_rate(RATE)),
        False,
    ),
    "scale_by_rate, plateau": (
        optax.chain(optax.scale_by_adam(), oxe.scale_by_rate(rate())),
        True,
    ),
    "scale_by_rate, greedy": (
        optax.chain(optax.scale_by_adam(), oxe.scale_by_rate(oxe.greedy(RATE))),
        True,
    ),
    "scale_by_metric": (
        optax.chain(optax.adam(RATE), oxe.scale_by_metric(oxe.plateau(1.0))),
        True,
    ),
    "scheduled": (oxe.scheduled(optax.adam)(rate(), b1=0.9, b2=0.999), True),
    "inject_hyperparams": (optax.inject_hyperparams(optax.adam)(rate()), True),
    "accumulate, every=4": (oxe.accumulate(optax.adam(RATE), 4), True),
    "MultiSteps, every=4": (
        optax.MultiSteps(optax.adam(RATE), 4).gradient_transformation(),
        False,
    ),
}


def ready(tx, told, size):
    """A function that makes a step and times it; scalars of state; bytes moved."""
    params = jnp.full(size, 0.1)
    grads = jnp.asarray(np.random.default_rng(0).normal(size=size), jnp.float32)

    def step(params, state, grads, value):
        given = {"value": value} if told else {}
        u, state = tx.update(grads, state, params, **given)
        return optax.apply_updates(params, u), state

    carry = [params, jax.jit(tx.init)(params)]
    step = jax.jit(step, donate_argnums=(0, 1))
    compiled = step.lower(*carry, grads, jnp.float32(1)).compile()

    def timed():
        start = time.perf_counter()
        carry[:] = jax.block_until_ready(compiled(*carry, grads, jnp.float32(1)))
        return 1e3 * (time.perf_counter() - start)

    scalars = sum(x.size == 1 for x in jax.tree.leaves(carry[1]))
    return timed, scalars, compiled.cost_analysis()["bytes accessed"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=20_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=CASES)
    args = parser.parse_args()
    print(f"{args.size} float32, {jax.devices()[0].platform}")
    print(f"{'':24}{'ms':>8}{'of Adam':>9}{'moved':>7}{'scalars':>9}")
    plain, _, least = ready(*CASES["optax.adam"], args.size)
    for name in args.only:
        timed, scalars, moved = ready(*CASES[name], args.size)
        for step in (plain, timed, plain, timed):
            step()
        ratios, times = [], []
        for _ in range(args.repeats):
            pairs = np.array([(plain(), timed()) for _ in range(12)])
            ratios.append(np.median(pairs[:, 1] / pairs[:, 0]))
            times.append(np.median(pairs[:, 1]))
        found = f"{np.median(times):8.2f}{np.median(ratios):9.3f}"
        print(f"{name:24}{found}{moved / least:7.3f}{scalars:9}")


if __name__ == "__main__":
    main()
