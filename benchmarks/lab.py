"""Whole runs as one program: the grid range test, and long runs of `minimize`.

A grid of trainings of a 64-64-32-10 network by Adam, in batches of 32, is compared with
the same trainings one after another in PyTorch; then a function of two numbers is
minimized. Columns: `first`, seconds of the first call; `then`, of a later one; `x
last`, the latter over that of the last line.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_extras as oxe
from benchmarks.report import positive
from benchmarks.timing import seconds

SIZES = (64, 64, 32, 10)


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
    return test


def runs_of_grid(task, params, batches, rates, steps):
    """The same runs as a plain JAX program, compiled before it is timed."""

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
    return lambda: compiled(jnp.asarray(rates, jnp.float32))


def one_by_one(params, batches, rates, steps):
    """The same runs in PyTorch; returns the last loss of each."""
    import torch

    torch.set_num_threads(1)  # faster for such small layers
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
            outputs = net(images[i % len(images)])
            loss = torch.nn.functional.cross_entropy(outputs, labels[i % len(labels)])
            loss.backward()
            optimizer.step()
        ends.append(loss.item())
    return ends


def compare_grids(args, rates, steps):
    task = oxe.lab.digits(hidden=SIZES[1:-1])
    params = task.params(jax.random.key(0))
    epochs = steps * 32 // len(task.images) + 1
    batches = jax.tree.map(jnp.asarray, task.batches(32, epochs))
    rates = np.geomspace(1e-5, 1.0, rates).astype(np.float32)
    setting = task, params, batches, rates.tolist(), steps

    programs = {
        "lr_range_test, with compilation": partial(grid, *setting),
        "the runs alone, compiled": runs_of_grid(*setting),
    }
    try:
        import torch  # noqa: F401
    except ImportError:
        print("PyTorch is not installed")
    else:
        programs["PyTorch, one after another"] = partial(one_by_one, *setting[1:])
    print(f"\nlab: a grid of {len(rates)} rates x {steps} steps, seconds")
    first = seconds(programs.values(), 1)[0]
    times = seconds(programs.values(), args.repeats)
    print(f"{'':34}{'first':>8}{'then':>8}{'x last':>12}")
    records = []
    for i, name in enumerate(programs):
        low, middle, high = np.quantile(times[:, i] / times[:, -1], [0, 0.5, 1])
        took = np.median(times[:, i])
        shown = f"{first[i]:8.2f}{took:8.3f}{middle:12.4f}  ({low:.4f}-{high:.4f})"
        print(f"{name:34}{shown}")
        record = {"part": "lab", "name": name, "first_s": first[i], "s": took}
        records.append({**record, "ratio": middle, "low": low, "high": high})
    return records


WALKERS = {
    "optax.sgd": optax.sgd(0.01),
    "optax.adam": optax.adam(0.01),
    "swats": oxe.swats(0.01),
}


def time_walks(args, steps):
    ditch = oxe.lab.problems.ditch

    def walk(tx, every):
        return oxe.lab.minimize(ditch, ditch.start, tx, steps, record_every=every)

    programs = {
        f"{name}, {kept}": partial(walk, tx, every)
        for name, tx in WALKERS.items()
        for kept, every in (("every point", 1), ("the last point", steps))
    }
    seconds(programs.values(), 1)  # compiles
    times = 1e3 * seconds(programs.values(), 3 * args.repeats)
    print(f"\nlab: minimize, {steps} steps, milliseconds and ratios to the first")
    records = []
    for i, name in enumerate(programs):
        low, middle, high = np.quantile(times[:, i] / times[:, 0], [0, 0.5, 1])
        took = np.median(times[:, i])
        print(f"{name:34}{took:8.1f}{middle:8.2f}  ({low:.2f}-{high:.2f})")
        record = {"part": "lab", "name": name, "ms": took}
        records.append({**record, "ratio": middle, "low": low, "high": high})
    return records


def arguments(parser):
    number = {"type": positive, "metavar": "N"}
    parser.add_argument(
        "--rates", default=64, help="learning rates in the grid", **number
    )
    parser.add_argument("--steps", default=200, help="steps of each training", **number)
    parser.add_argument("--walk", default=100_000, help="steps of `minimize`", **number)


def run(args):
    part = 10 if args.quick else 1
    yield compare_grids(args, max(args.rates // part, 2), max(args.steps // part, 2))
    yield time_walks(args, max(args.walk // part, 2))
