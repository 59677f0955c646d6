"""The printed tables, and the same results as records for a file."""

import math

from benchmarks import timing

LEGEND = """\
x base: the time of a step over that of the first line, with which it alternates: the
  median over the repeats, with the least and the greatest in brackets. Below 1 is
  faster. base ms: the time of the first line in these turns. The first line alternates
  with itself: its distance from 1 is the noise of the clock. The same program compiled
  twice may differ by more, by several percent for a thousand leaves. Compare ratios,
  not times of different lines or runs.
trace, compile: seconds, once. moved: bytes for each weight that go through memory, by
  XLA's count. fewest: the fewest possible (gradients read, params and state read and
  written, once each). temp: memory besides arguments and results, in units of the
  params. peak: MB of all of these. scalars: the number of scalars in the state.
"""
HEAD = (
    f"{'':28}{'step ms':>9}{'base ms':>9}{'x base':>8}{'':16}{'trace':>7}{'compile':>8}"
    f"{'moved':>8}{'fewest':>7}{'temp':>6}{'peak':>7}{'scalars':>8}"
)


def positive(text):
    """The type of an option: an integer, 1 or more."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def of_size(parser, in_leaves=True):
    """Adds the options for the number of weights."""
    add = parser.add_argument
    add("--size", type=positive, default=20_000_000, metavar="N", help="weights in all")
    if in_leaves:
        help_text = "number of leaves; one table for each number"
        both = {"type": positive, "nargs": "+", "metavar": "N"}
        add("--leaves", default=[1, 200], help=help_text, **both)


def of_cases(parser, cases, name="--only"):
    """Adds the option that selects cases."""
    choice = {"nargs": "+", "choices": cases, "default": list(cases)}
    help_text = "of " + ", ".join(f"'{x}'" if " " in x else x for x in cases)
    parser.add_argument(name, metavar="NAME", help=help_text, **choice)


def table(part, title, base, others, repeats, pairs=12):
    """Times all programs against the first, prints a table, returns records."""
    print(f"\n{title}\n{HEAD}", flush=True)
    records = []
    for other in (base, *others):
        found = timing.against(base, other, repeats, pairs)
        record = {"part": part, "title": title, "name": other.name, **other.facts}
        records.append({**record, **found._asdict()})
        print(line(other.name, found, other.facts), flush=True)
    return records


def line(name, found, facts):
    spread = f"  ({found.low:.3f}-{found.high:.3f})"
    cells = [
        ("trace_s", "7.2f"),
        ("compile_s", "8.2f"),
        ("moved", "8.1f"),
        ("fewest", "7.1f"),
        ("temporaries", "6.2f"),
        ("peak_mb", "7.0f"),
        ("state_scalars", "8.0f"),
    ]
    rest = "".join(
        f"{facts[key]:{form}}"
        if not math.isnan(facts.get(key, math.nan))
        else " " * int(form.partition(".")[0])
        for key, form in cells
    )
    times = f"{found.ms:9.2f}{found.base_ms:9.2f}{found.ratio:8.3f}"
    return f"{name:28}{times}{spread:16}{rest}".rstrip()
