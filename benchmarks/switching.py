"""What a switch costs: time of a step and temporaries, against optax.adam.

python benchmarks/switching.py [--size 20000000] [--leaves 1 200] [--repeats 3]

Ratios of one run are to be compared, not times of two. Each is the median over the
repeats of the median of nine donated steps.
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


def measure(tx, warm, size, leaves):
    """Milliseconds of a step, and temporaries in units of the params."""
    shape = size // leaves
    params = {str(i): jnp.full(shape, 0.1) for i in range(leaves)}
    noise = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    grads = dict.fromkeys(params, noise + 0.1)

    def step(params, state, grads):
        u, state = tx.update(grads, state, params)
        return optax.apply_updates(params, u), state

    state = jax.jit(tx.init)(params)
    lowered = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, grads)
    compiled = lowered.compile()
    times = []
    for _ in range(warm + 9):
        start = time.perf_counter()
        params, state = jax.block_until_ready(compiled(params, state, grads))
        times.append(1e3 * (time.perf_counter() - start))
    temporaries = compiled.memory_analysis().temp_size_in_bytes / (4 * size)
    return np.median(times[warm:]), temporaries


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=20_000_000)
    parser.add_argument("--leaves", type=int, nargs="+", default=[1, 200])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    for leaves in args.leaves:
        runs = [
            {name: measure(*case, args.size, leaves) for name, case in CASES.items()}
            for _ in range(args.repeats)
        ]
        print(f"\n{args.size} float32 in {leaves} leaves, {jax.devices()[0].platform}")
        for name in CASES:
            adam = [run["optax.adam"][0] for run in runs]
            own = [run[name][0] for run in runs]
            ratio = np.median(np.divide(own, adam))
            print(
                f"{name:32} {np.median(own):7.1f} ms   {ratio:5.2f} x Adam   "
                f"{runs[0][name][1]:5.2f} temporaries"
            )


if __name__ == "__main__":
    main()
