"""A picture from a docstring's own example: a curve, paths, or an answer to a loss."""

import ast
import contextlib
import doctest
import inspect
import io
import re
import sys
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
from matplotlib.figure import Figure

import optax_extras as oxe

matplotlib.rcParams.update(
    {"svg.hashsalt": "optax_extras", "svg.fonttype": "none", "font.size": 9}
)
PROBLEMS = ("ditch", "rosenbrock")
STEPS = 10_000
SHOWN = np.r_[:100, 100 : STEPS + 1 : 50]
PATHS = (
    "Paths of the example's optimizer, at its rate, or at 0.001 where it has none, "
    "from the circle towards the minimum, a cross: a dot for each of the first 100 "
    f"updates, then for every 50th to {STEPS}. A path without a large dot at its "
    "end has left the picture."
)
# A loss that falls, rests, falls again and rests for good: one value an epoch.
LOSS = np.interp(np.arange(100), [0, 20, 50, 65, 100], [1.0, 0.4, 0.4, 0.15, 0.15])


class Picture(NamedTuple):
    """Where a picture lies, and what it shows."""

    file: str
    what: str
    is_wide: bool


def draw(name: str, thing, folder: Path) -> Picture | None:
    """The picture of a public name, if it has one."""
    examples = doctest.DocTestParser().get_examples(inspect.getdoc(thing) or "")
    if not examples or not inspect.isfunction(thing) or name.startswith("lab."):
        return None
    # As doctest does it: what the file has imported is there.
    scope = {**vars(sys.modules[thing.__module__])}
    run(examples, scope)
    what = None
    if (rate := metric_schedule(thing, examples, scope)) is not None:
        what, figure = "The example's rate, shown this loss.", answer(rate)
    elif "tx" in scope and is_optimizer(name, thing):
        what, figure = PATHS, paths(name, scope["tx"])
    elif name.partition(".")[0] in ("schedules", "pytorch", "keras"):
        what, figure = "The example's schedule.", curve(scope["schedule"], examples)
    if what is None:
        return None
    file = folder / f"{name}.svg"
    figure.savefig(file, metadata={"Date": None})
    return Picture(file.name, what, what == PATHS)


def run(examples, scope) -> None:
    """Leaves in the scope what an example's names stand for after its last line."""
    with contextlib.redirect_stdout(io.StringIO()):
        for example in examples:
            exec(compile(example.source, "docstring", "exec"), scope)


def metric_schedule(thing, examples, scope):
    """The first one that the example makes, if that is what `thing` returns."""
    if inspect.signature(thing).return_annotation is not oxe.MetricSchedule:
        return None
    calls = [
        node
        for example in examples
        for node in ast.walk(ast.parse(example.source))
        if getattr(getattr(node, "func", None), "attr", None) == thing.__name__
    ]
    return eval(compile(ast.Expression(calls[0]), "docstring", "eval"), scope)


def is_optimizer(name: str, thing) -> bool:
    """Whether what the example's `tx` does is what `thing` is there for."""
    room = thing.__module__.split(".")[1]
    is_room = room in ("_optimizers", "rules", "pytorch", "keras")
    return is_room and not name.startswith("scale_by_")


def axes(count: int):
    """A figure with as many axes in a row."""
    figure = Figure(figsize=(3.4 * count, 2.5), layout="constrained")
    return figure, [figure.add_subplot(1, count, i + 1) for i in range(count)]


def curve(schedule, examples):
    """The values up to a little past the last step that the example speaks of."""
    source = " ".join(example.source for example in examples)
    steps = [
        int(x.replace("_", "")) for x in re.findall(r"\b[1-9][\d_]*\b(?!\.)", source)
    ]
    figure, (ax,) = axes(1)
    oxe.lab.plot_schedule(schedule, int(max(steps) * 1.25) + 1, ax=ax)
    return figure


def paths(name, tx):
    """Down the ditch and through Rosenbrock's valley, as far as STEPS updates go."""
    figure, both = axes(2)
    tx = downhill(tx)
    # The point is a matrix of one row for what steps in matrices only.
    shape = (1, 2) if name.rpartition(".")[2].lower() == "muon" else (2,)
    for ax, title in zip(both, PROBLEMS, strict=True):
        problem = getattr(oxe.lab.problems, title)
        path = oxe.lab.minimize(
            lambda x, problem=problem: problem.fun(x.reshape(2)),
            jnp.reshape(problem.start, shape),
            tx,
            STEPS,
        )
        path = path._replace(params=path.params.reshape(-1, 2)[SHOWN])
        oxe.lab.plot_path(problem, path, ax=ax)
        low, high = np.array(problem.bounds).T
        end = np.asarray(path.params[-1])
        inside = np.all((low <= end) & (end <= high))  # a NaN is not
        ax.set_title(title if inside else f"{title}: out of the picture")
    return figure


def downhill(tx):
    """The same, or, if it gives directions without rate and sign, at a rate."""
    g = jnp.ones((1, 2))
    updates, _ = tx.update(g, tx.init(g), g, value=0.0)
    if float(updates.sum()) > 0:
        return optax.chain(tx, oxe.scale_by_rate(1e-3))
    return tx


def answer(rate):
    """The number that a metric schedule gives, epoch by epoch, and the loss it sees."""
    state, values = rate.init(), []
    for loss in LOSS:
        values.append(float(rate(state)))
        state = rate.update(state, **{rate.monitor: loss})
    figure, (ax,) = axes(1)
    ax.plot(LOSS, color="0.6", label="the loss that it sees")
    ax.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
    other = ax.twinx()
    other.step(range(len(values)), values, where="post", color="C0", label="the rate")
    other.set(ylabel="rate", yscale="log")
    lines = [*ax.lines, *other.lines]
    names = [line.get_label() for line in lines]
    figure.legend(lines, names, loc="outside upper center", ncols=2, frameon=False)
    return figure
