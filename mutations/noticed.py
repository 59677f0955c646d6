"""The tests that have to notice a change of one module: python -m mutations.noticed

Run in a checkout where one file of the package is changed. Exit code 0: nothing was
noticed. A file of one algorithm is left to the tests that name it; a file that several
lean on to all tests of its room.
"""

import ast
import pathlib
import subprocess
import sys

SCHEDULES = "tests/schedules tests/contract/test_schedules.py"
RULES = "tests/rules tests/optimizers tests/parity/test_torch_rules.py"
RATES = "tests/rates tests/parity/test_plateaus.py"
ROOMS = {
    "_numerics.py": "tests/test_numerics.py tests/schedules",
    "schedules": SCHEDULES,
    "rules": RULES,
    "_optimizers": RULES,
    "_rates": RATES,
    "_combinators": "tests/combinators",
    "_transforms": "tests/transforms",
}
# Files whose own names no test has, and where their tests are.
SHARED = {
    "schedules/_curve.py": f"{SCHEDULES} tests/combinators/test_restart.py",
    "rules/_kernel.py": RULES,
    "rules/_tableau.py": RULES,
    "rules/_conditions.py": "tests/combinators tests/optimizers/test_swats.py",
    "rules/_per_leaf.py": "tests/optimizers/test_swats.py tests/combinators",
    "rules/_projection.py": "tests/optimizers/test_swats.py",
    "rules/_rated.py": f"tests/rates/test_inside_rules.py {RULES}",
    "rules/_restart.py": "tests/combinators/test_restart.py",
    "rules/_seeing.py": "tests/combinators tests/optimizers/test_swats.py",
    "rules/_settled.py": "tests/combinators/test_settle.py tests/combinators",
    "rules/_switch.py": "tests/combinators",
    "_optimizers/_second_rate.py": "tests/optimizers/test_swats.py",
}


def public(path: pathlib.Path) -> list[str]:
    """The functions of a file that its room shows."""
    room = (path.parent / "__init__.py").read_text() + pathlib.Path(
        "optax_extras/__init__.py"
    ).read_text()
    defined = (x for x in ast.parse(path.read_text()).body if hasattr(x, "name"))
    return [x.name for x in defined if f" {x.name}" in room]


def selection(changed: str) -> list[str]:
    """The arguments of pytest for one file of the package."""
    place = changed.removeprefix("optax_extras/")
    room = place.split("/")[0]
    if place in SHARED:
        return SHARED[place].split()
    tests = ROOMS[room].split()
    if room in ("schedules", "rules", "_optimizers"):
        names = public(pathlib.Path(changed))
        tests += ["-k", " or ".join(names)] if names else []
    return tests


def main() -> int:
    changed = subprocess.run(
        ["git", "diff", "--name-only", "--", "optax_extras"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    if len(changed) != 1:
        raise SystemExit(f"one changed file is wanted, found {changed or 'none'}")
    pytest = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not full"]
    return subprocess.run(pytest + selection(changed[0])).returncode


if __name__ == "__main__":
    sys.exit(main())
