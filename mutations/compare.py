"""Compares two sets of tests by the changes that each detects.

python -m mutations.compare BEFORE AFTER

Both are folders of `python -m mutations`, with the same sample. Changes are matched by
the lines around them, so the files may differ elsewhere.
"""

import argparse
import pathlib
from collections import Counter

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome

SESSION = "session.sqlite"


def results(work: pathlib.Path) -> dict[tuple[str, str], bool]:
    """Whether a change was detected, by its file and its diff."""
    found = {}
    with use_db(str(work / SESSION), WorkDB.Mode.open) as session:
        for item, result in session.completed_work_items:
            if result.test_outcome is None:  # not in the sample
                continue
            path = str(item.mutations[0].module_path)
            lines = [x for x in result.diff.splitlines() if not x.startswith("@@")]
            detected = result.test_outcome == TestOutcome.KILLED
            found[path, "\n".join(lines)] = detected
    return found


def package(path: str) -> str:
    parts = path.split("/")
    return parts[1] if len(parts) > 2 else "top level"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=pathlib.Path)
    parser.add_argument("after", type=pathlib.Path)
    options = parser.parse_args()
    before, after = results(options.before), results(options.after)
    both = sorted(before.keys() & after.keys())
    counts: Counter[tuple[str, str]] = Counter()
    for key in both:
        for name, counted in (
            ("tried", True),
            ("before", before[key]),
            ("after", after[key]),
            ("lost", before[key] and not after[key]),
            ("won", after[key] and not before[key]),
        ):
            counts[package(key[0]), name] += counted
            counts["all", name] += counted
    columns = "tried", "before", "after", "lost", "won"
    print("| package |", " | ".join(columns), "|")
    print("|---|" + "---|" * len(columns))
    for name in [*sorted({package(path) for path, _ in both}), "all"]:
        print(f"| {name} |", " | ".join(str(counts[name, x]) for x in columns), "|")
    for key in both:
        if before[key] and not after[key]:
            print(f"\ndetected before only: {key[1]}")


if __name__ == "__main__":
    main()
