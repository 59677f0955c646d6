"""Finds which tests run a line, and how long they take, by running them once."""

import ast
import json
import os
import pathlib
import subprocess
import sys
from collections import Counter

from coverage import CoverageData

# All but those that start processes, which do not load the changed module. A line that
# runs only at import (a constant, a default) counts as run by every test that runs its
# function or file.
TESTS = ["tests"]
IGNORED = ["examples", "test_benchmarks.py", "test_pages.py", "test_site.py"]
CLOCK = "clock.json"
DEFAULTS = "tests/test_defaults.py"  # reads signatures, runs no line


class Clock:
    """A pytest plugin that records how long each test took."""

    def __init__(self):
        self.took = {}

    def pytest_runtest_logreport(self, report):
        if report.passed:
            self.took[report.nodeid] = self.took.get(report.nodeid, 0) + report.duration

    def pytest_sessionfinish(self, session):
        if not hasattr(session.config, "workerinput"):
            pathlib.Path(CLOCK).write_text(json.dumps(self.took))


def pytest_configure(config):
    config.pluginmanager.register(Clock())


def measure(work: pathlib.Path, workers: int) -> None:
    """Runs all tests and stores in the folder which test ran which line."""
    options = f"-q -n {workers} --dist worksteal --cov=optax_extras --cov-context=test"
    command = [sys.executable, "-m", "pytest", *options.split(), "--cov-report="]
    more = ["-p", "mutations.reach", "-m", "not ci and not full", *TESTS]
    more += [f"--ignore=tests/{name}" for name in IGNORED]
    environment = {**os.environ, "PYTHONPATH": str(work)}
    subprocess.run(command + more, cwd=work, env=environment, check=True)


FEW = 2
"""How many tests of every function run before the others."""


def lines_of(tree: ast.Module, line: int) -> list[range]:
    """The statement that contains a line, then what contains that, the widest last."""
    found = [range(1, 10**6)]

    def visit(body):
        for node in body:
            first = min([node.lineno, *(x.lineno for x in decorators(node))])
            if not first <= line <= node.end_lineno:
                continue
            inner = getattr(node, "body", None)
            if not isinstance(inner, list):
                return found.append(range(first, node.end_lineno + 1))
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.append(range(inner[0].lineno, node.end_lineno + 1))
            if line < inner[0].lineno:
                return found.append(range(first, inner[0].lineno))
            for name in ("body", "orelse", "finalbody", "handlers"):
                visit(getattr(node, name, []))

    visit(tree.body)
    return found[::-1]


def decorators(node):
    return getattr(node, "decorator_list", [])


class Reach:
    """The tests that run a line, beginning with those likely to detect a change."""

    def __init__(self, work: pathlib.Path):
        self.work = work
        self.took = json.loads((work / CLOCK).read_text())
        self.data = CoverageData(str(work / ".coverage"))
        self.data.read()
        self.detected: Counter[tuple[str, str]] = Counter()

    def tests(self, path: str, line: int) -> list[str]:
        by_line = self.data.contexts_by_lineno(str(self.work / path))
        tree = ast.parse((self.work / path).read_text())
        while_read = {x for x in self.took if file_of(x) == DEFAULTS}
        *inner, whole_file = lines_of(tree, line)
        for i, lines in enumerate([*inner, whole_file]):
            contexts = {x for at in by_line if at in lines for x in by_line[at]}
            tests = {x.split("|")[0] for x in contexts} & set(self.took)
            if inner and i < len(inner) - 1 and "" in contexts:
                continue  # also ran at import: any test of the function counts
            if tests:
                return self.sorted(path, tests | while_read if i else tests)
        return []

    def sorted(self, path: str, tests: set[str]) -> list[str]:
        """File by file: first those that detected changes of this module, then the
        tests of its package.

        In a file, the fastest test of every function, then the second of each; the
        remaining tests, file by file, after those of all files.
        """
        seen: Counter[str] = Counter()
        ranks = {}
        for test in sorted(tests, key=lambda x: (self.took[x], x)):
            seen[function_of(test)] += 1
            ranks[test] = seen[function_of(test)]
        many = Counter(file_of(test) for test in tests)
        parts = path.removeprefix("optax_extras/").split("/")

        def likely(file):
            near = sum(x.strip("_").removesuffix(".py") in file for x in parts)
            return file == DEFAULTS, self.detected[path, file], near, many[file], file

        order = {x: i for i, x in enumerate(sorted(many, key=likely, reverse=True))}

        def place(test):
            known = self.detected[path, function_of(test)]
            late = ranks[test] > FEW
            file = order[file_of(test)]
            return late, file, -known, ranks[test], self.took[test], test

        return sorted(tests, key=place)

    def learn(self, path: str, test: str) -> None:
        """Records that this test detected a change of this module."""
        self.detected[path, file_of(test)] += 1
        self.detected[path, function_of(test)] += 1


def file_of(test: str) -> str:
    return test.split("::")[0]


def function_of(test: str) -> str:
    return test.split("[")[0]
