"""A picture for a public name, drawn from its docstring's example.

A schedule has its curve, an optimizer its paths on two problems, a metric schedule or a
condition what it does about a loss.
"""

import ast
import contextlib
import doctest
import inspect
import io
import re
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

import optax_extras as oxe

matplotlib.rcParams.update(
    {"svg.hashsalt": "optax_extras", "svg.fonttype": "none", "font.size": 11}
)
# What is shown of each problem: x and y, lowest and highest.
PROBLEMS = {"ditch": ((-8, 4), (-4, 4)), "rosenbrock": ((-2, 2), (-1, 3))}
STEPS = 10_000
SHOWN = np.r_[:100, 100 : STEPS + 1 : 50]
# For the rules, whose examples have no learning rate. AdaGrad's steps shrink: at 0.001
# it would stay at its start.
LEARNING_RATE = 0.001
LEARNING_RATES = {"rules.adagrad": 0.1}
SCHEDULES = ("schedules", "pytorch", "keras", "transformers", "timm")
PATHS = (
    "The paths of the optimizer on two toy problems, from the circle toward the "
    "minimum, a cross. Each of the first 100 updates is a dot, then every 50th up to "
    f"{STEPS:,}. A path without a large dot at its end has left the picture. "
)
# A loss that falls, rests, falls again, and rests for good: one value an epoch.
LOSS = np.interp(np.arange(100), [0, 20, 50, 65, 100], [1.0, 0.4, 0.4, 0.15, 0.15])
BLACK, GRAY, BLUE = "black", "0.6", "#0072B2"


class Picture(NamedTuple):
    """The files of a picture, and its caption."""

    file: str
    small: str
    caption: str
    is_wide: bool


def draw(name: str, thing, folder: Path) -> Picture | None:
    """The picture of a public name, if it has one; large, and small for the index."""
    examples = doctest.DocTestParser().get_examples(inspect.getdoc(thing) or "")
    if not examples or not inspect.isfunction(thing) or name.startswith("lab."):
        return None
    # As in a doctest, the globals of the function's own module are in scope.
    scope = {**vars(sys.modules[thing.__module__])}
    run(examples, scope)
    returns = inspect.signature(thing).return_annotation
    is_wide = False
    if returns is oxe.MetricSchedule:
        caption = "The learning rate of the example's metric schedule for this loss."
        figure = metric_schedule(call_in(examples, thing, scope))
    elif returns is oxe.Condition and "patience" in inspect.signature(thing).parameters:
        caption = "The epochs at which the example's condition holds for this loss."
        figure = condition(call_in(examples, thing, scope))
    elif "tx" in scope and is_optimizer(thing):
        is_wide = True
        tx, learning_rate = downhill(scope["tx"], name)
        at = "the example's" if learning_rate is None else learning_rate
        caption = f"{PATHS}The learning rate is {at}."
        figure = paths(name, tx)
    elif name.partition(".")[0] in SCHEDULES and "schedule" in scope:
        caption = "The example's schedule."
        figure = curve(scope["schedule"], examples)
    else:
        return None
    picture = Picture(f"{name}.svg", f"{name}.small.png", caption, is_wide)
    figure.savefig(folder / picture.file, metadata={"Date": None})
    shrink(figure)
    figure.savefig(folder / picture.small, dpi=200)
    return picture


def run(examples, scope) -> None:
    """Runs an example, so that the scope holds its variables."""
    with contextlib.redirect_stdout(io.StringIO()):
        for example in examples:
            exec(compile(example.source, "docstring", "exec"), scope)


def call_in(examples, thing, scope):
    """What the first call of `thing` in the examples returns."""
    calls = [
        node
        for example in examples
        for node in ast.walk(ast.parse(example.source))
        if getattr(getattr(node, "func", None), "attr", None) == thing.__name__
    ]
    return eval(compile(ast.Expression(calls[0]), "docstring", "eval"), scope)


def is_optimizer(thing) -> bool:
    """Whether the example's `tx` shows what `thing` does."""
    signature = inspect.signature(thing)
    if signature.return_annotation is oxe.Rule:
        return all(x.annotation is not oxe.Rule for x in signature.parameters.values())
    is_last_link = next(iter(signature.parameters), "") in ("learning_rate", "lr")
    returns = signature.return_annotation
    return is_last_link and returns is optax.GradientTransformationExtraArgs


def new_figure(count: int) -> tuple[Figure, list[Axes]]:
    """A figure with as many axes in a row. Its ticks are readable in the gallery."""
    width = 2.8 if count > 1 else 3.0
    figure = Figure(figsize=(width * count, 2.2), layout="constrained")
    return figure, [figure.add_subplot(1, count, i + 1) for i in range(count)]


