"""The tables that are printed, and the same for machines."""

import math

from benchmarks import timing

LEGEND = """\
x base: the time of a step over that of the first line, which takes turns with it: the
  median over the repeats; least and greatest of them in brackets. Below 1 is faster.
  base ms: what the first line took in these turns. The first line takes turns with
  itself: how far it is from 1 is the noise of the clock. The same program built twice
  may differ by more, several per cent for a thousand leaves. Times of two lines or two
  runs are not to be compared, ratios are.
trace, compile: seconds, once. moved: bytes for each weight that go through memory, by
  XLA's count, and the fewest possible (gradients read, params and state read and
  written, once each). temp: what is held beside arguments and results, in units of the
  params. peak: MB of all of these. scalars: how many the state holds.
"""
HEAD = (
    f"{'':28}{'step ms':>9}{'base ms':>9}{'x base':>8}{'':16}{'trace':>7}{'compile':>8}"
    f"{'moved':>8}{'fewest':>7}{'temp':>6}{'peak':>7}{'scalars':>8}"
)


def positive(text):
    """A number of an option, 1 or more."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def of_size(parser, in_leaves=True):
    """How many weights there are."""
    add = parser.add_argument
    add("--size", type=positive, default=20_000_000, metavar="N", help="weights in all")
    if in_leaves:
        said = "leaves that they are in, one table for each number"
        both = {"type": positive, "nargs": "+", "metavar": "N"}
        add("--leaves", default=[1, 200], help=said, **both)


def of_cases(parser, cases, name="--only"):
    """Which of the cases are timed."""
    choice = {"nargs": "+", "choices": cases, "default": list(cases)}
    said = "of " + ", ".join(f"'{x}'" if " " in x else x for x in cases)
    parser.add_argument(name, metavar="NAME", help=said, **choice)


def table(part, title, base, others, repeats, pairs=12):
    """Times all programs against the first, prints them, and returns the records."""
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
