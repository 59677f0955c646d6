"""Adam on handwritten digits, once for each learning-rate schedule.

python examples/digits.py [--epochs N] [--seed N] [--out DIR]
"""

import argparse
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib.figure import Figure
from tqdm import tqdm

import optax_extras as oxe
from optax_extras import schedules

BATCH = 32
TEST_IMAGES = 360
PEAK = 0.01


class Net(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(64, 64, rngs=rngs)
        self.logits = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, images):
        return self.logits(nnx.relu(self.hidden(images)))


class Run(NamedTuple):
    accuracy: float  # on the test images
    losses: np.ndarray  # of every batch: (epochs, batches)
    rates: np.ndarray  # of every update: (epochs, batches)
    seconds: float


def schedule_families(total):
    """One schedule of each family for a run of so many steps, all with one peak."""
    warmup = total // 10
    return {
        "constant": PEAK,
        "step": schedules.step(PEAK, step_size=-(-total // 3), factor=0.2),
        "warm-up, cosine": schedules.warmup(
            warmup, schedules.cosine(PEAK, total - warmup), init_value=PEAK / 100
        ),
        "triangular cycles": schedules.cyclic(PEAK / 10, PEAK, up_steps=total // 8),
        "warm restarts": schedules.warm_restarts(PEAK, -(-total // 7), period_mult=2),
        "one cycle": schedules.one_cycle(PEAK, total),
    }


def loss_of(params, graph, images, labels):
    logits = nnx.merge(graph, params)(images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@partial(jax.jit, static_argnames=("graph", "tx"))
def train_epoch(params, state, batches, graph, tx):
    """One epoch as one scan; the learning rate is read from the optimizer's state."""

    def step(carry, batch):
        params, state = carry
        loss, grads = jax.value_and_grad(loss_of)(params, graph, *batch)
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), (loss, oxe.learning_rate(state))

    (params, state), records = jax.lax.scan(step, (params, state), batches)
    return params, state, records


def train(net, schedule, batches, test, bar):
    """One run from the parameters of the net, which are not modified."""
    began = time.perf_counter()
    tx = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.scale_by_adam(),
        oxe.scale_by_rate(schedule),
    )
    graph, params = nnx.split(net, nnx.Param)
    state, records = tx.init(params), []
    for epoch in zip(*batches, strict=True):
        params, state, record = train_epoch(params, state, epoch, graph, tx)
        records.append(record)
        bar.update()
    images, labels = test
    accuracy = np.mean(nnx.merge(graph, params)(images).argmax(-1) == labels)
    losses, rates = (np.stack(x) for x in zip(*records, strict=True))
    return Run(float(accuracy), losses, rates, time.perf_counter() - began)


def report(runs, args):
    print(f"\n{args.epochs} epochs, seed {args.seed}, highest learning rate {PEAK}")
    print(f"{'':20}{'test accuracy':>14}{'train loss':>12}{'seconds':>9}")
    for name, run in runs.items():
        loss = run.losses[-1].mean()
        print(f"{name:20}{run.accuracy:14.2%}{loss:12.4f}{run.seconds:9.1f}")
    best = max(run.accuracy for run in runs.values())
    error = np.sqrt(best * (1 - best) / TEST_IMAGES)
    print("Train loss: mean over the last epoch. Seconds: with compilation.")
    print(f"One test image of {TEST_IMAGES} is {1 / TEST_IMAGES:.2%}. From the choice")
    print(f"of images alone, {best:.1%} has a standard error of {error:.1%}.")
    print("All use one peak, which is not tuned, and one seed: this is no ranking;")
    print("other seeds (--seed) reorder the table.")


def draw(runs):
    """For each schedule, the learning rate above the loss, all on the same scales."""
    figure = Figure(figsize=(10, 9), layout="constrained")
    panels = figure.subplots(4, 3, sharex=True, sharey="row")
    losses = np.stack([run.losses for run in runs.values()])
    height = (losses.min() / 2, losses.max() * 2)
    for i, (name, run) in enumerate(runs.items()):
        top, bottom = panels[i // 3 * 2 : i // 3 * 2 + 2, i % 3]
        epochs, batches = run.losses.shape
        top.plot(run.rates.ravel(), color="black")
        top.set(title=name, ylabel="learning rate", ylim=(-0.05 * PEAK, 1.05 * PEAK))
        bottom.semilogy(run.losses.ravel(), color="0.75", lw=0.5, label="batch")
        middles = (np.arange(epochs) + 0.5) * batches
        means = run.losses.mean(axis=1)
        bottom.semilogy(middles, means, "k.-", ms=4, label="mean of an epoch")
        bottom.set(ylabel="train loss", xlabel="step", ylim=height)
        for ax in (top, bottom):
            ax.label_outer()
    handles, labels = bottom.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=2)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of parameters and batches")
    out = Path(__file__).parent / "out"
    parser.add_argument("--out", type=Path, default=out, help="where the figure goes")
    args = parser.parse_args()
    if args.epochs < 1:
        parser.error(f"--epochs must be at least 1, got {args.epochs}")
    args.out.mkdir(parents=True, exist_ok=True)

    task = oxe.lab.digits()
    batches = [
        jnp.asarray(x).reshape(args.epochs, -1, *x.shape[1:])
        for x in task.batches(BATCH, args.epochs, args.seed)
    ]
    net = Net(nnx.Rngs(args.seed))
    families = schedule_families(total=batches[1].shape[0] * batches[1].shape[1])
    runs = {}
    with tqdm(total=len(families) * args.epochs, unit="epoch") as bar:
        for name, schedule in families.items():
            bar.set_description(name)
            test = (task.test_images, task.test_labels)
            runs[name] = train(net, schedule, batches, test, bar)
    report(runs, args)
    draw(runs).savefig(args.out / "digits.png", dpi=120)
    print(f"drawn: {args.out / 'digits.png'}")


if __name__ == "__main__":
    main()
