"""Handwritten digits with a learning rate that falls when the loss stops improving.

The same run five times. In three, `oxe.observe` receives the validation loss once an
epoch: in Flax NNX, in Equinox, and with Flax Linen's `TrainState`, which does not pass
extra arguments on. In two, NNX and Equinox, every step receives the training loss as
`value=`, and the learning rate follows its average over an epoch.

python examples/plateau_digits.py [--epochs N] [--seed N] [--out DIR]
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen, nnx
from flax.training.train_state import TrainState
from matplotlib.figure import Figure

import optax_extras as oxe

BATCH = 32
VALIDATION_IMAGES = 360
RATE = 0.3


class Run(NamedTuple):
    rates: list[float]  # the learning rate after each epoch, for the next update
    losses: list[float]  # on the validation images, after each epoch
    training: list[float]  # on the batches of each epoch, the mean
    accuracy: float  # on the validation images, at the end


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


class Log:
    """Prints the learning rate whenever it changes, and records what is drawn."""

    def __init__(self, name):
        self.name, self.rates, self.losses, self.training = name, [], [], []

    def epoch(self, batch_losses, loss, state):
        rate = float(oxe.learning_rate(state))
        if self.rates and rate != self.rates[-1]:
            epoch = len(self.rates) + 1
            print(f"{self.name}: after epoch {epoch} learning rate {rate:.4g}")
        self.rates.append(rate)
        self.losses.append(float(loss))
        self.training.append(float(np.mean(batch_losses)))

    def run(self, logits, labels):
        accuracy = float(np.mean(np.argmax(logits, axis=-1) == labels))
        return Run(self.rates, self.losses, self.training, accuracy)


# ---- Flax NNX ------------------------------------------------------------------------


class Net(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(64, 64, rngs=rngs)
        self.logits = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, images):
        return self.logits(nnx.relu(self.hidden(images)))


def train_nnx(name, schedule, epochs, validation, seed, each_step):
    model = Net(nnx.Rngs(seed))
    tx = oxe.heavy_ball(schedule, momentum=0.9)
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, images, labels):
        loss, grads = nnx.value_and_grad(
            lambda model: cross_entropy(model(images), labels)
        )(model)
        given = {"value": loss} if each_step else {}
        optimizer.update(model, grads, **given)
        return loss

    @nnx.jit
    def evaluate(model):
        return cross_entropy(model(validation[0]), validation[1])

    log = Log(name)
    for epoch in epochs:
        batch_losses = [step(model, optimizer, *batch) for batch in epoch]
        loss = evaluate(model)
        if not each_step:
            optimizer.opt_state = oxe.observe(optimizer.opt_state, loss)
        log.epoch(batch_losses, loss, optimizer.opt_state)
    return log.run(model(validation[0]), validation[1])


# ---- Equinox -------------------------------------------------------------------------


def train_equinox(name, schedule, epochs, validation, seed, each_step):
    key = jax.random.key(seed)
    model = eqx.nn.MLP(64, 10, width_size=64, depth=1, key=key)
    tx = oxe.heavy_ball(schedule, momentum=0.9)
    state = tx.init(eqx.filter(model, eqx.is_inexact_array))

    def loss_of(model, images, labels):
        return cross_entropy(jax.vmap(model)(images), labels)

    @eqx.filter_jit
    def step(model, state, images, labels):
        loss, grads = eqx.filter_value_and_grad(loss_of)(model, images, labels)
        given = {"value": loss} if each_step else {}
        updates, state = tx.update(grads, state, **given)
        return eqx.apply_updates(model, updates), state, loss

    evaluate, log = eqx.filter_jit(loss_of), Log(name)
    for epoch in epochs:
        batch_losses = []
        for batch in epoch:
            model, state, loss = step(model, state, *batch)
            batch_losses.append(loss)
        loss = evaluate(model, *validation)
        if not each_step:
            state = oxe.observe(state, loss)
        log.epoch(batch_losses, loss, state)
    return log.run(jax.vmap(model)(validation[0]), validation[1])


# ---- Flax Linen ----------------------------------------------------------------------


class LinenNet(linen.Module):
    @linen.compact
    def __call__(self, images):
        return linen.Dense(10)(linen.relu(linen.Dense(64)(images)))


def train_linen(name, schedule, epochs, validation, seed):
    net = LinenNet()
    params = net.init(jax.random.key(seed), validation[0])
    tx = oxe.heavy_ball(schedule, momentum=0.9)
    state = TrainState.create(apply_fn=net.apply, params=params, tx=tx)

    def loss_of(params, images, labels):
        return cross_entropy(net.apply(params, images), labels)

    @jax.jit
    def step(state, images, labels):
        loss, grads = jax.value_and_grad(loss_of)(state.params, images, labels)
        return state.apply_gradients(grads=grads), loss

    evaluate, log = jax.jit(loss_of), Log(name)
    for epoch in epochs:
        batch_losses = []
        for batch in epoch:
            state, loss = step(state, *batch)
            batch_losses.append(loss)
        loss = evaluate(state.params, *validation)
        state = state.replace(opt_state=oxe.observe(state.opt_state, loss))
        log.epoch(batch_losses, loss, state.opt_state)
    return log.run(net.apply(state.params, validation[0]), validation[1])


# ---- All of them ---------------------------------------------------------------------


def draw(runs):
    """The learning rate above the losses, for each run; it follows the black loss."""
    figure = Figure(figsize=(12, 6), layout="constrained")
    panels = figure.subplots(2, len(runs), sharex=True, sharey="row", squeeze=False)
    for (top, bottom), (name, run) in zip(panels.T, runs.items(), strict=True):
        epochs = np.arange(1, len(run.rates) + 1)
        top.step(np.append(0, epochs), [RATE, *run.rates], "k", where="post")
        top.set(title=name, yscale="log", ylabel="learning rate")
        curves = {"validation": run.losses, "training": run.training}
        followed = "training" if "value=" in name else "validation"
        for label in sorted(curves, key=followed.__eq__):  # black on top
            color = "k" if label == followed else "0.7"
            bottom.semilogy(epochs, curves[label], color=color, label=label)
        bottom.legend(loc="upper right", fontsize="small")
        bottom.set(
            ylabel="loss; the learning rate follows the black one", xlabel="epoch"
        )
        for ax in (top, bottom):
            ax.label_outer()
    panels[1, 0].set_ylim(top=30)  # for all: space for the legend
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of parameters and batches")
    out = Path(__file__).parent / "out"
    parser.add_argument("--out", type=Path, default=out, help="where the figure goes")
    args = parser.parse_args()
    if args.epochs < 1:
        parser.error(f"--epochs must be at least 1, got {args.epochs}")
    args.out.mkdir(parents=True, exist_ok=True)

    task = oxe.lab.digits()
    validation = jnp.asarray(task.test_images), jnp.asarray(task.test_labels)
    batches = list(zip(*task.batches(BATCH, args.epochs, args.seed), strict=True))
    length = len(batches) // args.epochs
    epochs = [batches[i : i + length] for i in range(0, len(batches), length)]

    words = {"factor": 0.3, "patience": 4, "min_value": RATE / 100}
    words |= {"threshold": 0.005, "threshold_mode": "abs"}
    stalled = oxe.plateau(RATE, **words)
    averaged = oxe.plateau(RATE, average_over=length, **words)
    runs = {}
    for library, train in (("NNX", train_nnx), ("Equinox", train_equinox)):
        for way, schedule in (("observe", stalled), ("value=", averaged)):
            name = f"{library}, {way}"
            each_step = way == "value="
            runs[name] = train(name, schedule, epochs, validation, args.seed, each_step)
    name = "TrainState, observe"
    runs[name] = train_linen(name, stalled, epochs, validation, args.seed)
    print(f"\n{args.epochs} epochs, seed {args.seed}, first learning rate {RATE}")
    print(f"{'':20}{'accuracy':>10}{'loss':>9}{'last rate':>11}{'cuts':>6}")
    for name, run in runs.items():
        cuts = int(np.sum(np.diff([RATE, *run.rates]) < 0))
        print(
            f"{name:20}{run.accuracy:10.2%}{run.losses[-1]:9.4f}"
            f"{run.rates[-1]:11.2g}{cuts:6}"
        )
    print(f"Accuracy and loss: on the {VALIDATION_IMAGES} images that `observe` uses.")
    draw(runs).savefig(args.out / "plateau_digits.png", dpi=120)
    print(f"drawn: {args.out / 'plateau_digits.png'}")


if __name__ == "__main__":
    main()
