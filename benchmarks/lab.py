"""Whole runs as one program: the grid range test, and long walks by `minimize`.

python benchmarks/lab.py [--rates 64] [--steps 200] [--walk 100000] [--repeats 3]

A grid of trainings of a 64-64-32-10 network by Adam, in batches of 32, against the same
trainings one after another in PyTorch; and a walk down a function of two numbers.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_extras as oxe

SIZES = (64, 64, 32, 10)


def seconds(function, repeats):
    """The times of several calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return times


def grid(task, params, batches, rates, steps):
    test = oxe.lab.lr_range_test(
        task.loss,
        params,
        batches,
        optax.adam,
        start=rates[0],
        stop=rates[-1],
        mode="grid",
        steps=steps,
        rates=len(rates),
    )
    return jax.block_until_ready(test)


def runs_of_grid(task, params, batches, rates, steps):
    """The same runs as a program of our own that is compiled once and kept."""

    def run(rate):
        tx = optax.adam(rate)

        def step(carry, i):
            params, state = carry
            batch = jax.tree.map(lambda x: x[i % len(x)], batches)
            value, grads = jax.value_and_grad(task.loss)(params, batch)
            updates, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), value

        return jax.lax.scan(step, (params, tx.init(params)), jnp.arange(steps))[1]

    compiled = jax.jit(jax.vmap(run)).lower(jnp.asarray(rates)).compile()
    return lambda: jax.block_until_ready(compiled(jnp.asarray(rates, jnp.float32)))


def one_by_one(params, batches, rates, steps):
    """The same runs in PyTorch; the loss at the end of each."""
    import torch

    torch.set_num_threads(1)  # which is faster, for layers as small as these
    images, labels = (torch.tensor(np.asarray(x)) for x in batches)
    labels, ends = labels.long(), []
    for rate in rates:
        layers = []
        for layer in params:
            linear = torch.nn.Linear(*layer["w"].shape)
            linear.weight.data = torch.tensor(np.asarray(layer["w"]).T.copy())
            linear.bias.data = torch.tensor(np.asarray(layer["b"]))
            layers += [linear, torch.nn.ReLU()]
        net = torch.nn.Sequential(*layers[:-1])
        optimizer = torch.optim.Adam(net.parameters(), lr=float(rate))
        for i in range(steps):
            optimizer.zero_grad()
            own = net(images[i % len(images)])
            loss = torch.nn.functional.cross_entropy(own, labels[i % len(labels)])
            loss.backward()
            optimizer.step()
        ends.append(loss.item())
    return ends


def compare_grids(args):
    task = oxe.lab.digits(hidden=SIZES[1:-1])
    params = task.params(jax.random.key(0))
    epochs = args.steps * 32 // len(task.images) + 1
    batches = jax.tree.map(jnp.asarray, task.batches(32, epochs))
    rates = np.geomspace(1e-5, 1.0, args.rates).astype(np.float32)
    setting = task, params, batches, rates.tolist(), args.steps

    cold = seconds(lambda: grid(*setting), args.repeats)
    warm = seconds(runs_of_grid(*setting), args.repeats + 1)[1:]
    print(f"grid of {args.rates} rates x {args.steps} steps, seconds")
    print(f"  lr_range_test, with compilation: first {cold[0]:.2f}", end="")
    print(f", then {min(cold[1:], default=cold[0]):.2f}")
    print(f"  the runs alone, compiled:        {min(warm):.3f}")
    try:
        alone = seconds(lambda: one_by_one(*setting[1:]), 1)
    except ImportError:
        print("  PyTorch is not installed")
        return
    ratios = [min(alone) / min(x) for x in (cold, warm)]
    print(f"  PyTorch, one after another:      {min(alone):.2f}")
    print(f"  ratio: {ratios[0]:.1f} with compilation, {ratios[1]:.1f} without")


def time_walks(args):
    ditch = oxe.lab.problems.ditch
    print(f"minimize, {args.walk} steps, milliseconds")
    for name, tx in {
        "optax.sgd": optax.sgd(0.01),
        "optax.adam": optax.adam(0.01),
        "swats": oxe.swats(0.01),
    }.items():
        for every in (1, args.walk):

            def walk(tx=tx, every=every):
                start, steps = ditch.start, args.walk
                path = oxe.lab.minimize(ditch, start, tx, steps, record_every=every)
                jax.block_until_ready(path)

            times = seconds(walk, 3 * args.repeats + 1)[1:]
            kept = "every point" if every == 1 else "the last point"
            print(f"  {name:12} {kept:15} {1e3 * np.median(times):6.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rates", type=int, default=64)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--walk", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    print(f"{jax.devices()[0].platform}, jax {jax.__version__}; least of all repeats")
    compare_grids(args)
    time_walks(args)


if __name__ == "__main__":
    main()
