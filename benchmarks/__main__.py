"""Times the optimizers: ratios of programs that alternate in one process.

python -m benchmarks [PART] [--quick] [--json PATH] [--repeats N] [options of the part]

Without a part: `optimizers` and `small_leaves`.
"""

import argparse
import datetime
import json
import platform
from importlib import metadata

import jax
import optax

import optax_extras as oxe
from benchmarks import (
    averages,
    first_step,
    lab,
    matrices,
    optimizers,
    rates,
    small_leaves,
    state_size,
    switching,
)
from benchmarks.report import LEGEND, positive

PARTS = {
    "optimizers": optimizers,
    "small_leaves": small_leaves,
    "switching": switching,
    "matrices": matrices,
    "first_step": first_step,
    "rates": rates,
    "averages": averages,
    "lab": lab,
    "state_size": state_size,
}
BY_ITSELF = ("optimizers", "small_leaves")
OF_STEPS = (
    "optimizers",
    "small_leaves",
    "switching",
    "matrices",
    "rates",
    "averages",
)  # which share a legend


def writable(path):
    """Refuses a path that cannot be written before anything is measured."""
    try:
        with open(path, "a"):
            return path
    except OSError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_common_options(parser, **override):
    """Adds the options that may stand before or after the part."""
    more = {"action": "store_true", "help": "a tenth of the sizes, for a first look"}
    parser.add_argument("--quick", **more, **override)
    more = {"metavar": "PATH", "help": "write all results to this file"}
    parser.add_argument("--json", type=writable, **more, **override)
    more = {
        "metavar": "N",
        "help": "repeats of every comparison; default 3",
        "default": 3,
    }
    parser.add_argument("--repeats", type=positive, **(more | override))


def parsed(given=None):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_common_options(parser)
    parts = parser.add_subparsers(dest="part", metavar="PART")
    for name, part in PARTS.items():
        about = part.__doc__.splitlines()[0]
        subparser = parts.add_parser(name, help=about, description=part.__doc__)
        # Without SUPPRESS its defaults would overwrite options given before the part.
        add_common_options(subparser, default=argparse.SUPPRESS)
        part.arguments(subparser)
    args = parser.parse_args(given)
    if args.part:
        return [args]
    more = [x for x in ("--quick",) if args.quick] + ["--repeats", str(args.repeats)]
    all_of = [parser.parse_args([name, *more]) for name in BY_ITSELF]
    all_of[0].json = args.json
    return all_of


def write(path, found, records):
    """Writes all results so far, because the next part may fail."""
    if path:
        with open(path, "w") as file:
            json.dump({**found, "records": records}, file, indent=1)


def versions():
    device = jax.devices()[0]
    found = {
        "date": datetime.date.today().isoformat(),
        "device": f"{device.platform}, {device.device_kind}",
        "machine": platform.machine(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "optax": optax.__version__,
        "optax_extras": oxe.__version__,
    }
    try:
        return {**found, "torch": metadata.version("torch")}
    except metadata.PackageNotFoundError:
        return found


def main():
    runs = parsed()
    found = versions()
    print(", ".join(f"{name} {x}" for name, x in found.items()))
    records = []
    for args in runs:
        print(f"\n{PARTS[args.part].__doc__.rstrip()}")
        if args.part in OF_STEPS:
            print(LEGEND, end="")
        for rows in PARTS[args.part].run(args):
            records += rows
            write(runs[0].json, found, records)


if __name__ == "__main__":
    main()
