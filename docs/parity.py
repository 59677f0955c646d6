"""Writes `docs/parity.md`: every class of PyTorch and Keras, ours, and Optax's nearest.

    python -m docs.parity            # measures and writes
    python -m docs.parity --check    # measures and compares with what is written

Run from the top of the repository, with PyTorch and Keras installed.
"""

import argparse
import os
import sys
import warnings
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import numpy as np

import optax_extras as oxe
from docs.parity_rows import (
    KERAS,
    KERAS_SCHEDULES,
    OF_OTHERS,
    PYTORCH,
    PYTORCH_SCHEDULES,
    RATE,
    STEPS,
    B,
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
    grads, first = gradients(shapes), start(shapes)
    theirs = getattr(torch.optim, row.name)
    reference = torch_walk(lambda p: theirs(p, lr=RATE, **row.kw), grads, first, shapes)
    ours = getattr(oxe.pytorch, row.name)(lr=RATE, **row.kw)
    return compare(row, ours, reference, grads, first, shapes)


def keras_row(row):
    import keras

    keras.config.set_floatx("float64")
    grads, first = gradients(), start()
    kw = {"learning_rate": RATE, **row.kw}
    with jax.enable_x64(True):
        reference = keras_walk(row.name, grads, first, **kw)
        ours = getattr(oxe.keras, row.name)(**kw)
    return compare(row, ours, reference, grads, first, SHAPES)


def compare(row, ours, reference, grads, first, shapes):
    def off(tx):
        return difference(our_walk(tx, grads, first, shapes), reference)

    with jax.enable_x64(True):
        theirs = row.optax and row.optax()
    return off(ours), off(theirs) if theirs else None


def rates_of(schedule):
    with jax.enable_x64(True):
        return np.array([float(schedule(t)) for t in range(STEPS)])


def torch_schedule_row(row):
    import torch

    homes = (torch.optim.lr_scheduler, torch.optim.swa_utils)
    theirs = next(getattr(m, row.name) for m in homes if hasattr(m, row.name))
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=B, momentum=0.9)
    scheduler, found = theirs(optimizer, *row.args), []
    for _ in range(STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step() if len(found) < STEPS else None
    first = () if row.name in ("CyclicLR", "OneCycleLR") else (B,)
    kw = {"total_steps": STEPS} if row.name == "MultiplicativeLR" else {}
    with jax.enable_x64(True):
        ours = getattr(oxe.pytorch, row.name)(*first, *row.args, **kw)
    return compare_schedules(row, ours, np.array(found))


def keras_schedule_row(row):
    import keras

    keras.config.set_floatx("float64")
    with jax.enable_x64(True):
        theirs = getattr(keras.optimizers.schedules, row.name)(*row.args, **row.kw)
        ours = getattr(oxe.keras, row.name)(*row.args, **row.kw)
    return compare_schedules(row, ours, rates_of(theirs))


def compare_schedules(row, ours, reference):
    def off(schedule):
        return np.abs(rates_of(schedule) - reference).max() / np.abs(reference).max()

    with jax.enable_x64(True):
        theirs = row.optax and row.optax()
    return off(ours), off(theirs) if theirs else None


def written(off):
    """One digit: the next would depend on the processor."""
    if off is None:
        return "–"
    if off < 1e-12:
        return "< 1e-12"
    digit = float(f"{off:.1g}")
    return f"{digit:.0e}" if digit < 1e-6 else f"{100 * digit:g} %"


def call(row):
    words = ", ".join(f"{k}={v}" for k, v in row.kw.items())
    return f"`{row.name}({words})`" if words else f"`{row.name}`"


def table(rows, measure):
    head = "| theirs | here, made of | Optax alone | off: here | off: Optax |"
    lines = [head, "|---|---|---|---|---|"]
    for row in rows:
        ours, theirs = map(written, measure(row))
        lines.append(f"| {call(row)} | {row.ours} | {row.note} | {ours} | {theirs} |")
    return "\n".join(lines)


def page():
    others = "\n".join(
        f"| `{name}` | {ours} | {note} | – | – |"
        for name, (ours, note) in OF_OTHERS.items()
    )
    return f"""# The same numbers

Written by `python -m docs.parity`. *Off* is the largest difference in float64: for an
optimizer of the distance that a weight has travelled, over {STEPS} random steps with
gradients over eight decades, the worst weight; for a schedule of its largest rate, over
{STEPS} steps. Optax's is the function of the same name, or the nearest one, with the
same rate and its own defaults; *Optax alone* says what it takes to do better.

## Optimizers of `oxe.pytorch`

{table(PYTORCH, torch_row)}

PyTorch's Muon rounds to bfloat16 inside; here nothing is rounded. `weight_decay` is L2
where PyTorch means L2; in Optax that is `add_decayed_weights` in front.

## Schedulers of `oxe.pytorch`

{table(PYTORCH_SCHEDULES, torch_schedule_row)}
{others}

## Optimizers of `oxe.keras`

{table(KERAS, keras_row)}

## Schedules of `oxe.keras`

{table(KERAS_SCHEDULES, keras_schedule_row)}

Keras on JAX takes its cosines in float32, hence the difference of the last two.
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
