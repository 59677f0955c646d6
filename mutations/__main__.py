"""Plant small changes, one at a time, and see which ones no test notices.

python -m mutations WORK [--share 0.3] [--seed 0]

WORK is a folder, made where there is none: a clone of this repository, and the session
in which results are kept; called again, it goes on where it was stopped. Needs git and
cosmic-ray (pip install cosmic-ray), and hours: `--share` plants a random part of all.
"""

import argparse
import pathlib
import random
import subprocess
import sys

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import WorkerOutcome, WorkItem, WorkResult

CONFIG = "mutations/cosmic-ray.toml"
SESSION = "session.sqlite"


def run(*command: str, cwd: pathlib.Path) -> None:
    # The folder of this interpreter comes first: cosmic-ray's programs are there, and
    # the tests have to run with it.
    here = pathlib.Path(sys.executable).parent
    subprocess.run(
        ["env", f"PATH={here}:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE=1", *command],
        cwd=cwd,
        check=True,
    )


def place(item: WorkItem) -> str:
    """What is the same in every session, for the draw to be."""
    return " ".join(
        f"{m.module_path}{m.start_pos}{m.operator_name}{m.occurrence}"
        for m in item.mutations
    )


def prepare(work: pathlib.Path, share: float, seed: int) -> None:
    subprocess.run(["git", "clone", "--quiet", ".", str(work)], check=True)
    run("cosmic-ray", "init", CONFIG, SESSION, cwd=work)
    run("cr-filter-operators", SESSION, CONFIG, cwd=work)
    draw = random.Random(seed)
    with use_db(str(work / SESSION), WorkDB.Mode.open) as session:
        for item in sorted(session.pending_work_items, key=place):
            if draw.random() >= share:
                session.set_result(item.job_id, WorkResult(WorkerOutcome.SKIPPED))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not options.work.exists():
        prepare(options.work, options.share, options.seed)
    run("cosmic-ray", "exec", CONFIG, SESSION, cwd=options.work)
    run("cr-report", "--surviving-only", "--show-diff", SESSION, cwd=options.work)


if __name__ == "__main__":
    main()
