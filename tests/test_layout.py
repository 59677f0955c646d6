"""The layout of the package; CONTRIBUTING.md describes it."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import optax
import pytest

import optax_extras as oxe

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "optax_extras"
FILES = sorted(PACKAGE.rglob("*.py"))

# Imports go only to a lower level, or stay within a package.
LEVELS = {
    "_types": -6,
    "_errors": -5,
    "_check_values": -4,
    "_sharding": -3,
    "_boxes": -4,
    "_by_path": -3,
    "_lifted": -2,
    "_checks": -1,
    "_numerics": 0,
    "_operands": 0,
    "_leaves": 0,
    "_table": 0,
    "schedules": 1,
    "averages": 1,
    "_groups": 1,
    "_state": 2,
    "_learning_rates": 3,
    "_hyperparameters": 4,
    "_kernel": 5,
    "_optimizers": 6,
    "_switching": 7,
    "rules": 8,
    "states": 8,
    "layouts": 8,
    "_translation": 9,
    "pytorch": 10,
    "keras": 10,
    "transformers": 10,
    "timm": 10,
    "lab": 11,
    "__init__": 12,
}

# Where Optax has an algorithm of this name in another form, ours takes the name.
NAMES_SHARED_WITH_OPTAX = {
    "adadelta": "Optax's state is half-precision, and unsharded when made under jit",
    **dict.fromkeys(
        ("adam", "adamw", "lion", "sgd"),
        "the same numbers, but a learning rate in the state, and float32 moments",
    ),
    "adafactor": "Optax factors elsewhere and has no relative step size",
    "adagrad": "Optax starts the sum at 0.1 and has eps inside the root",
    "adamax": "Optax has eps inside the maximum only, Keras beside it",
    "amsgrad": "Optax takes the maximum of the corrected second moment",
    "nadam": "Optax keeps the momentum constant",
    "rmsprop": "Optax has decay 0.9, eps inside the root, momentum of rated updates",
    "rprop": "Optax takes each step one update late",
    "scale_by_adadelta": "the direction of `adadelta`, with the same difference",
    "scale_by_adamax": "the direction of `adamax`, with the same difference",
    "scale_by_lion": "the direction of `lion`, with the same difference",
    "scale_by_amsgrad": "the direction of `amsgrad`, with the same difference",
}

PRIVATE_ELSEWHERE = ("optax._src", "jax._src", "jax.interpreters")


def name_of(path):
    """The dotted name of a module of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """All that a file imports: (dotted name, line), relative imports made absolute.

    `from a import b` gives `a.b`, and `b.c` used below it gives `a.b.c`.
    """
    tree, found, aliases = ast.parse(path.read_text()), [], {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [(alias.name, alias.asname) for alias in node.names]
            heads = {name.split(".")[0] for name, short in names if not short}
            aliases |= {head: head for head in heads}
        elif isinstance(node, ast.ImportFrom):
            base = [node.module] if node.module else []
            if node.level:
                here = path.relative_to(ROOT).parts
                base = [*here[: len(here) - node.level], *base]
            names = [
                (".".join([*base, alias.name]), alias.asname or alias.name)
                for alias in node.names
            ]
        else:
            continue
        found += [(name, node.lineno) for name, _ in names]
        aliases |= {short: name for name, short in names if short}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            base = aliases.get(node.value.id)
            found += [(f"{base}.{node.attr}", node.lineno)] if base else []
    return found


def package_of(dotted):
    """`optax_extras.schedules._cosine` is in `schedules`."""
    parts = dotted.split(".")
    if len(parts) > 1 and (parts[1] in LEVELS or is_module(f"{parts[0]}.{parts[1]}")):
        return parts[1]
    return "__init__"


def is_module(dotted):
    path = ROOT.joinpath(*dotted.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_run_downward(path):
    package = package_of(name_of(path))
    assert package in LEVELS, f"{package} has no level: give it one in LEVELS"
    upward = [
        f"line {line}: {name}"
        for name, line in imports(path)
        if name.split(".")[0] == "optax_extras"
        and package_of(name) != package
        and LEVELS[package_of(name)] >= LEVELS[package]
    ]
    assert not upward, "\n".join(upward)


def test_only_public_names_of_jax_and_optax():
    folders = (PACKAGE, ROOT / "examples", ROOT / "benchmarks")
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for folder in folders
        for path in sorted(folder.rglob("*.py"))
        for name, line in imports(path)
        if any(f"{name}.".startswith(f"{private}.") for private in PRIVATE_ELSEWHERE)
    ]
    assert not wrong, "\n".join(wrong)


# Names that unpickle, evaluate code, start a process or open a connection.
UNSAFE = ("pickle", "shelve", "marshal", "dill", "cloudpickle", "joblib", "subprocess")
UNSAFE += ("os.system", "socket", "ssl", "ftplib", "http", "requests")
UNSAFE += ("urllib.request", "numpy.load", "jax.numpy.load", "runpy", "code", "codeop")
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}


