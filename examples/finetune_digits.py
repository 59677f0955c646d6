"""A network trained on the digits 0 to 4, fine-tuned on a few images of 5 to 9.

python examples/finetune_digits.py [--quick] [--out DIR]

Four ways: from scratch; all params at one learning rate; with the trunk frozen; and in
groups. The groups are the head at ten times the learning rate, and the layers of the
trunk, each at half the learning rate of the next one. The trunk is frozen for the first
half of the run and then thawed: another optimizer continues with the same state.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from scipy.stats import t as student
from tqdm import tqdm

import optax_extras as oxe

SHOTS = 5  # images of each digit to fine-tune on
EVERY = 5  # steps from one test to the next
WARMUP = 20  # steps, after the trunk has thawed
RATES = [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1]
TRUNK = {"layers_0/.*": 0.25, "layers_1/.*": 0.5, "layers_2/.*": 1.0}
CAPTION = """\
Accuracy on new images of 5 to 9: mean ± standard deviation over the fresh seeds, each
with its own initial weights and images. The differences have 95 % intervals, from pairs
of runs with the same weights and images. Each learning rate was chosen from a grid with
other seeds and other images. Layers, multiples and the time of thawing were not tuned.
The table supports claims on these small images, and none on which way to choose."""


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        for i in range(3):
            x = nn.relu(nn.Dense(64, name=f"layers_{i}")(x))
        return nn.Dense(5, name="head")(x)


def adamw(rate):
    return oxe.adamw(rate, weight_decay=oxe.by_path({".*/bias": 0.0}, default=0.01))


def one_rate(peak, steps, is_thawed):
    return adamw(oxe.schedules.cosine(peak, steps))


def frozen_trunk(peak, steps, is_thawed):
    times = oxe.schedules.cosine(peak, steps)
    return adamw(oxe.by_path({"head/.*": 1}, default=oxe.FROZEN, times=times))


def in_groups(peak, steps, is_thawed):
    def thawed(multiple):
        warm_up = oxe.schedules.warmup(WARMUP, multiple)

        def schedule(count):
            return warm_up(count - steps // 2)

        schedule.__name__ = f"(warm-up to {multiple})"  # for describe_groups
        return schedule

    trunk = {x: thawed(y) if is_thawed else oxe.FROZEN for x, y in TRUNK.items()}
    times = oxe.schedules.cosine(peak, steps)
    return adamw(oxe.by_path({"head/.*": 10, **trunk}, times=times))


WAYS = {
    "from scratch": one_rate,
    "one learning rate": one_rate,
    "frozen trunk": frozen_trunk,
    "groups": in_groups,
}


def init(key):
    return Net().init(key, jnp.zeros((1, 64)))["params"]


def loss_of(params, images, labels):
    logits = Net().apply({"params": params}, images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@jax.jit
@jax.vmap
def accuracies(params, images, labels):
    return jnp.mean(Net().apply({"params": params}, images).argmax(-1) == labels)


def update(tx, params, state, batch):
    updates, state = tx.update(jax.grad(loss_of)(params, *batch), state, params)
    return optax.apply_updates(params, updates), state


@jax.jit
@partial(jax.vmap, in_axes=(0, None))
def pretrain(key, data):
    def step(carry, key):
        rows = jax.random.choice(key, len(data[1]), (64,))
        return update(tx, *carry, [x[rows] for x in data]), None

    params_key, key = jax.random.split(key)
    params, tx = init(params_key), adamw(1e-3)
    carry = params, tx.init(params)
    return jax.lax.scan(step, carry, jax.random.split(key, 200))[0][0]


class Start(NamedTuple):
    """What a run of each seed begins with."""

    trained: dict  # params, with a new head
    random: dict  # params
    few: list  # images and labels
    others: list  # for the test


def starts(seeds, old, new):
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
    random = jax.vmap(init)(jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys))
    trained = {**pretrain(keys, old), "head": random["head"]}
    few, others = [], []
    for seed in seeds:
        rows = np.random.default_rng(seed).permutation(len(new[1]))
        chosen = [rows[new[1][rows] == digit][:SHOTS] for digit in range(5)]
        few.append([x[np.concatenate(chosen)] for x in new])
        others.append([np.delete(x, np.concatenate(chosen), axis=0) for x in new])
    few, others = ([np.stack(x) for x in zip(*y, strict=True)] for y in (few, others))
    return Start(trained, random, few, others)


def fine_tune(name, rates, start, steps):
    """Accuracies of shape (tests, rates, seeds), and the learning rates of one run."""

    def phase(is_thawed):
        # All runs are side by side: the peak of the learning rate is traced.
        def step(peak, *args):
            return update(WAYS[name](peak, steps, is_thawed), *args)

        return jax.jit(jax.vmap(step))

    def first_state(peak, params):
        return WAYS[name](peak, steps, is_thawed=False).init(params)

    def for_each_rate(x):
        return np.concatenate([x] * len(rates))

    params = start.random if name == "from scratch" else start.trained
    params, few, others = jax.tree.map(for_each_rate, (params, start.few, start.others))
    peaks = np.repeat(np.float32(rates), len(start.few[1]))
    phases = phase(is_thawed=False), phase(is_thawed=True)
    state = jax.vmap(first_state)(peaks, params)
    right, log = [accuracies(params, *others)], []
    for step in range(steps):
        # The optimizer that thaws the trunk goes on with the same state.
        params, state = phases[step >= steps // 2](peaks, params, state, few)
        log.append({x: y[0] for x, y in oxe.hyperparameters(state).items()})
        if (step + 1) % EVERY == 0:
            right.append(accuracies(params, *others))
    return np.reshape(right, (len(right), len(rates), -1)), log


def interval(ours, others):
    x = 100 * np.subtract(ours, others)
    half = student.ppf(0.975, len(x) - 1) * x.std(ddof=1) / len(x) ** 0.5
    return f"{x.mean():+.1f} ± {half:.1f}"


def report(found):
    print(f"{'':20}{'test accuracy, %':19}{'minus one rate':16}learning rate")
    base = found["one learning rate"][1][-1]
    for name, (rate, right, _) in found.items():
        x = right[-1]
        print(
            f"{name:20}{100 * x.mean():.1f} ± {100 * x.std(ddof=1):<12.1f}"
            f"{'' if name == 'one learning rate' else interval(x, base):16}{rate:g}"
        )
    print(CAPTION)


def draw(found, steps):
    figure = Figure(figsize=(8, 7), layout="constrained")
    top, bottom = figure.subplots(2, sharex=True)
    peak, _, log = found["groups"]
    colors = dict(zip([*TRUNK, "head/.*"], ["C9", "C0", "navy", "C1"], strict=True))
    for group, color in reversed(colors.items()):
        rate = [x.get(f"{group}/learning_rate", np.nan) for x in log]
        top.semilogy(np.arange(steps), rate, color=color, label=group)
    top.set_ylim(peak / 1e3, 20 * peak)
    top.set(title="Learning rates of the groups", ylabel="learning rate")
    for x, text in ((0.25, "trunk frozen"), (0.75, "trunk thawed")):
        top.text(x, 0.05, text, ha="center", transform=top.transAxes)
    styles = "k:", "k--", "k-.", "k-"
    for style, (name, (_, right, _)) in zip(styles, found.items(), strict=True):
        at = np.arange(len(right)) * EVERY
        bottom.plot(at, 100 * right.mean(1), style, label=name)
    bottom.set(title="Mean over the seeds", ylabel="test accuracy, %", xlabel="step")
    for ax in (top, bottom):
        ax.axvline(steps // 2, color="0.6", lw=1, zorder=0)
        ax.set_xlim(0, steps)
        ax.legend(loc="center left" if ax is top else "lower right")
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few steps, for tests")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    steps, tuning, fresh, rates = (
        (20, 2, 4, RATES[2:4]) if args.quick else (200, 8, 16, RATES)
    )
    task = oxe.lab.digits()
    images = np.concatenate([task.images, task.test_images])
    digits = np.concatenate([task.labels, task.test_labels])
    old = images[digits < 5], digits[digits < 5]
    new = images[digits >= 5], digits[digits >= 5] - 5
    # The seeds for tuning and the fresh ones share no images of 5 to 9.
    tuned = starts(range(tuning), old, [x[::2] for x in new])
    tested = starts(range(tuning, tuning + fresh), old, [x[1::2] for x in new])
    shapes = jax.eval_shape(init, jax.random.key(0))
    for is_thawed in (False, True):
        print(oxe.describe_groups(in_groups(1e-3, steps, is_thawed), shapes), "\n")
    found = {}
    for name in tqdm(WAYS):
        last = fine_tune(name, rates, tuned, steps)[0][-1].mean(axis=-1)
        best = rates[last.argmax()]
        right, log = fine_tune(name, [best], tested, steps)
        found[name] = best, right[:, 0], log
    report(found)
    draw(found, steps).savefig(args.out / "finetune_digits.png", dpi=120)
    print(f"drawn: {args.out / 'finetune_digits.png'}")


if __name__ == "__main__":
    main()
