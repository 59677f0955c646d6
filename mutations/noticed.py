"""The tests that have to notice a change of one module: python -m mutations.noticed

Run in a checkout where one file of the package is changed. Exit code 0: nothing was
noticed. The tests that name what is in the file come first, then all of its room.
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


def selections(changed: str) -> list[list[str]]:
    """The arguments of pytest for one file, the likeliest tests first."""
    place = changed.removeprefix("optax_extras/")
    room = place.split("/")[0]
    tests = [*SHARED.get(place, ROOMS[room]).split(), "tests/test_defaults.py"]
    if place in SHARED or room not in ("schedules", "rules", "_optimizers"):
        return [tests]
    named = " or ".join(public(pathlib.Path(changed)))
    return (
        [[*tests, "-k", named], [*tests, "-k", f"not ({named})"]] if named else [tests]
    )


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
    # Nothing collected, 5, is nothing noticed.
    return next(
        (
            code
            for tests in selections(changed[0])
            if (code := subprocess.run(pytest + tests).returncode) not in (0, 5)
        ),
        0,
    )


if __name__ == "__main__":
    sys.exit(main())
