"""Adaptive methods that fit the same data and generalize worse: Wilson et al.

python examples/wilson.py [--steps N] [--out DIR]

On these least squares every method reaches a training loss of 0. SGD converges to the
weights of least norm, which are right on new points. Adaptive methods give every
feature a weight of the same size, 1/4, and predict that every new point is positive.
SWATS starts as one of them and ends as SGD, which never forgets where it started, so
the step of the switch matters. Adam moves each weight by its learning rate per step,
and so arrives at its end after 1/4 / learning rate steps.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from matplotlib.figure import Figure

import optax_extras as oxe

RATE = 0.01  # of Adam
ARRIVAL = round(0.25 / RATE)  # Adam's steps until all weights are 1/4 in size
SWITCHES = (1, 2, 5, 10, 15, 20, 25, 30, 50, 100, 300)


def optimizers(steps):
    """Optimizers, each with the test error that is expected."""
    falling = oxe.schedules.cosine(RATE, steps)
    return {
        "SGD": (optax.sgd(0.1), 0.0),
        "momentum": (optax.sgd(0.02, momentum=0.9), 0.0),
        "AdaGrad": (oxe.adagrad(0.1), 0.5),
        "RMSProp": (oxe.rmsprop(falling), 0.5),
        "Adam": (optax.adam(falling), 0.5),
        "AMSGrad": (oxe.amsgrad(falling), 0.5),
    } | {
        f"SWATS, switch at {n}": (
            oxe.swats(RATE, min_steps=n, max_steps=n),
            0.0 if n < ARRIVAL else 0.5,
        )
        for n in SWITCHES
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    out = Path(__file__).parent / "out"
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--out", type=Path, default=out, help="where the figure goes")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)

    with jax.enable_x64(True):
        data = oxe.lab.problems.wilson(n=20, n_test=200)
        problem, errors = data.problem, {}
        print(f"20 training and 200 test points, {asked.steps} updates")
        print(f"{'':22}{'train loss':>12}{'test error: expected':>22}{'measured':>10}")
        for name, (tx, expected) in optimizers(asked.steps).items():
            path = oxe.lab.minimize(
                problem, problem.start, tx, asked.steps, record_every=asked.steps
            )
            predicted = jnp.sign(data.x_test @ path.params[-1])
            errors[name] = float(jnp.mean(predicted != data.y_test))
            loss = float(path.values[-1])
            print(f"{name:22}{loss:12.1e}{expected:22.2f}{errors[name]:10.2f}")
    print(
        "Half of the test points are negative, so an error of 0.5 is a constant guess."
    )
    draw(errors).savefig(asked.out / "wilson.png", dpi=120)
    print(f"drawn: {asked.out / 'wilson.png'}")


def draw(errors):
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1, 1.3])
    plain = {k: v for k, v in errors.items() if not k.startswith("SWATS")}
    left.plot(list(plain), list(plain.values()), "ko", ms=8)
    left.set(ylabel="test error", ylim=(-0.05, 0.6), title="one method throughout")
    left.tick_params(axis="x", rotation=30)
    switched = [errors[f"SWATS, switch at {n}"] for n in SWITCHES]
    right.semilogx(SWITCHES, switched, "ko-", ms=8, label="SWATS")
    right.axvline(ARRIVAL, color="0.6", ls="--", zorder=0, label="Adam has arrived")
    right.set(xlabel="the update at which Adam becomes SGD", title="a switch")
    figure.legend(loc="outside right upper", frameon=False)
    return figure


if __name__ == "__main__":
    main()
