"""Paths of four optimizers in a ditch, and of SGD with every schedule.

python examples/ditch.py [--out DIR]
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import optax_extras as oxe
from optax_extras import schedules as s

STEPS = 30

OPTIMIZERS = {
    "SGD": optax.sgd(0.95),
    "Momentum": oxe.heavy_ball(0.1, momentum=0.9),
    "AdaGrad": oxe.adagrad(1.5, eps=1e-7),
    "Adam": optax.adam(0.3),
}

# The ends, as in "Deep Learning from Scratch", chapter 6.
EXPECTED = {
    "SGD": (-0.350393, 0.0847823),
    "Momentum": (0.896414, 0.0880856),
    "AdaGrad": (-0.120162, 0.0),
    "Adam": (0.136007, 0.318245),
}

# Each for a run of 100 steps, with 1 as the highest value.
SCHEDULES = {
    "piecewise_constant": s.piecewise_constant([1, 0.3, 0.6], boundaries=[40, 70]),
    "step": s.step(1, step_size=25, factor=0.5),
    "multistep": s.multistep(1, milestones=[50, 80], factor=0.3),
    "exponential": s.exponential(1, decay_rate=0.97),
    "inverse_time": s.inverse_time(1, decay_rate=0.1),
    "inverse_sqrt": s.inverse_sqrt(1, timescale=10),
    "polynomial": s.polynomial(1, transition_steps=90, power=3),
    "linear": s.linear(1, transition_steps=90, end_value=0.1),
    "cosine": s.cosine(1, decay_steps=90),
    "rex": s.rex(1, decay_steps=90),
    "cyclic": s.cyclic(0.1, 1, up_steps=15, mode="triangular2"),
    "warm_restarts": s.warm_restarts(1, period=15, period_mult=2, peak_decay=0.8),
    "one_cycle": s.one_cycle(1, total_steps=100),
    "wsd": s.wsd(1, warmup_steps=10, stable_steps=60, decay_steps=30),
    "warmup": s.warmup(20, s.cosine(1, decay_steps=80)),
    "cooldown": s.cooldown(s.inverse_sqrt(1, timescale=10), start=70, steps=30),
    "sequence": s.sequence([0.3, s.cosine(1, 40), s.step(0.6, 15, 0.5)], [20, 60]),
    "product": s.product(s.cyclic(0.5, 1, up_steps=10), s.linear(1, 100)),
    "repeat": s.repeat(s.polynomial(1, 25, power=2), period=25),
}


def walk(problem):
    """Returns a path for each optimizer, and prints where it ends."""
    with jax.enable_x64(True):  # in float32, 30 updates of Adam change the fifth digit
        paths = {
            name: oxe.lab.minimize(problem.fun, problem.start, tx, STEPS)
            for name, tx in OPTIMIZERS.items()
        }
    print(f"x²/20 + y² from (-7, 2), after {STEPS} updates")
    print(f"{'':10}{'x':>12}{'y':>12}{'value':>12}{'expected x':>14}{'y':>12}", end="")
    print(f"{'sides changed':>16}")
    for name, path in paths.items():
        x, y = path.params[-1]
        expected = "".join(f"{z:12.6g}" for z in EXPECTED[name])
        y_all = np.asarray(path.params[:, 1])
        turns = np.sum(y_all[1:] * y_all[:-1] < 0)
        print(
            f"{name:10}{x:12.6g}{y:12.6g}{path.values[-1]:12.6g}  {expected}{turns:16}"
        )
    return paths


def walk_with_schedules(problem):
    """A path of SGD for each schedule, with 0.95 times it as the learning rate."""
    paths, counts = {}, jnp.arange(100)
    with jax.enable_x64(True):
        print(f"\nSGD for 100 updates at 0.95 times a schedule{'expected':>13}", end="")
        print(f"{'measured':>12}")
        for name, schedule in SCHEDULES.items():
            tx = oxe.scale_by_rate(s.product(0.95, schedule))
            paths[name] = oxe.lab.minimize(problem, problem.start, tx, 100)
            rates = 0.95 * np.asarray(schedule(counts), np.float64)
            x, y = -7 * np.prod(1 - rates / 10), 2 * np.prod(1 - 2 * rates)
            expected, value = x**2 / 20 + y**2, paths[name].values[-1]
            print(f"{name:43}{expected:13.4g}{value:12.4g}")
    return paths


def draw_paths(problem, paths):
    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    for ax, (name, path) in zip(panels.flat, paths.items(), strict=True):
        oxe.lab.plot_path(problem, path, ax=ax)
        ax.set(title=name, xlim=(-8, 4), ylim=(-4, 4))
        ax.label_outer()
    figure.suptitle(f"x²/20 + y²: {STEPS} updates from the circle; minimum: cross")
    return figure


def draw_each(items, draw, **limits):
    """A small plot for each of 19 schedules, in 20 panels."""
    figure = Figure(figsize=(10, 8), layout="constrained")
    panels = figure.subplots(4, 5, sharex=True, sharey=True)
    for ax, (name, item) in zip(panels.flat, items.items(), strict=False):
        draw(item, ax)
        ax.set(title=name, **limits)
        ax.label_outer()
    panels[-1, -1].set_visible(False)
    panels[-2, -1].tick_params(labelbottom=True)
    return figure


def draw_schedules():
    def draw(schedule, ax):
        oxe.lab.plot_schedule(schedule, 100, ax=ax)

    return draw_each(SCHEDULES, draw, ylim=(-0.05, 1.05))


def draw_effects(problem, paths):
    def draw(path, ax):
        oxe.lab.plot_path(problem, path, ax=ax)

    figure = draw_each(paths, draw, xlim=(-8, 2), ylim=(-3, 3))
    figure.suptitle("SGD, 100 updates at 0.95 times each schedule")
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    out = Path(__file__).parent / "out"
    parser.add_argument("--out", type=Path, default=out, help="where figures go")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    ditch = oxe.lab.problems.ditch
    draw_paths(ditch, walk(ditch)).savefig(out / "ditch.png", dpi=120)
    draw_schedules().savefig(out / "schedules.png", dpi=120)
    effects = draw_effects(ditch, walk_with_schedules(ditch))
    effects.savefig(out / "ditch_schedules.png", dpi=120)
    names = "ditch.png", "schedules.png", "ditch_schedules.png"
    print("drawn:", ", ".join(str(out / name) for name in names))


if __name__ == "__main__":
    main()
