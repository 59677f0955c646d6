"""A decay of the learning rate that is chosen after the run, beside runs that decayed.

python examples/decay_after_the_run.py [--quick] [--out DIR]

A small transformer learns Python's standard library, byte by byte, with Adam at a
constant learning rate. Snapshots of two averages of its weights then give the weights
that a decay would have ended in, for any shape, length and end. Ten decays are trained,
too: each continues the constant run from the update where it begins, with the same
batches. Their ten averages are also formed exactly, during the constant run.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from muon_text import interval, tasks  # beside this file
from tqdm import tqdm

import optax_extras as oxe

SHAPES, PERCENT = ["linear", "cosine", "1-sqrt"], [10, 20, 40]
LOOKS = [("#0072B2", "-", "o"), ("#D55E00", "--", "s"), ("#009E73", ":", "D")]
PARTS = 40  # a snapshot after each of these parts of the run
POWERS = {
    "narrow": oxe.averages.power(sigma_rel=0.05),
    "wide": oxe.averages.power(sigma_rel=0.10),
}
CAPTION = """\
Test loss: nats per byte, mean over the seeds. Differences from the runs that decayed
have 95 % intervals, from pairs of runs with the same weights, state and batches at the
beginning of the decay. Exact: the average was formed during the run. Rebuilt: it comes
from the snapshots; error: relative, of its coefficients. Nothing was tuned.
The table supports claims on this task, with these sizes, and none on large models."""


class Decay(NamedTuple):
    shape: str
    steps: int
    end: int  # the number of its last update

    def __str__(self):
        return f"{self.shape} {self.steps / self.end:4.0%}{self.end:6}"

    @property
    def start(self):
        return self.end - self.steps

    def rates(self, peak):
        schedule = oxe.schedules.wsd(peak, 0, self.start, self.steps, decay=self.shape)
        return schedule(np.arange(self.start, self.end))

    def rebuilt(self, snapshots):
        shape, end, steps = self.shape, self.end, self.steps
        return oxe.averages.rebuild(snapshots, shape, at=end, steps=steps)


def trained_decays(steps):
    to_the_end = [Decay(x, n * steps // 100, steps) for x in SHAPES for n in PERCENT]
    return [*to_the_end, Decay("linear", steps // 10, steps // 2)]


def trainer(task, wrap):
    """Trains all seeds at once, with one state: Adam is elementwise."""

    def step(carry, x):
        (params, state), (batch, rate) = carry, x
        grads = jax.vmap(jax.grad(task.loss))(params, batch)
        updates, state = wrap(optax.adam(rate)).update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.jit(lambda carry, *xs: jax.lax.scan(step, carry, xs)[0])


def constant_run(task, params, batches, rate):
    """Snapshots; params and Adam's state after each part; the exact averages."""
    decays = trained_decays(len(batches))
    averages = {str(x): oxe.averages.decay(x.shape, x.start, x.steps) for x in decays}

    def wrap(tx):
        return oxe.with_average(oxe.with_average(tx, POWERS), averages)

    train, state = trainer(task, wrap), wrap(optax.adam(rate)).init(params)
    snapshots, carries = [], {}
    for part in tqdm(np.split(batches, PARTS), f"constant {rate}"):
        params, state = train((params, state), part, np.full(len(part), rate, "f4"))
        snapshots.append(oxe.averages.snapshot(state))
        carries[int(state.count)] = params, state.inner_state.inner_state
    return snapshots, carries, {name: oxe.averaged(state, name) for name in averages}


def report(rate, undecayed, loss, rows):
    print(f"learning rate {rate}, without a decay: {undecayed[1][-1]:.4f}")
    print(f"{'decay':14}end  decayed  exact - decayed   rebuilt - decayed  error")
    for decay, (trained, exact, rebuilt, error) in rows.items():
        print(
            f"{decay}  {trained.mean():.4f}   {interval(exact, trained)}  "
            f"{interval(rebuilt, trained)}  {error:6.1%}"
        )


