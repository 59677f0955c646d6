"""Writes `docs/parity.md`: other libraries' classes, ours, and Optax's nearest.

    python -m docs.parity            # measures, and writes the page
    python -m docs.parity --check    # measures, and compares with the page

Run from the top of the repository, with PyTorch, Keras, transformers and timm
installed.
"""

import argparse
import math
import os
import sys
import warnings
from functools import partial
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import numpy as np

import optax_extras as oxe
from docs.parity_rows import (
    KERAS,
    KERAS_PLATEAU,
    KERAS_SCHEDULES,
    PYTORCH,
    PYTORCH_PLATEAU,
    PYTORCH_SCHEDULES,
    RATE,
    STEPS,
    TIMM_PLATEAU,
    TIMM_SCHEDULES,
    TRANSFORMERS_METRIC,
    TRANSFORMERS_SCHEDULES,
    B,
)
from tests.parity import (
    test_plateaus as plateaus,
    test_timm_schedulers as timms,
    test_transformers_schedules as transformers,
)
from tests.parity.walks import (
    MATRICES,
    SHAPES,
    difference,
    gradients,
    keras_walk,
    our_walk,
    start,
    torch_walk,
)

PAGE = Path(__file__).parent / "parity.md"


def torch_row(row):
    import torch

    torch.set_default_dtype(torch.float64)
    shapes = MATRICES if row.name == "Muon" else SHAPES
    grads, first = gradients(shapes, steps=STEPS), start(shapes)
    theirs = getattr(torch.optim, row.name)
    reference = torch_walk(lambda p: theirs(p, lr=RATE, **row.kw), grads, first, shapes)
    ours = getattr(oxe.pytorch, row.name)(lr=RATE, **row.kw)
    return compare(row, ours, reference, grads, first, shapes)


def keras_row(row):
    import keras

    keras.config.set_floatx("float64")
    grads, first = gradients(steps=STEPS), start()
    kw = {"learning_rate": RATE, **row.kw}
    with jax.enable_x64(True):
        reference = keras_walk(row.name, grads, first, **kw)
        ours = getattr(oxe.keras, row.name)(**kw)
    return compare(row, ours, reference, grads, first, SHAPES)


def compare(row, ours, reference, grads, first, shapes):
    def off(tx):
        return difference(our_walk(tx, grads, first, shapes), reference)

    with jax.enable_x64(True):
        theirs, best = row.optax and row.optax(), row.best and row.best()
    return [off(tx) if tx else None for tx in (ours, theirs, best or theirs)]


def rates_of(schedule):
    with jax.enable_x64(True):
        rate = jax.jit(schedule)
        return np.array([float(rate(t)) for t in range(STEPS)])


