"""AdamW, Muon and NorMuon on a small language model: loss by learning rate and seed.

python examples/muon_text.py [--quick] [--out DIR]

The model is one block of a transformer, the text Python's standard library, as bytes.
Muon trains the matrices of the block, AdamW the embeddings and the last layer, with the
same learning rate and weight decay: "match_rms_adamw" makes Muon's steps about as large
as AdamW's. A seed gives all three optimizers the same initial weights and batches.
"""

import argparse
import sysconfig
import time
from functools import cache, partial
from pathlib import Path

import jax
import numpy as np
import optax
from characters import WIDTH, Text  # beside this file
from matplotlib.figure import Figure
from scipy.interpolate import pchip_interpolate
from scipy.stats import t as student
from tqdm import tqdm

import optax_extras as oxe

RATES, DECAYS = [0.002, 0.004, 0.008, 0.016, 0.032], [0.1, 0.3, 1.0]
LENGTH = 32
CAPTION = """\
Test loss: nats per byte, mean ± standard deviation over the fresh seeds. Differences
have 95 % intervals, from pairs of runs with the same initial weights and batches.
Width: the factor by which the learning rate can vary while the loss in tuning is at
most AdamW's deviation above the lowest. Step: per run, in the fastest call. Not tuned:
momenta, schedule, and the ratio of the block's learning rate to that of other layers.
The table supports claims on this task, with these sizes. It supports none on large
language models, and none on which optimizer to choose."""


