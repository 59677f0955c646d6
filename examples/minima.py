"""Sharp and flat minima: in which one runs with different learning rates end.

python examples/minima.py [--steps N] [--starts N] [--out DIR]

The curvature is 25 in the sharp minimum and 1 in the flat one; both have the same
value. Every run starts near the sharp one. SGD converges to a minimum of curvature h if
its learning rate is below 2 / h: 0.08 for the sharp one, 2 for the flat one.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import optax_extras as oxe

PROBLEM = oxe.lab.problems.sharp_and_flat
SHARP, FLAT = np.array([-2.0, 0.0]), np.array([2.0, 0.0])
NEAR = 0.1


def cases(steps):
    """The learning rate of a run, and the minimum in which it should end."""
    s = oxe.schedules
    return {
        "constant 0.02": (0.02, "sharp"),
        "constant 0.07": (0.07, "sharp"),
        "constant 0.1": (0.1, "neither"),
        "constant 0.3": (0.3, "flat"),
        "constant 1": (1.0, "flat"),
        "constant 2.5": (2.5, "neither"),
        "cycles 0.02 to 0.06": (s.cyclic(0.02, 0.06, steps // 8), "sharp"),
        "cycles 0.02 to 0.6": (s.cyclic(0.02, 0.6, steps // 8), "flat"),
        "restarts from 0.6": (s.warm_restarts(0.6, steps // 4), "flat"),
        "cosine from 0.06": (s.cosine(0.06, steps), "sharp"),
        "cosine from 0.6": (s.cosine(0.6, steps), "flat"),
    }


def walk(rate, steps, starts):
    """All runs in one program: (starts, steps + 1, 2)."""
    tx = optax.chain(oxe.scale_by_rate(rate))
    run = jax.vmap(lambda start: oxe.lab.minimize(PROBLEM, start, tx, steps))
    return run(starts)


def fraction(ends, minimum):
    return np.mean(np.linalg.norm(ends - minimum, axis=-1) < NEAR)


def draw(paths):
    """Four of the paths, and below them the learning rates."""
    figure = Figure(figsize=(12, 5.5), layout="constrained")
    panels = figure.subplots(2, len(paths), height_ratios=[2, 1], sharex="row")
    for i, ((name, path), (top, bottom)) in enumerate(
        zip(paths.items(), panels.T, strict=True)
    ):
        first = jax.tree.map(lambda x: x[0], path)
        oxe.lab.plot_path(PROBLEM, first, ax=top)
        oxe.lab.plot_rate(first, ax=bottom)
        top.set_title(name)
        bottom.set_yscale("linear")
        bottom.set_ylim(0, 0.65)
        if i:
            top.set_ylabel("")
            bottom.set_ylabel("")
    figure.suptitle("From the circle beside the sharp minimum; cross: the flat one")
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    out = Path(__file__).parent / "out"
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--starts", type=int, default=500)
    parser.add_argument("--out", type=Path, default=out, help="where the figure goes")
    asked = parser.parse_args()
    if asked.steps < 8 or asked.starts < 1:
        parser.error("--steps must be at least 8, --starts at least 1")
    asked.out.mkdir(parents=True, exist_ok=True)

    around = np.random.default_rng(0).uniform(-0.5, 0.5, size=(asked.starts, 2))
    starts = jnp.asarray(SHARP + around, jnp.float32)
    print(f"{asked.starts} starts beside the sharp minimum, {asked.steps} updates")
    print(f"{'':22}{'expected':>9}{'in the sharp':>14}{'in the flat':>13}")
    paths = {}
    for name, (rate, expected) in cases(asked.steps).items():
        paths[name] = walk(rate, asked.steps, starts)
        ends = np.asarray(paths[name].params[:, -1])
        sharp, flat = fraction(ends, SHARP), fraction(ends, FLAT)
        print(f"{name:22}{expected:>9}{sharp:14.1%}{flat:13.1%}")
    print("The highest learning rate decides: a cycle leaves the sharp minimum if a")
    print("constant or falling learning rate with the same peak does. Both minima have")
    print("the same value, so this does not show that flat ones generalize better.")
    shown = "constant 0.07", "constant 0.3", "cycles 0.02 to 0.6", "cosine from 0.6"
    draw({name: paths[name] for name in shown}).savefig(
        asked.out / "minima.png", dpi=120
    )
    print(f"drawn: {asked.out / 'minima.png'}")


if __name__ == "__main__":
    main()
