"""Runs the tests of one changed module in a process of its own."""

import importlib.machinery
import importlib.util
import itertools
import os
import pathlib
import sys
import time
import traceback

import hypothesis
import pytest

from mutations import reach

# The first failing example is enough; hypothesis need not shrink it.
hypothesis.settings.register_profile(
    "any", phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate]
)
hypothesis.settings.load_profile("any")

BROKEN = 2
"""The exit code if the tool itself failed."""
AT_ONCE = 2
"""How many test files pytest collects at a time."""
OPTIONS = ["-x", "-q", "--tb=no", "--no-cov", "-pno:cacheprovider", "-pno:xdist"]
# About modules that were imported before the fork.
OPTIONS += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]


class Changed(importlib.machinery.SourceFileLoader):
    """Loads a module from a text in memory."""

    text = ""

    def get_code(self, fullname):
        return compile(self.text, self.path, "exec", dont_inherit=True)


class Finder:
    """Finds the changed module; the usual finders find the others."""

    def __init__(self, name: str, path: pathlib.Path, text: str):
        self.name, self.path, self.text = name, path, text

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        loader = Changed(name, str(self.path))
        loader.text = self.text
        return importlib.util.spec_from_file_location(name, self.path, loader=loader)


class Chosen:
    """A pytest plugin: runs these tests only, in this order, until the time limit."""

    def __init__(self, tests: list[str], until: float):
        self.place = {test: i for i, test in enumerate(tests)}
        self.until = until
        self.ran: set[str] = set()
        self.failed = None

    def pytest_collection_modifyitems(self, items):
        items[:] = sorted(
            (x for x in items if x.nodeid in self.place),
            key=lambda x: self.place[x.nodeid],
        )

    def pytest_runtest_setup(self, item):
        if time.process_time() > self.until:
            item.session.shouldstop = "time limit"

    def pytest_runtest_logreport(self, report):
        self.ran.add(report.nodeid)
        if report.failed:
            self.failed = report.nodeid

    def pytest_collectreport(self, report):
        if report.failed:
            self.failed = report.nodeid


def failing_test(
    work: pathlib.Path, path: str, text: str, tests: list[str], budget: float
):
    """The test that fails, or None. Call it once in a process."""
    name = path.removesuffix(".py").replace("/", ".")
    sys.meta_path.insert(0, Finder(name, work / path, text))
    until = time.process_time() + budget
    runs = [list(run) for _, run in itertools.groupby(tests, reach.file_of)]
    for start in range(0, len(runs), AT_ONCE):
        part = [test for run in runs[start : start + AT_ONCE] for test in run]
        chosen = Chosen(part, until)
        functions = sorted(set(map(reach.function_of, part)))
        pytest.main([*OPTIONS, *functions], plugins=[chosen])
        if chosen.failed:
            return chosen.failed
        if not chosen.ran and time.process_time() < until:
            return f"{reach.file_of(part[0])}: cannot be collected"
        if time.process_time() > until:
            break
    return None


def fork(worker: int, log: pathlib.Path, *args) -> int:
    """Starts `failing_test`. Exit code: 1 detected, 0 not detected, or BROKEN."""
    pid = os.fork()
    if pid:
        return pid
    code = BROKEN
    try:
        with open(log, "w", buffering=1) as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            os.setpgid(0, 0)
            os.environ["PYTEST_XDIST_WORKER"] = f"gw{worker}"  # separate caches
            found = failing_test(*args)
            print(f"\ndetected by {found}" if found else "\nnot detected")
            code = 1 if found else 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
