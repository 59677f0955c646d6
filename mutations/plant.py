"""One changed module, in a process of its own, and the tests that have to notice it."""

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

# An example that fails is enough; it need not become a short one.
hypothesis.settings.register_profile(
    "any", phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate]
)
hypothesis.settings.load_profile("any")

BROKEN = 2
"""Exit code where it was not the change that failed."""
AT_ONCE = 2
"""Files of tests that are read before the others are."""
OPTIONS = ["-x", "-q", "--tb=no", "--no-cov", "-pno:cacheprovider", "-pno:xdist"]
# Of what came before the fork.
OPTIONS += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]


class Changed(importlib.machinery.SourceFileLoader):
    """Loads a module from a text that lies on no disk."""

    text = ""

    def get_code(self, fullname):
        return compile(self.text, self.path, "exec", dont_inherit=True)


class Finder:
    """Finds one module, and leaves all others to the usual ones."""

    def __init__(self, name: str, path: pathlib.Path, text: str):
        self.name, self.path, self.text = name, path, text

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        loader = Changed(name, str(self.path))
        loader.text = self.text
        return importlib.util.spec_from_file_location(name, self.path, loader=loader)


class Chosen:
    """A plugin of pytest: these tests only, in this order, until time is over."""

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
            item.session.shouldstop = "time is over"

    def pytest_runtest_logreport(self, report):
        self.ran.add(report.nodeid)
        if report.failed:
            self.failed = report.nodeid

    def pytest_collectreport(self, report):
        if report.failed:
            self.failed = report.nodeid


def notices(work: pathlib.Path, path: str, text: str, tests: list[str], budget: float):
    """The test that failed, or None; to be called once in a process."""
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
            return f"{reach.file_of(part[0])}: it cannot be read"
        if time.process_time() > until:
            break
    return None


def fork(worker: int, log: pathlib.Path, *what) -> int:
    """Start it; the exit code says whether the change was noticed: 1, 0, or BROKEN."""
    pid = os.fork()
    if pid:
        return pid
    code = BROKEN
    try:
        with open(log, "w", buffering=1) as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            os.setpgid(0, 0)
            os.environ["PYTEST_XDIST_WORKER"] = f"gw{worker}"  # programs kept apart
            found = notices(*what)
            print(f"\nnoticed by {found}" if found else "\nnot noticed")
            code = 1 if found else 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
