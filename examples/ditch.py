"""Four optimizers walk down a ditch, and every schedule is drawn.

python examples/ditch.py [--out DIR]
"""

import argparse
from pathlib import Path

import jax
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
    """A path for each optimizer, and where it ends in print."""
    with jax.enable_x64(True):  # 30 updates by Adam cost float32 its fifth digit
        paths = {
            name: oxe.lab.minimize(problem.fun, problem.start, tx, STEPS)
            for name, tx in OPTIMIZERS.items()
        }
    print(f"x²/20 + y² from (-7, 2), after {STEPS} updates")
    print(f"{'':10}{'x':>14}{'y':>14}{'value':>14}")
    for name, path in paths.items():
        x, y = path.params[-1]
        print(f"{name:10}{x:14.6g}{y:14.6g}{path.values[-1]:14.6g}")
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


def draw_schedules():
    figure = Figure(figsize=(10, 8), layout="constrained")
    panels = figure.subplots(4, 5, sharex=True, sharey=True)
    for ax, (name, schedule) in zip(panels.flat, SCHEDULES.items(), strict=False):
        oxe.lab.plot_schedule(schedule, 100, ax=ax)
        ax.set(title=name, ylim=(-0.05, 1.05))
        ax.label_outer()
    panels[-1, -1].set_visible(False)  # 19 schedules, 20 places
    panels[-2, -1].tick_params(labelbottom=True)
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
    print(f"drawn: {out / 'ditch.png'}, {out / 'schedules.png'}")


if __name__ == "__main__":
    main()