def torch_schedule_row(row):
    import torch

    lrs = torch.optim.lr_scheduler
    theirs = getattr(lrs, row.name, None) or getattr(torch.optim.swa_utils, row.name)
    optimizer, found = torch.optim.SGD([torch.zeros(1)], lr=B, momentum=0.9), []
    if row.both:
        scheduler = row.both[0](lrs, optimizer)
    else:
        scheduler = theirs(optimizer, *row.args)
    for _ in range(STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step() if len(found) < STEPS else None
    first = () if row.name in ("CyclicLR", "OneCycleLR") else (B,)
    kw = {"total_steps": STEPS} if row.name == "MultiplicativeLR" else {}
    with jax.enable_x64(True):
        make = partial(getattr(oxe.pytorch, row.name), *first, *row.args, **kw)
        ours = row.both[1]() if row.both else make()
    return compare_schedules(row, ours, np.array(found))


def keras_schedule_row(row):
    import keras

    keras.config.set_floatx("float64")
    with jax.enable_x64(True):
        theirs = getattr(keras.optimizers.schedules, row.name)(*row.args, **row.kw)
        ours = getattr(oxe.keras, row.name)(*row.args, **row.kw)
    return compare_schedules(row, ours, rates_of(theirs))


def timm_schedule_row(row):
    import torch

    optimizer, found = torch.optim.SGD([torch.zeros(1)], lr=B), []
    scheduler = getattr(timms.timm, row.name)(optimizer, *row.args, **row.kw)
    for t in range(STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        scheduler.step_update(t + 1)
    ours = getattr(oxe.timm, row.name)(B, *row.args, **row.kw)
    return compare_schedules(row, ours, np.array(found))


def metrics():
    """A falling loss with noise and plateaus."""
    t = np.arange(STEPS)
    noise = np.random.default_rng(0).normal(size=STEPS)
    return np.exp(-np.minimum(t, 100) / 50) * (1 + 0.2 * noise) + 0.1


def optaxs_plateau(tx):
    """The learning rates of Optax's after each metric."""
    state, found, update = tx.init(jnp.zeros(())), [], jax.jit(tx.update)
    for metric in metrics():
        _, state = update(jnp.ones(()), state, value=metric)
        found.append(0.5 * float(state.scale))
    return np.array(found)


def metric_row(ours_of, original):
    """The learning rates after each metric: theirs, ours, and Optax's."""

    def row(row):
        with jax.enable_x64(True):
            ours, reference = (run(row, metrics()) for run in (ours_of, original))
            theirs = optaxs_plateau(row.optax()) if row.optax else None
            best = optaxs_plateau(row.best()) if row.best else theirs
            curves = ours, theirs, best
            return [
                x if x is None else np.abs(x - reference).max() / 0.5 for x in curves
            ]

    return row


def plateau_of(package):
    return lambda row, x: plateaus.ours(getattr(package, row.name)(0.5, **row.kw), x)


def after_the_first(rates):
    """Of timm's plateau, without the learning rate before the first metric."""
    return lambda row, x: np.array(rates(x, 0.5, **row.kw)[1:])


PYTORCH_ROW = metric_row(
    plateau_of(oxe.pytorch), lambda row, x: plateaus.pytorchs(x, **row.kw)
)
KERAS_ROW = metric_row(
    plateau_of(oxe.keras), lambda row, x: plateaus.kerass(x, **row.kw)
)
TIMM_ROW = metric_row(*map(after_the_first, (timms.our_plateau, timms.timms)))
TRANSFORMERS_ROW = metric_row(
    lambda row, x: transformers.our_metric(row.name, x, **row.kw),
    lambda row, x: transformers.original_metric(row.name, x, **row.kw),
)


def transformers_row(row):
    reference = transformers.original(row.name, B, *row.args, steps=STEPS, **row.kw)
    with jax.enable_x64(True):
        ours = transformers.call(row.name, B, *row.args, **row.kw)
    return compare_schedules(row, ours, reference)


def compare_schedules(row, ours, reference):
    def off(schedule):
        return np.abs(rates_of(schedule) - reference).max() / np.abs(reference).max()

    with jax.enable_x64(True):
        theirs, best = row.optax and row.optax(), row.best and row.best()
    return [off(curve) if curve else None for curve in (ours, theirs, best or theirs)]


def written(off):
    """One significant digit: the second depends on the processor."""
    if off is None:
        return "–"
    if off < 1e-12:
        return "< 1e-12"
    if off < 1e-6:
        return f"< {10.0 ** math.ceil(math.log10(off)):g}"
    return f"{100 * float(f'{off:.1g}'):g} %"


def call(row):
    words = ", ".join(f"{k}={v}" for k, v in row.kw.items())
    return f"`{row.name}({words})`" if words else f"`{row.name}`"


def table(rows, measure, head=True):
    lines = ["| class | here | Optax alone | error here | Optax | with the note |"]
    lines = [*lines, "|---|---|---|---|---|---|"] if head else []
    for row in rows:
        offs = " | ".join(map(written, measure(row)))
        lines.append(f"| {call(row)} | {row.ours} | {row.note} | {offs} |")
    return "\n".join(lines)


def page():
    return f"""# Parity with PyTorch, Keras, transformers and timm

After this page you know how closely each optimizer and schedule of `oxe.pytorch`,
`oxe.keras`, `oxe.transformers` and `oxe.timm` agrees with the original, and how closely
Optax's functions agree with it.
`python -m docs.parity` measures the numbers and writes this page.

An error is the largest difference from the original, in float64 and over {STEPS} steps:

- of an optimizer, for the worst weight, relative to the length of its path, the sum of
  the sizes of its steps; the gradients are random and span eight orders of magnitude;
- of a schedule, relative to its largest learning rate.

The columns are:

- *class*: the original, with the options that are not its defaults; most arguments of
  schedules are not shown, see `docs/parity_rows.py`;
- *here*: the function of this library that the class is made of;
- *Optax alone*: what Optax needs to compute the same, or why it cannot;
- *error here*: of this library;
- *Optax*: of Optax's function of the same name, or the nearest one, with the same
  learning rate, the options of the first column and its own defaults;
- *with the note*: of the same function, used as the third column says.

Some settings magnify rounding errors in any library: the decay of the second moment
(`betas[1]`, `alpha`) is 0 or close to 0, and some gradients are exactly 0. Then two
runs of PyTorch itself drift apart if their initial weights differ in the last bit, and
so do two runs of this library.

## Optimizers of `oxe.pytorch`

{table(PYTORCH, torch_row)}

PyTorch's Muon rounds to bfloat16 inside, which changes a single step by up to 12 %;
here nothing is rounded. For PyTorch's rounding, use `oxe.muon` with
`layout="out_in"` and `ns_dtype=jnp.bfloat16`. `weight_decay` is L2 decay where it is L2
decay in PyTorch. In Optax, put `optax.add_decayed_weights` in front of the optimizer
for that.

## Schedulers of `oxe.pytorch`

{table(PYTORCH_SCHEDULES, torch_schedule_row)}
{table([PYTORCH_PLATEAU], PYTORCH_ROW, head=False)}

## Optimizers of `oxe.keras`

{table(KERAS, keras_row)}

Keras computes means and norms in float32, which is the error of `Adafactor` and `Muon`.

## Schedules of `oxe.keras`

{table(KERAS_SCHEDULES, keras_schedule_row)}
{table([KERAS_PLATEAU], KERAS_ROW, head=False)}

Keras on JAX computes cosines in float32, which is the error of `CosineDecay` and
`CosineDecayRestarts`. `oxe.keras.CyclicLR` is that of bckenstler/CLR, and is not part
of Keras.

## Schedules of `oxe.transformers`

{table(TRANSFORMERS_SCHEDULES, transformers_row)}
{table(TRANSFORMERS_METRIC, TRANSFORMERS_ROW, head=False)}

## Schedulers of `oxe.timm`

{table(TIMM_SCHEDULES, timm_schedule_row)}
{table([TIMM_PLATEAU], TIMM_ROW, head=False)}

They count updates here. {{doc}}`timm` has more on counts of epochs.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    text = page()
    if not parser.parse_args().check:
        PAGE.write_text(text, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != text:
        sys.exit(f"{PAGE.name} is not what was measured: python -m docs.parity")


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main()
