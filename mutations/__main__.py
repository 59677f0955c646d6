"""Makes small changes, one at a time, and lists those that no test detects.

python -m mutations WORK [--fraction 0.3] [--seed 0] [--workers 2] [--budget 20]
    [--again]

WORK is a folder, created if needed: a clone of this repository, and the session that
stores the results. Called again, it continues where it was stopped. It needs git,
cosmic-ray, which makes the changes, and pytest-cov, which says which tests run a line.
"""

import argparse
import contextlib
import difflib
import importlib
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

import cosmic_ray.plugins
from cosmic_ray.mutating import mutate_code
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkItem, WorkResult

from mutations import plant, reach

# Imported once before the forks, not in each. None of them starts JAX's backend, which
# does not survive a fork.
for library in ("jax", "optax", "chex", "equinox", "flax", "keras", "torch"):
    with contextlib.suppress(ImportError):
        importlib.import_module(library)

CONFIG = "mutations/cosmic-ray.toml"
SESSION = "session.sqlite"


def run(*command: str, cwd: pathlib.Path) -> None:
    programs = pathlib.Path(sys.executable).parent  # cosmic-ray's
    subprocess.run(
        ["env", f"PATH={programs}:/usr/bin:/bin", *command], cwd=cwd, check=True
    )


def sort_key(item: WorkItem) -> str:
    """The same in every session, so that a seed draws the same sample."""
    return " ".join(
        f"{m.module_path}{m.start_pos}{m.operator_name}{m.occurrence}"
        for m in item.mutations
    )


def prepare(work: pathlib.Path, fraction: float, seed: int, workers: int) -> None:
    subprocess.run(["git", "clone", "--quiet", ".", str(work)], check=True)
    reach.measure(work, workers)
    run("cosmic-ray", "init", CONFIG, SESSION, cwd=work)
    run("cr-filter-operators", SESSION, CONFIG, cwd=work)
    draw = random.Random(seed)
    with use_db(str(work / SESSION), WorkDB.Mode.open) as session:
        for item in sorted(session.pending_work_items, key=sort_key):
            if draw.random() >= fraction:
                session.set_result(item.job_id, WorkResult(WorkerOutcome.SKIPPED))


def changed(work: pathlib.Path, item: WorkItem) -> tuple[str, str]:
    """The text of a module before and after the change."""
    (spec,) = item.mutations
    text = (work / spec.module_path).read_text()
    operator = cosmic_ray.plugins.get_operator(spec.operator_name)
    return text, mutate_code(text, operator(**spec.operator_args), spec.occurrence)


def check(work: pathlib.Path, reached: reach.Reach, path: str, budget: float) -> None:
    """Fails unless the tests pass on the unchanged module."""
    log, text = work / "unchanged.log", (work / path).read_text()
    pid = plant.fork(0, log, work, path, text, reached.tests(path, 10**6), budget)
    if os.waitpid(pid, 0)[1] != 0:
        raise SystemExit(log.read_text()[-4000:])


def try_all(work: pathlib.Path, items: list[WorkItem], workers: int, budget: float):
    """Yields every change with its result when it has one; `workers` run at a time."""
    reached = reach.Reach(work)
    check(work, reached, str(items[0].mutations[0].module_path), budget)
    pending, busy, done = list(items), {}, 0  # taken from the end, file by file
    while pending or busy:
        for worker in set(range(workers)) - set(busy) if pending else ():
            if not pending:
                break
            item = pending.pop()
            (spec,) = item.mutations
            path = str(spec.module_path)
            before, after = changed(work, item)
            log = work / f"worker{worker}.log"
            tests = reached.tests(path, spec.start_pos[0])
            pid = plant.fork(worker, log, work, path, after, tests, budget)
            lines = before.splitlines(), after.splitlines()
            diff = "\n".join(difflib.unified_diff(*lines, path, path, "", "", 2, ""))
            end = time.monotonic() + 10 * budget + 60
            busy[worker] = pid, end, item, diff, log
        time.sleep(0.02)
        for worker, (pid, end, item, diff, log) in list(busy.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended and time.monotonic() < end:
                continue
            if not ended:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            del busy[worker]
            if ended and os.waitstatus_to_exitcode(status) == plant.BROKEN:
                raise SystemExit(log.read_text()[-4000:])
            detected = not ended or status != 0
            outcome = TestOutcome.KILLED if detected else TestOutcome.SURVIVED
            output = log.read_text()[-2000:]
            if found := re.search(r"^detected by (.*)", output, re.MULTILINE):
                reached.learn(str(item.mutations[0].module_path), found[1])
            yield item, WorkResult(WorkerOutcome.NORMAL, output, outcome, diff)
            done += 1
            print(f"{done} of {len(items)}", *(() if detected else ("\n" + diff,)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--fraction", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--budget", type=float, default=20, help="seconds of CPU time")
    parser.add_argument("--again", action="store_true", help="those undetected so far")
    options = parser.parse_args()
    work, here = options.work.resolve(), os.getcwd()
    if not work.exists():
        prepare(work, options.fraction, options.seed, options.workers)
    # From here on this process and those that the tests start import the clone.
    os.chdir(work)
    sys.path[:] = [str(work), *(x for x in sys.path if x not in ("", here))]
    os.environ["PYTHONPATH"] = str(work)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    with use_db(str(work / SESSION), WorkDB.Mode.open) as session:
        items = sorted(session.pending_work_items, key=sort_key)
        if options.again:
            items = [
                x
                for x, result in session.completed_work_items
                if result.test_outcome == TestOutcome.SURVIVED
            ]
        for item, result in try_all(work, items, options.workers, options.budget):
            session.set_result(item.job_id, result)
    run("cr-report", "--surviving-only", "--show-diff", SESSION, cwd=work)


if __name__ == "__main__":
    main()