def draw(panels, rate, undecayed, loss, rows):
    """The losses of decays that were never trained, and of those that were."""
    steps, ends = undecayed[0][-1], undecayed[0][15::2]
    lengths = [5, 10, 20, 30, 40, 60]
    panels[0].plot(*(x[15:] for x in undecayed), c="0.6", lw=3, label="no decay")
    panels[1].axhline(undecayed[1][-1], c="0.6", lw=3, label="no decay")
    for (color, line, _), n, shape in zip(LOOKS, PERCENT, SHAPES, strict=True):
        losses = [loss(Decay("linear", n * end // 100, end)) for end in ends]
        panels[0].plot(ends, losses, line, c=color, label=f"last {n} %, rebuilt")
        losses = [loss(Decay(shape, n * steps // 100, steps)) for n in lengths]
        panels[1].plot(lengths, losses, line, c=color, label=f"{shape}, rebuilt")
    hollow = {"mfc": "none", "mew": 1.5, "ms": 8}  # some are at the same place
    for (shape, length, end), (trained, *_) in rows.items():
        n, mean = 100 * length // end, trained.mean()
        if shape == "linear":
            color, _, marker = LOOKS[PERCENT.index(n)]
            label = f"last {n} %, trained" if end == steps else None
            panels[0].plot(end, mean, marker, c=color, **hollow, label=label)
        if end == steps:
            color, _, marker = LOOKS[SHAPES.index(shape)]
            label = f"{shape}, trained" if n == PERCENT[0] else None
            panels[1].plot(n, mean, marker, c=color, **hollow, label=label)
    panels[0].set(title=f"learning rate {rate}", xlabel="last update of a linear decay")
    panels[1].set(xlabel="length of a decay at the end of the run, %")
    for ax in panels:
        ax.set_ylabel("test loss, nats per byte")
        ax.legend(fontsize=8)


def compare(task, tested, train, start, batches, rate):
    """What `draw` draws and `report` prints."""
    snapshots, carries, averages = constant_run(task, start, batches, rate)

    def loss(decay):
        return tested(decay.rebuilt(snapshots).params).mean()

    rows = {}
    for x in tqdm(trained_decays(len(batches)), f"decayed {rate}"):
        xs = batches[x.start : x.end], x.rates(rate)
        (params, _), rebuilt = train(carries[x.start], *xs), x.rebuilt(snapshots)
        found = tested(params), tested(averages[str(x)]), tested(rebuilt.params)
        rows[x] = *map(np.asarray, found), rebuilt.relative_error
    losses = [tested(params).mean() for params, _ in carries.values()]
    return (list(carries), losses), loss, rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few steps, for tests")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    quick, full = (80, 2, 10, [0.003]), (1600, 6, 300, [0.003, 0.01])
    steps, seeds, tests, rates = quick if args.quick else full
    _, task = tasks()
    task = task._replace(test=task.test[: tests * (task.length + 1)])
    tested = jax.jit(lambda params: jax.vmap(task.tested)(params)[0])
    batches = np.stack([task.batches(steps, seed) for seed in range(seeds)], 1)
    start = jax.vmap(task.params)(jax.vmap(jax.random.key)(jnp.arange(seeds)))
    figure = Figure(figsize=(9, 7), layout="constrained")
    axes = figure.subplots(2, len(rates), squeeze=False)
    print(f"{steps} updates of 256 bytes, {seeds} seeds")
    train = trainer(task, lambda tx: tx)
    for rate, panels in zip(rates, axes.T, strict=True):
        found = compare(task, tested, train, start, batches, rate)
        report(rate, *found)
        draw(panels, rate, *found)
    print(CAPTION)
    figure.savefig(args.out / "decay_after_the_run.png", dpi=120)
    print(f"drawn: {args.out / 'decay_after_the_run.png'}")


if __name__ == "__main__":
    main()
