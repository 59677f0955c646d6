"""A run of PyTorch that goes on in Flax: weights, optimizer state, schedule.

python examples/carry_over.py [--epochs N] [--seed N] [--out DIR]

PyTorch trains a network on handwritten digits with AdamW and a cosine, and saves a
checkpoint in the middle of the run. Flax goes on from the checkpoint, and after another
quarter PyTorch goes on from Flax. All see the same batches. Two runs are compared with
this one: PyTorch alone, and Flax with a new state of AdamW at the same learning rates.
It needs PyTorch: `pip install torch`.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from matplotlib.figure import Figure

import optax_extras as oxe

try:
    import torch
except ImportError as error:
    raise SystemExit("carry_over.py needs PyTorch: pip install torch") from error

BATCH = 64
PEAK = 0.02  # of the learning rate
# PyTorch's names of the weights in the order of `net.parameters()`, and Flax' paths.
PATHS = {
    "hidden.weight": "hidden/kernel",
    "hidden.bias": "hidden/bias",
    "logits.weight": "logits/kernel",
    "logits.bias": "logits/bias",
}
NAMES = ["PyTorch alone", "carried over", "a new state"]
LOOKS = [{"c": "0.75", "lw": 5}, {"c": "k"}, {"c": "#D55E00"}]
STYLES = dict(zip(NAMES, LOOKS, strict=True))
CAPTION = """\
Difference: the largest of a weight from PyTorch alone, after the last update. First
update: the length of the first one after the checkpoint, divided by that of PyTorch
alone. Loss: on all training images. Highest: after one of the next ten updates. The new
state starts with moments of 0, at the learning rate of the checkpoint. Nothing was
tuned, and this is one seed (--seed): it says nothing about other tasks."""


class TorchNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = torch.nn.Linear(64, 64)
        self.logits = torch.nn.Linear(64, 10)

    def forward(self, images):
        return self.logits(torch.relu(self.hidden(images)))


class FlaxNet(nn.Module):
    @nn.compact
    def __call__(self, images):
        images = nn.relu(nn.Dense(64, name="hidden")(images))
        return nn.Dense(10, name="logits")(images)


class Run(NamedTuple):
    """What is measured."""

    losses: np.ndarray  # on all training images, after each update
    lengths: np.ndarray  # of the updates, from the second one
    differences: np.ndarray  # the largest of a weight from PyTorch alone


def transpose(path, x):
    """PyTorch's kernels have the shape (out, in), Flax' (in, out)."""
    return x.T if x.ndim == 2 else x


def to_flax(weights):
    # Copies: PyTorch overwrites its weights in place.
    flat = {
        path: np.array(transpose(path, weights[x].numpy())) for x, path in PATHS.items()
    }
    return unflatten_dict(flat, sep="/")


def to_torch(params):
    flat = flatten_dict(params, sep="/")
    arrays = {x: np.array(transpose(path, flat[path])) for x, path in PATHS.items()}
    return {name: torch.from_numpy(x) for name, x in arrays.items()}


def torch_run(saved, batches, total):
    """Goes on from a checkpoint: the params after each update, and a new checkpoint."""
    net = TorchNet().to(saved["weights"]["logits.bias"].dtype)
    net.load_state_dict(saved["weights"])
    optimizer = torch.optim.AdamW(net.parameters(), lr=PEAK)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=total)
    if saved["count"]:
        optimizer.load_state_dict(saved["state"])
        scheduler.load_state_dict({"last_epoch": saved["count"]})
    trail = []
    for images, labels in zip(*batches, strict=True):
        optimizer.zero_grad()
        logits = net(torch.from_numpy(images))
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)).backward()
        optimizer.step()
        scheduler.step()
        trail.append(to_flax(net.state_dict()))
    states = {"weights": net.state_dict(), "state": optimizer.state_dict()}
    trail = jax.tree.map(lambda *leaves: np.stack(leaves), *trail)
    return trail, {**states, "count": scheduler.last_epoch}


def loss_of(params, images, labels):
    logits = FlaxNet().apply({"params": params}, images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@partial(jax.jit, static_argnames="tx")
def flax_run(tx, state, params, batches):
    """Goes on from a state: the params after each update, and the last state."""

    def step(carry, batch):
        params, state = carry
        updates, state = tx.update(jax.grad(loss_of)(params, *batch), state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    (_, state), trail = jax.lax.scan(step, (params, state), batches)
    return trail, state


def compare(images, labels, batches, seed, file):
    """The params of each run after each update, and the report of the translation."""
    total = len(batches[1])
    stop, back = total // 2, 3 * total // 4
    begin, middle, end = (
        [x[part] for x in batches]
        for part in (slice(stop), slice(stop, back), slice(back, None))
    )
    torch.manual_seed(seed)
    net = TorchNet().to(torch.from_numpy(images).dtype)
    first, saved = torch_run({"weights": net.state_dict(), "count": 0}, begin, total)
    torch.save(saved, file)
    rest, _ = torch_run(saved, [x[stop:] for x in batches], total)

    # From PyTorch to Flax: the weights, the optimizer's state, the schedule.
    saved, order = torch.load(file), [*PATHS.values()]
    params = to_flax(saved["weights"])
    schedule = oxe.pytorch.CosineAnnealingLR(PEAK, T_max=total)
    tx = oxe.pytorch.AdamW(lr=schedule)
    state, report = oxe.pytorch.load_state_dict(
        tx, saved["state"], params, order, transpose=transpose, strict=True
    )
    in_flax, state = flax_run(tx, state, params, middle)

    # And back.
    last = jax.tree.map(lambda x: x[-1], in_flax)
    moments = oxe.pytorch.state_dict(tx, state, last, order, transpose=transpose)
    saved = {"weights": to_torch(last), "state": moments, "count": back}
    again, _ = torch_run(saved, end, total)

    # The same weights and learning rates, without the state.
    new = oxe.pytorch.AdamW(lr=lambda count: schedule(count + stop))
    without, _ = flax_run(new, new.init(params), params, [x[stop:] for x in batches])

    parts = [[rest], [in_flax, again], [without]]
    trails = [jax.tree.map(lambda *x: np.concatenate(x), first, *x) for x in parts]
    runs = [measured(trail, trails[0], images, labels) for trail in trails]
    return dict(zip(NAMES, runs, strict=True)), report


@jax.jit
def losses_of(trail, images, labels):
    return jax.lax.map(lambda params: loss_of(params, images, labels), trail)


def measured(trail, alone, images, labels):
    def rows(trail):
        parts = [np.reshape(x, (len(x), -1)) for x in jax.tree.leaves(trail)]
        return np.concatenate(parts, axis=1)

    lengths = np.linalg.norm(np.diff(rows(trail), axis=0), axis=1)
    differences = np.abs(rows(trail) - rows(alone)).max(axis=1)
    return Run(np.asarray(losses_of(trail, images, labels)), lengths, differences)


def print_table(found, stop):
    print(f"{'':15}{'difference':25}first       loss before  highest  last")
    print(f"{'':15}{'float32':10}{'float64':15}update    checkpoint    after")
    alone = found["float32"][NAMES[0]]
    for name, run in found["float32"].items():
        exact = found["float64"][name]
        print(
            f"{name:15}{run.differences[-1]:<10.1g}{exact.differences[-1]:<15.1g}"
            f"{run.lengths[stop - 1] / alone.lengths[stop - 1]:<12.2f}"
            f"{run.losses[stop - 1]:<13.4f}{run.losses[stop : stop + 10].max():<9.4f}"
            f"{run.losses[-1]:.4f}"
        )
    print(CAPTION)


def draw(found, stop, back):
    figure = Figure(figsize=(8, 9), layout="constrained")
    loss, length, difference = figure.subplots(3, sharex=True)
    _, carried, new = NAMES
    for name, style in STYLES.items():
        run = found["float32"][name]
        shown = slice(stop if name == new else 1, None)
        updates = np.arange(len(run.losses))[shown] + 1
        loss.semilogy(updates, run.losses[shown], **style, label=name)
        length.plot(updates, run.lengths[shown.start - 1 :], **style, label=name)
    for dtype, name, line in [
        ("float32", new, "-"),
        ("float32", carried, "-"),
        ("float64", carried, ":"),
    ]:
        values = found[dtype][name].differences[stop:]
        style, label = {**STYLES[name], "ls": line}, f"{name}, {dtype}"
        difference.semilogy(updates, values, **style, label=label)
    loss.set(title="Loss on all training images")
    length.set(title="Length of each update")
    title = "Largest difference of a weight from PyTorch alone"
    difference.set(title=title, xlabel="update")
    loss.legend(loc="upper right")
    difference.legend(loc="center left")
    for ax in (loss, length, difference):
        for x in (stop, back):
            ax.axvline(x + 0.5, color="0.6", lw=1, zorder=0)
    places = np.array([0, stop, stop, back, back, len(run.losses)]).reshape(3, 2)
    for x, library in zip(places.mean(1), ["PyTorch", "Flax", "PyTorch"], strict=True):
        at = length.get_xaxis_transform()
        length.text(x, 0.84, f"carried over:\n{library}", ha="center", transform=at)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    args = parser.parse_args()
    if args.epochs < 2:
        parser.error(f"--epochs must be at least 2, got {args.epochs}")
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # the network is small
    task = oxe.lab.digits()
    images, labels = task.batches(BATCH, args.epochs, args.seed)
    labels = labels.astype(np.int64)  # for PyTorch
    total = len(labels)
    stop, back = total // 2, 3 * total // 4
    found = {}
    for dtype in ("float32", "float64"):
        with jax.enable_x64(dtype == "float64"):
            batches = images.astype(dtype), labels
            file = args.out / "carry_over.pt"
            every = task.images.astype(dtype), task.labels
            found[dtype], report = compare(*every, batches, args.seed, file)
    print(
        f"{total} updates, seed {args.seed}: PyTorch, after {stop} Flax, after {back}"
    )
    print(f"PyTorch again. What the translation to Flax did:\n\n{report}\n")
    print_table(found, stop)
    draw(found, stop, back).savefig(args.out / "carry_over.png", dpi=120)
    print(f"drawn: {args.out / 'carry_over.png'}")


if __name__ == "__main__":
    main()
