"""Draws the pictures at the top of the README: `python -m docs.readme_picture`.

Run it from the top of the repository. It needs matplotlib and scikit-learn.
"""

from pathlib import Path

import jax
import matplotlib
import numpy as np
import optax
from matplotlib.figure import Figure

import optax_extras as oxe

HERE = Path(__file__).parent
PICTURE = HERE / "pictures" / "readme.png"
matplotlib.rcParams["font.size"] = 9


def draw_schedules(ax):
    s = oxe.schedules
    curves = {
        "warm_restarts": s.warm_restarts(1.0, 15, period_mult=2, peak_decay=0.8),
        "one_cycle": s.one_cycle(1.0, 100),
        "wsd": s.wsd(1.0, 10, 60, 30),
    }
    oxe.lab.plot_schedule(curves, 100, ax=ax)
    style = {
        "frameon": False,
        "fontsize": 7.5,
        "handlelength": 1.2,
        "columnspacing": 0.7,
    }
    ax.legend(loc="lower center", ncols=3, **style)
    ax.set(title="schedules", xlabel="step", ylabel="learning rate", ylim=(-0.2, 1.05))


def draw_metric_schedule(ax):
    """A loss that falls, rests and falls again, and `plateau` for it."""
    loss = np.interp(np.arange(60), [0, 15, 35, 45, 60], [1.0, 0.4, 0.4, 0.15, 0.15])
    tx = optax.chain(oxe.scale_by_rate(oxe.plateau(1.0, factor=0.5, patience=5)))
    state, rates = tx.init(0.0), []
    for value in loss:
        state = oxe.observe(state, value)
        rates.append(float(oxe.learning_rate(state)))
    ax.plot(loss, color="#0072B2", ls="--", label="validation loss")
    ax.step(np.arange(60), rates, color="black", where="post", label="learning rate")
    ax.legend(frameon=False)
    ax.set(title="metric-driven learning rate", xlabel="epoch")


def draw_switch(ax):
    """Adam, then SGD: one transformation, in one compiled scan."""
    problem, first = oxe.lab.problems.ditch, 12
    tx = oxe.switch(optax.adam(0.3), optax.sgd(0.9), oxe.at_step(first))
    both = oxe.lab.minimize(problem, problem.start, tx, 30)
    adam = both._replace(params=both.params[: first + 1])
    sgd = both._replace(params=both.params[first:])
    oxe.lab.plot_path(problem, {"Adam": adam}, ax=ax)
    oxe.lab.plot_path(problem, {"then SGD": sgd}, ax=ax)
    handles = {x.get_label(): x for x in ax.lines}
    ax.legend([handles["Adam"], handles["then SGD"]], ["Adam", "then SGD"])
    ax.set(title="a switch from Adam to SGD", xlim=(-8, 2), ylim=(-3, 3))


def draw_range_test(ax):
    lab = oxe.lab
    task = lab.digits()
    weights, batches = task.params(jax.random.key(0)), task.batches(32, epochs=1)
    found = lab.lr_range_test(task.loss, weights, batches, optax.adam)
    lab.plot_range_test({"digits, Adam": found}, ax=ax)
    ax.legend(loc="upper left", frameon=False)
    ax.set(title="learning-rate range test")


def main():
    figure = Figure(figsize=(11.5, 2.7), layout="constrained")
    draws = draw_schedules, draw_metric_schedule, draw_switch, draw_range_test
    for draw, ax in zip(draws, figure.subplots(1, len(draws)), strict=True):
        draw(ax)
    figure.savefig(PICTURE, dpi=120)


if __name__ == "__main__":
    main()
