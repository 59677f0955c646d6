"""Races and schedules from a shell: python -m optax_extras.lab --help."""

import argparse
import ast
import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from optax_extras import lab
from optax_extras.rules._kernel import Rule

_DESCRIPTION = (
    "See what optimizers and learning-rate schedules do; the last line printed"
)
_DESCRIPTION += " names the picture that was drawn."
_RACE = "python -m optax_extras.lab race --problem rosenbrock --rate 0.01"
_RACE += " --optimizers adam adagrad 'heavy_ball(momentum=0.8)'"
_SCHEDULES = "python -m optax_extras.lab schedules cyclic 'cosine(1, decay_steps=80)'"

# Arguments that schedules cannot do without, for a run of n steps from or up to 1.
_USUAL: dict[str, Callable[[int], dict[str, Any]]] = {
    "constant_schedule": lambda n: {"value": 1},
    "cosine": lambda n: {"init_value": 1, "decay_steps": n},
    "cyclic": lambda n: {"base_value": 0.1, "peak_value": 1, "up_steps": n // 6 or 1},
    "exponential": lambda n: {"init_value": 1, "decay_rate": 0.01 ** (1 / n)},
    "inverse_sqrt": lambda n: {"peak_value": 1, "timescale": n // 10 or 1},
    "inverse_time": lambda n: {"init_value": 1, "decay_rate": 10 / n},
    "linear": lambda n: {"init_value": 1, "transition_steps": n},
    "one_cycle": lambda n: {"peak_value": 1, "total_steps": n},
    "polynomial": lambda n: {"init_value": 1, "transition_steps": n, "power": 2},
    "rex": lambda n: {"init_value": 1, "decay_steps": n},
    "step": lambda n: {"init_value": 1, "step_size": n // 4 or 1, "factor": 0.5},
    "warm_restarts": lambda n: {
        "peak_value": 1,
        "period": n // 7 or 1,
        "period_mult": 2,
    },
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; 0 if it worked, 1 for what cannot be done, 2 for what is unclear.

    Args:
      arguments: Those of the command line; None means those of the process.

    Returns:
      The exit code.
    """
    asked = _parser().parse_args(arguments)
    try:
        if asked.out.exists() and not asked.force:
            raise FileExistsError(f"{asked.out} exists: --force overwrites it.")
        asked.run(asked)
    except (ImportError, OSError, TypeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m optax_extras.lab", None, _DESCRIPTION)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    race = commands.add_parser(
        "race",
        help="run optimizers on a problem",
        description="Runs optimizers on a problem; prints where they ended.",
        epilog=f"for example: {_RACE}",
    )
    race.add_argument(
        "--problem", default="ditch", help="such as ditch, rosenbrock, beale, saddle"
    )
    race.add_argument(
        "--optimizers",
        nargs="+",
        required=True,
        metavar="NAME",
        help="of optax_extras, its rules, or optax; arguments may follow: "
        "'sgd(momentum=0.9)'",
    )
    race.add_argument("--rate", type=float, default=0.1, help="of all (%(default)s)")
    race.add_argument("--seed", type=int, default=0, help="of a problem's noise")
    _add_shared(race, _race, "race.png")

    schedules = commands.add_parser(
        "schedules",
        help="draw learning-rate schedules",
        description="Draws schedules, side by side, at every step of a run.",
        epilog=f"for example: {_SCHEDULES}",
    )
    schedules.add_argument(
        "names",
        nargs="+",
        metavar="NAME",
        help="of optax_extras.schedules or optax, or a dotted name; arguments may "
        "follow in parentheses, else usual ones are filled in",
    )
    _add_shared(schedules, _schedules, "schedules.png")
    return parser


def _add_shared(parser: argparse.ArgumentParser, run: Any, out: str) -> None:
    parser.set_defaults(run=run)
    parser.add_argument("--steps", type=int, default=100, help="updates (%(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path(out), help="the picture (%(default)s)"
    )
    parser.add_argument(
        "--force", action="store_true", help="overwrite the picture if it exists"
    )


def _race(asked: argparse.Namespace) -> None:
    problem = lab.problems.by_name(asked.problem)
    rooms = "optax_extras", "optax_extras.rules", "optax"
    entrants = {}
    for text in asked.optimizers:
        make, options = _called(text, rooms)
        unnamed = options.pop("*", ())
        if "learning_rate" in inspect.signature(make).parameters and not unnamed:
            options = {"learning_rate": asked.rate, **options}
        entrants[text] = make(*unnamed, **options)
    rules = any(isinstance(entrant, Rule) for entrant in entrants.values())
    run = lab.race(
        problem,
        entrants,
        asked.steps,
        learning_rate=asked.rate if rules else None,
        key=jax.random.key(asked.seed),
    )
    print(f"{asked.problem}, {asked.steps} updates")
    print(run)
    flat = problem.bounds is not None and len(problem.bounds) == 2
    figure = _figure(12 if flat else 7, 4.5)
    panels = figure.subplots(1, 2 if flat else 1, squeeze=False)[0]
    lab.plot_race(run, ax=panels[-1])
    if flat:
        panels[-1].get_legend().remove()
        lab.plot_path(problem, run.paths, ax=panels[0])
    _save(figure, asked)


def _schedules(asked: argparse.Namespace) -> None:
    if asked.steps < 1:
        raise ValueError(f"--steps must be at least 1, got {asked.steps}.")
    curves = {}
    for text in asked.names:
        make, options = _called(text, ("optax_extras.schedules", "optax"))
        if "(" not in text and make.__name__ in _USUAL:
            options = _USUAL[make.__name__](asked.steps)
        curves[text] = make(*options.pop("*", ()), **options)
    figure = _figure(9, 4.5)
    lab.plot_schedule(curves, asked.steps, ax=figure.subplots())
    _save(figure, asked)


def _called(text: str, rooms: Sequence[str]) -> tuple[Callable[..., Any], dict]:
    """What `name` or `name(1, b=2)` names in one of the rooms, and its arguments.

    Arguments are literals; those without a name are under "*".
    """
    name, bracket, _ = text.partition("(")
    options: dict[str, Any] = {}
    if bracket:
        try:
            call = ast.parse(text, mode="eval").body
            if not isinstance(call, ast.Call):
                raise ValueError
            options = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
            unnamed = [ast.literal_eval(argument) for argument in call.args]
        except (SyntaxError, ValueError):
            raise ValueError(f"{text!r} is not of the form name(1, b=2).") from None
        options |= {"*": unnamed} if unnamed else {}
    if "." in name:
        module, _, last = name.rpartition(".")
        rooms, name = (module,), last
    modules = [importlib.import_module(room) for room in rooms]
    for room in modules:
        if callable(getattr(room, name, None)):
            return getattr(room, name), options
    names = {x for room in modules for x in dir(room) if not x.startswith("_")}
    near = ", ".join(difflib.get_close_matches(name, sorted(names))) or "none"
    raise ValueError(f"there is no {name!r}; of similar name: {near}.")


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        message = "lab: drawing needs matplotlib: `pip install matplotlib`."
        raise ImportError(message) from error
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, asked: argparse.Namespace) -> None:
    there = asked.out.exists()
    figure.savefig(asked.out, dpi=120)
    print(f"{'overwritten' if there else 'drawn'}: {asked.out}")


if __name__ == "__main__":
    sys.exit(main())