def calls(path):
    """The names of the functions that are called by their names alone."""
    return [
        (node.func.id, node.lineno)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]


def test_nothing_unpickles_evaluates_or_downloads():
    wrong = [
        f"{name_of(path)}:{line}: {name}"
        for path in FILES
        for name, line in [*imports(path), *calls(path)]
        if name in UNSAFE_CALLS
        or any(f"{name}.".startswith(f"{unsafe}.") for unsafe in UNSAFE)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_file(path):
    text = path.read_text()
    lines = len(text.splitlines())
    assert lines <= 350, f"{lines} lines are two ideas"
    assert not re.findall("TODO|FIXME", text)
    for node in ast.walk(ast.parse(text)):
        assert not isinstance(node, ast.Assert), f"line {node.lineno}: assert"
        if isinstance(node, ast.Call) and path.name != "__main__.py":
            assert ast.unparse(node.func) != "print", f"line {node.lineno}: print"


# Run in a new process. JAX refuses to set the number of CPU devices once a backend has
# started. That it still works shows that importing made no array.
IMPORT = """
import sys, warnings
import jax, numpy, optax
warnings.simplefilter("error")
config, modules = dict(jax.config.values), set(sys.modules)
import optax_extras
assert "optax_extras.lab" not in sys.modules, "lab was imported before its use"
assert all(hasattr(optax_extras, name) for name in optax_extras.__all__)
assert dict(jax.config.values) == config, "importing changed jax.config"
jax.config.update("jax_num_cpu_devices", 2)
new = {name.partition(".")[0] for name in set(sys.modules) - modules}
# Dependencies of jax and optax, parts of which are imported late.
theirs = {"absl", "jax", "jaxlib", "ml_dtypes", "numpy", "opt_einsum", "optax", "scipy"}
new -= {"optax_extras", *theirs, *sys.stdlib_module_names}
assert not new, f"importing brought in {sorted(new)}"
"""


def test_importing_changes_nothing():
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def public_modules(module=oxe, found=()):
    """The public modules: oxe, its modules and their modules."""
    found = {**dict(found), module.__name__: module}
    for name in module.__all__:
        if isinstance(getattr(module, name), ModuleType):
            found = public_modules(getattr(module, name), found)
    return found


# For example ("optax_extras.schedules", "cosine", the function).
PUBLIC = [
    (where, name, getattr(module, name))
    for where, module in public_modules().items()
    for name in module.__all__
    if not isinstance(getattr(module, name), ModuleType)
]
CALLABLES = [entry for entry in PUBLIC if callable(entry[2])]
each_callable = pytest.mark.parametrize(
    ("where", "name", "thing"), CALLABLES, ids=[f"{d}.{n}" for d, n, _ in CALLABLES]
)


def test_the_page_names_every_package():
    page = (ROOT / "docs" / "architecture.md").read_text()
    names = LEVELS.keys() - {"__init__"}
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", page)] == []


def test_every_public_package_is_exported():
    packages = {
        m.name for m in pkgutil.iter_modules(oxe.__path__) if not m.name.startswith("_")
    }
    assert packages <= set(oxe.__all__)
    assert all(name not in oxe.__all__ for name in LEVELS if name.startswith("_"))


@pytest.mark.parametrize("where", public_modules())
def test_all_is_in_order(where):
    module = public_modules()[where]
    assert len(set(module.__all__)) == len(module.__all__)
    assert not [n for n in module.__all__ if n.startswith("_") and n != "__version__"]


def test_every_public_function_has_one_name():
    """Public once, in one module; or private and used by another file."""
    used = {
        name
        for path in FILES
        if path.name != "__init__.py"
        for name, _ in imports(path)
    }
    wrong = []
    for path in FILES:
        if path.name == "__main__.py":
            continue
        module = importlib.import_module(name_of(path))
        for name, thing in vars(module).items():
            if name.startswith("_") or not callable(thing):
                continue
            if getattr(thing, "__module__", None) != module.__name__:
                continue
            behind = [f"{where}.{n}" for where, n, other in CALLABLES if other is thing]
            inner = isinstance(thing, type) or f"{module.__name__}.{name}" in used
            if len(behind) > 1 or (not behind and not inner):
                wrong.append(f"{module.__name__}.{name}: {behind}")
    assert not wrong, (
        "export once (a rule in rules.py), or name with an underscore:\n"
        + "\n".join(wrong)
    )


def test_states_do_not_crowd_the_public_list():
    assert not [name for name in oxe.__all__ if name.endswith("State")]
    assert all(
        issubclass(getattr(oxe.states, name), tuple) for name in oxe.states.__all__
    )


def test_every_state_is_exported():
    missing = []
    for path in FILES:
        if path.name == "__main__.py":
            continue
        module = importlib.import_module(name_of(path))
        missing += [
            f"from {module.__name__} import {name} as {name}"
            for name, x in vars(module).items()
            if name.endswith("State") and not name.startswith("_")
            if isinstance(x, type) and issubclass(x, tuple)
            if x.__module__ == module.__name__ and name not in oxe.states.__all__
        ]
    assert not missing, "add to optax_extras/states.py:\n" + "\n".join(missing)


@each_callable
def test_what_we_export_is_ours(where, name, thing):
    assert thing.__module__.split(".")[0] == "optax_extras"


def test_names_shared_with_optax_are_declared():
    ours = {name for where, name, _ in PUBLIC if where == "optax_extras"}
    ours.discard("__version__")
    theirs = {*dir(optax), *dir(optax.schedules)}
    assert ours & theirs == set(NAMES_SHARED_WITH_OPTAX)


def documentation(where, thing):
    """The docstring; if it only points to another function, also that one's."""
    text = inspect.getdoc(thing) or ""
    if "Args:" in text:
        return text
    quoted = re.findall(r"`~?(?:\w+\.)*(\w+)`", text)
    pointed = [x for _, n, x in CALLABLES if n in quoted and x is not thing]
    return "\n".join([text, *(inspect.getdoc(other) or "" for other in pointed)])


@each_callable
def test_documented(where, name, thing):
    own = thing.__doc__ or ""
    assert own.strip(), "no docstring"
    if isinstance(thing, type):
        made = own.startswith(f"{name}(")  # by NamedTuple or dataclass
        assert not made, "no docstring of its own"
        return
    text = documentation(where, thing)
    arguments = list(inspect.signature(thing).parameters)
    missing = [a for a in arguments if not re.search(rf"\b{re.escape(a)}\b", text)]
    assert not missing, "arguments that the docstring does not name"
    if arguments:
        assert "Args:" in text
    if where == "optax_extras.schedules" or "._optimizers." in thing.__module__:
        assert "Examples:" in text


def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_only_jax_and_optax_are_needed():
    needed = pyproject()["project"]["dependencies"]
    assert {re.split(r"\W", bound)[0] for bound in needed} == {"jax", "optax"}
    assert all(">=" in bound for bound in needed), "the lower bound is what CI tries"


def test_no_path_of_one_machine():
    git = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(git, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    absolute = re.compile(r"(?<![\w./:~\-])/(?:work|root|home|tmp)(?:/|\b)")
    wrong = []
    for name in filter(None, listed.stdout.split("\0")):
        try:
            lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue  # a picture; deleted; a link to a folder
        wrong += [f"{name}:{i}" for i, x in enumerate(lines, 1) if absolute.search(x)]
    assert not wrong, "\n".join(wrong)


def test_the_citation_is_of_this_version():
    text = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {oxe.__version__}\n" in text