def with_few_ticks(ax: Axes) -> None:
    ax.locator_params(nbins=4)


def shrink(figure: Figure) -> None:
    """Keeps the lines of the first axes alone: ticks cannot be read at this size."""
    first = figure.axes[0]
    place = first.get_subplotspec()
    for ax in figure.axes:
        if ax.get_subplotspec() != place:  # not a twin of the first
            ax.remove()
    for legend in [*figure.legends]:
        legend.remove()
    for ax in figure.axes:
        ax.set_subplotspec(GridSpec(1, 1, figure)[0])
        ax.set(xlabel="", ylabel="", title="")
        ax.minorticks_off()
        ax.tick_params(length=0, labelbottom=False, labelleft=False, labelright=False)
        for line in ax.lines:
            line.set_markersize(line.get_markersize() / 2)
    figure.set_size_inches(1.2, 0.8)


def curve(schedule, examples) -> Figure:
    """The values up to a little past the last step in the example."""
    source = " ".join(example.source for example in examples)
    steps = [
        int(x.replace("_", "")) for x in re.findall(r"\b[1-9][\d_]*\b(?!\.)", source)
    ]
    figure, (ax,) = new_figure(1)
    oxe.lab.plot_schedule(schedule, int(max(steps) * 1.25) + 1, ax=ax)
    with_few_ticks(ax)
    return figure


def paths(name: str, tx) -> Figure:
    """The paths through the ditch and Rosenbrock's valley in STEPS updates."""
    figure, both = new_figure(2)
    # Muon steps in matrices only: for it the point is a matrix of one row.
    shape = (1, 2) if name.rpartition(".")[2].lower() == "muon" else (2,)
    for ax, (title, bounds) in zip(both, PROBLEMS.items(), strict=True):
        problem = getattr(oxe.lab.problems, title)
        path = oxe.lab.minimize(
            lambda x, problem=problem: problem.fun(x.reshape(2)),
            jnp.reshape(problem.start, shape),
            tx,
            STEPS,
        )
        path = path._replace(params=path.params.reshape(-1, 2)[SHOWN])
        oxe.lab.plot_path(problem._replace(bounds=bounds), path, ax=ax)
        with_few_ticks(ax)
        low, high = np.array(bounds).T
        end = np.asarray(path.params[-1])
        inside = np.all((low <= end) & (end <= high))  # False for NaN
        ax.set_title(title if inside else f"{title} (left)", fontsize=11)
    return figure


def downhill(tx, name: str):
    """The optimizer, and the learning rate that a direction without one is given."""
    g = jnp.ones((1, 2))
    updates, _ = tx.update(g, tx.init(g), g, value=0.0)
    if float(updates.sum()) <= 0:
        return tx, None
    learning_rate = LEARNING_RATES.get(name, LEARNING_RATE)
    return optax.chain(tx, oxe.scale_by_rate(learning_rate)), learning_rate


def metric_schedule(schedule) -> Figure:
    """The learning rate epoch by epoch, and the loss that it follows."""
    state, values = schedule.init(), []
    for loss in LOSS:
        values.append(float(schedule(state)))
        state = schedule.update(state, **{schedule.monitor: loss})
    figure, (ax,) = new_figure(1)
    draw_loss(ax)
    other = ax.twinx()
    epochs = range(len(values))
    other.step(epochs, values, where="post", color=BLACK, label="learning rate")
    other.set(ylabel="learning rate", yscale="log")
    return with_legend(figure)


def condition(when) -> Figure:
    """The loss, and the epochs at which the condition holds."""
    state, epochs = when.init(), []
    unused = dict.fromkeys(("grads", "updates", "params"))
    monitor = next(iter(jax.eval_shape(when.init)))
    for epoch, loss in enumerate(LOSS):
        fired, state = when.update(state, epoch, **unused, **{monitor: loss})
        epochs += [epoch] if fired else []
    figure, (ax,) = new_figure(1)
    draw_loss(ax)
    ax.plot(epochs, LOSS[epochs], "o", color=BLACK, label="condition holds")
    for epoch in epochs:
        ax.axvline(epoch, color=BLACK, lw=0.8, ls=":")
    return with_legend(figure)


def draw_loss(ax: Axes) -> None:
    ax.plot(LOSS, color=BLUE, ls="--", label="loss")
    ax.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
    with_few_ticks(ax)


def with_legend(figure: Figure) -> Figure:
    lines = [x for ax in figure.axes for x in ax.lines if x.get_label()[0] != "_"]
    names = [line.get_label() for line in lines]
    figure.legend(
        lines, names, loc="outside upper center", ncols=2, frameon=False, fontsize=9
    )
    return figure