def tasks():
    """The text with bytes for tuning, and with bytes for the test, of other files."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    files = [np.fromfile(path, np.uint8) for path in sorted(folder.glob("*.py"))]
    train = np.concatenate([x for i, x in enumerate(files) if i % 4 != 3])[:2_000_000]
    for first in (3, 7):
        rows = np.concatenate(files[first::8])[: 12_000 * (LENGTH + 1)]
        some = rows.reshape(-1, LENGTH + 1)[::12].ravel()
        yield Text(train.astype(np.int32), some.astype(np.int32), 256, 1, LENGTH)


def layout(path, leaf):
    if not path.startswith("layers"):
        return None  # embeddings and the last layer
    split = (WIDTH,) * 3 if path.endswith("attend") else ()  # queries, keys, values
    return oxe.MatrixAxes(inputs=0, outputs=1, split=split)


def adamw(rate, decay):
    return optax.adamw(rate, b2=0.95, weight_decay=decay)


def muon(rate, decay, normalize=None):
    options = dict(layout=layout, scale="match_rms_adamw", normalize=normalize)
    return oxe.muon(rate, others=adamw(rate, decay), weight_decay=decay, **options)


OPTIMIZERS = dict(AdamW=adamw, Muon=muon, NorMuon=partial(muon, normalize="normuon"))


def train(make, task, seed, batches, rate, decay):
    """The params after a run whose learning rate rises shortly and falls to 0."""
    warmup = len(batches) // 20
    cosine = oxe.schedules.cosine(rate, len(batches) - warmup)
    tx = make(oxe.schedules.warmup(warmup, cosine), decay)
    params = task.params(jax.random.key(seed))

    def step(carry, batch):
        params, state = carry
        updates, state = tx.update(jax.grad(task.loss)(params, batch), state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, tx.init(params)), batches)[0][0]


def tune(run, tested, rates, most):
    """Losses at the best decay; the grid grows until its best is not at an end."""
    loss = cache(lambda *point: np.nan_to_num(tested(run(*point))[0], nan=1e3))
    while True:
        losses = np.array([[loss(rate, x) for x in DECAYS] for rate in rates])
        i, j = np.unravel_index(losses.mean(-1).argmin(), losses.shape[:2])
        if 0 < i < len(rates) - 1 or len(rates) >= most:
            return rates, losses[:, j], (rates[i], DECAYS[j])
        rates = [rates[0] / 2, *rates] if i == 0 else [*rates, rates[-1] * 2]


def width(rates, losses, tolerance):
    fine = np.linspace(np.log(rates[0]), np.log(rates[-1]), 10001)
    loss = pchip_interpolate(np.log(rates), losses.mean(1), fine)
    return np.exp(np.ptp(fine[loss <= loss.min() + tolerance]))


def interval(ours, others):
    x = np.subtract(ours, others)
    half = student.ppf(0.975, len(x) - 1) * x.std(ddof=1) / len(x) ** 0.5
    return f"{x.mean():+.4f} ± {half:.4f}"


def report(tuned, losses, ms, params):
    base = losses["AdamW"]
    print(f"{'':9}{'test loss':17}{'minus AdamW':20}rate decay width   state    step")
    for name, (rates, each, best) in tuned.items():
        x, state = losses[name], OPTIMIZERS[name](*best).init(params)
        print(
            f"{name:9}{np.mean(x):.4f} ± {np.std(x, ddof=1):.4f}  "
            f"{'' if name == 'AdamW' else interval(x, base):18}{best[0]:6}{best[1]:6}"
            f"{width(rates, each, np.std(base, ddof=1)):6.2f}"
            f"{sum(x.nbytes for x in jax.tree.leaves(state)) / 1e3:5.0f} kB"
            f"{min(ms[name]):5.1f} ms"
        )
    print("NorMuon minus Muon:", interval(losses["NorMuon"], losses["Muon"]))
    print(CAPTION)


def draw(tuned):
    figure = Figure(figsize=(7, 5), layout="constrained")
    ax = figure.subplots()
    for i, (name, (rates, losses, best)) in enumerate(tuned.items()):
        mean, wide = losses.mean(1), losses.std(1, ddof=1)
        label, color = f"{name}, weight decay {best[1]}", ("black", "C0", "C1")[i]
        ax.semilogx(rates, mean, "o--" if i == 2 else "o-", c=color, label=label)
        ax.fill_between(rates, mean - wide, mean + wide, color=color, alpha=0.2, lw=0)
    ax.set(xlabel="learning rate", ylabel="loss on the files for tuning, nats per byte")
    ax.set_xticks(rates, rates)
    ax.minorticks_off()
    ax.legend()
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few steps, for tests")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    quick, full = (20, 2, 4, RATES[2:4], 2), (500, 4, 16, RATES, 9)
    steps, seeds, fresh, rates, most = quick if args.quick else full
    tuning, test = tasks()
    tested = [jax.jit(jax.vmap(task.tested)) for task in (tuning, test)]
    groups = np.arange(seeds + fresh).reshape(-1, seeds)
    starts = [(x, np.stack([test.batches(steps, seed) for seed in x])) for x in groups]
    runs, tuned = {}, {}
    for name, make in tqdm(OPTIMIZERS.items(), "tuning"):
        # Learning rate and decay are traced, so that one program serves the grid.
        runs[name] = jax.jit(jax.vmap(partial(train, make, test), (0, 0, None, None)))
        tuned[name] = tune(partial(runs[name], *starts[0]), tested[0], rates, most)
    losses, ms = ({name: [] for name in runs} for _ in range(2))
    for start in tqdm(starts[1:], "fresh seeds"):
        for name, run in runs.items():
            began = time.perf_counter()
            params = jax.block_until_ready(run(*start, *tuned[name][-1]))
            ms[name].append((time.perf_counter() - began) * 1e3 / steps / seeds)
            losses[name].extend(tested[1](params)[0])
    print(f"{steps} steps of 256 bytes, {seeds} seeds in tuning, {fresh} fresh seeds")
    report(tuned, losses, ms, test.params(jax.random.key(0)))
    draw(tuned).savefig(args.out / "muon_text.png", dpi=120)
    print(f"drawn: {args.out / 'muon_text.png'}")


if __name__ == "__main__":
    main()
