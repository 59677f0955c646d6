"""How long SGD stays at a saddle point: with momentum, noise, a cyclic learning rate.

python examples/saddle.py [--steps N] [--seeds N] [--out DIR]

On x²/2 - y²/2 + y⁴/4 the runs start a millionth beside the ridge y = 0. Near it a step
of SGD multiplies y by 1 + the learning rate η: to leave takes log(0.5 / 1e-6) /
log(1 + η) updates, so the distance of the start counts only by its logarithm.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import optax_extras as oxe

RATE, BETA, NOISE, BESIDE = 0.1, 0.9, 0.01, 1e-6
CYCLE = oxe.schedules.cyclic(RATE, 0.5, up_steps=10)
MEAN = 0.3  # of the cycle
GONE = 0.5  # the |y| that counts as left: the minima are at 1 and -1


def noisy(point, i, key):
    """The saddle, with normal noise on its gradient."""
    tilt = NOISE * jax.random.normal(key, (2,), jnp.result_type(point))
    return oxe.lab.problems.saddle.fun(point) + tilt @ point


def expectations():
    """Updates until |y| is GONE, without the y⁴ term."""
    away, per_step = np.log(GONE / BESIDE), np.log1p(RATE)
    # y' = y + β (y - y before) + η y: the larger root of λ² - (1 + β + η) λ + β.
    trace = 1 + BETA + RATE
    root = (trace + np.sqrt(trace**2 - 4 * BETA)) / 2
    # The noise adds up to a normal y with this deviation, times (1 + η)^t; half of the
    # seeds are above 0.674 deviations.
    deviation = RATE * NOISE / np.sqrt((1 + RATE) ** 2 - 1)
    growth = np.cumsum(np.log1p(CYCLE(np.arange(1000))))
    return {
        "SGD, on the ridge": np.inf,
        "SGD": away / per_step,
        "SGD, noise": np.log(GONE / (0.674 * deviation)) / per_step,
        "momentum": away / np.log(root),
        "cyclic learning rate": 1 + np.argmax(growth > away),
        "SGD at its mean": away / np.log1p(MEAN),
    }


def walk(steps, seeds):
    """|y| over the updates, of each run; with noise (seeds, steps + 1)."""
    saddle = oxe.lab.problems.saddle
    start = jnp.array([1.5, BESIDE])

    def run(tx, start=start):
        return oxe.lab.minimize(saddle, start, tx, steps).params

    stream = saddle._replace(sample=noisy, stochastic=True)
    keys = jax.random.split(jax.random.key(0), seeds)
    with_noise = jax.vmap(
        lambda key: oxe.lab.minimize(stream, start, optax.sgd(RATE), steps, key=key)
    )(keys)
    points = {
        "SGD, on the ridge": run(optax.sgd(RATE), jnp.array([1.5, 0.0])),
        "SGD": run(optax.sgd(RATE)),
        "SGD, noise": with_noise.params,
        "momentum": run(oxe.heavy_ball(RATE, BETA)),
        "cyclic learning rate": run(optax.sgd(CYCLE)),
        "SGD at its mean": run(optax.sgd(MEAN)),
    }
    return {name: np.abs(np.asarray(x)[..., 1]) for name, x in points.items()}


def leaving(heights):
    """The first update after which |y| is GONE, the median over seeds; inf: never."""
    gone = np.atleast_2d(heights) > GONE
    return np.median(np.where(gone.any(1), gone.argmax(1), np.inf))


def draw(runs, expected):
    figure = Figure(figsize=(9, 5), layout="constrained")
    ax = figure.subplots()
    colors = ["black", "#56B4E9", "#0072B2", "#D55E00", "#009E73"]
    dashes = ["-", ":", "--", "-.", (0, (8, 2))]
    left = [name for name, updates in expected.items() if np.isfinite(updates)]
    for name, color, dash in zip(left, colors, dashes, strict=True):
        middle = np.median(np.atleast_2d(runs[name]), axis=0)
        ax.plot(middle, color=color, ls=dash, label=name)
        ax.plot(expected[name], GONE, "o", color=color, mfc="white", ms=8)
    ax.axhline(GONE, color="0.8", lw=1, zorder=0)
    ax.plot([], [], "o", color="black", mfc="white", ms=8, label="expected")
    ax.set(yscale="log", ylim=(5e-7, 3), xlim=(0, 250), xlabel="update")
    ax.set_ylabel("|y|, the distance from the ridge")
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    out = Path(__file__).parent / "out"
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=200, help="of the noise")
    parser.add_argument("--out", type=Path, default=out, help="where the figure goes")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)

    runs, expected = walk(asked.steps, asked.seeds), expectations()
    print(f"updates until |y| > {GONE}, from {BESIDE:g} beside the ridge of a saddle")
    print(f"{'':20}{'expected':>10}{'measured':>10}")
    for name, heights in runs.items():
        print(f"{name:20}{expected[name]:10.0f}{leaving(heights):10.0f}")
    print(f"inf: not in {asked.steps}. Noise: the median of {asked.seeds} seeds.")
    print("A cyclic learning rate leaves as soon as a constant one of the same mean.")
    draw(runs, expected).savefig(asked.out / "saddle.png", dpi=120)
    print(f"drawn: {asked.out / 'saddle.png'}")


if __name__ == "__main__":
    main()
