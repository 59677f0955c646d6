"""What a switch costs: time of a step and temporaries, against optax.adam.

python benchmarks/switching.py [--size 20000000] [--leaves 1 200] [--repeats 3]
                               [--only CASE ...]

Ratios of one run are to be compared, not times of two. Each case takes turns with plain
Adam, so that what else the machine does slows both; a ratio is the median over the
repeats of the median of nine such pairs of donated steps.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_extras as oxe

NEVER = 10**6


def rules(when):
    rule = oxe.switch(oxe.rules.adam(), oxe.rules.momentum(), when)
    return optax.chain(oxe.scale_by_moments(rule), oxe.scale_by_rate(1e-3))


def transformations(when):
    return oxe.switch(optax.adam(1e-3), optax.sgd(1e-3, 0.9), when)


# A transformation, and how many updates to make before the clock runs.
CASES = {
    "optax.adam": (optax.adam(1e-3), 2),
    "optax.sgd, momentum": (optax.sgd(1e-3, 0.9), 2),
    "switch of rules, Adam": (rules(oxe.at_step(NEVER)), 2),
    "switch of rules, SGD": (rules(oxe.at_step(1)), 3),
    "swats, Adam": (oxe.swats(1e-3, min_steps=NEVER), 2),
    "swats, SGD": (oxe.swats(1e-3, min_steps=1, max_steps=1), 3),
    "switch of transformations, Adam": (transformations(oxe.at_step(NEVER)), 2),
    "switch of transformations, SGD": (transformations(oxe.at_step(1)), 3),
}


def ready(tx, warm, size, leaves):
    """A function that makes a step and times it; temporaries in units of the params."""
    shape = size // leaves
    params = {str(i): jnp.full(shape, 0.1) for i in range(leaves)}
    noise = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    grads = dict.fromkeys(params, noise + 0.1)

    def step(params, state, grads):
        u, state = tx.update(grads, state, params)
        return optax.apply_updates(params, u), state

    carry = [params, jax.jit(tx.init)(params)]
    step = jax.jit(step, donate_argnums=(0, 1))
    compiled = step.lower(*carry, grads).compile()

    def timed():
        start = time.perf_counter()
        carry[:] = jax.block_until_ready(compiled(*carry, grads))
        return 1e3 * (time.perf_counter() - start)

    for _ in range(warm):
        timed()
    return timed, compiled.memory_analysis().temp_size_in_bytes / (4 * size)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=20_000_000)
    parser.add_argument("--leaves", type=int, nargs="+", default=[1, 200])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=CASES)
    args = parser.parse_args()
    for leaves in args.leaves:
        print(f"\n{args.size} float32 in {leaves} leaves, {jax.devices()[0].platform}")
        print(f"{'':32}{'ms':>8}{'of Adam':>9}{'temporaries':>13}")
        plain, _ = ready(*CASES["optax.adam"], args.size, leaves)
        for name in args.only:
            timed, temporaries = ready(*CASES[name], args.size, leaves)
            ratios, times = [], []
            for _ in range(args.repeats):
                pairs = np.array([(plain(), timed()) for _ in range(9)])
                ratios.append(np.median(pairs[:, 1] / pairs[:, 0]))
                times.append(np.median(pairs[:, 1]))
            found = f"{np.median(times):8.1f}{np.median(ratios):9.2f}"
            print(f"{name:32}{found}{temporaries:13.2f}", flush=True)


if __name__ == "__main__":
    main()
