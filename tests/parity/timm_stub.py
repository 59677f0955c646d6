"""Parts of the installed timm, without its package root, which needs torchvision."""

import contextlib
import importlib
import importlib.util
import sys
from types import ModuleType

import pytest

ROOT = importlib.util.find_spec("timm")
PACKAGES = ("timm", "timm.utils")  # whose `__init__` imports all of timm


@contextlib.contextmanager
def _stubs():
    """Within it, these packages have their `__path__` and nothing else."""
    before = {name: x for name, x in sys.modules.items() if _is_timm(name)}
    for name in before:
        del sys.modules[name]
    (top,) = ROOT.submodule_search_locations
    for name in PACKAGES:
        stub = ModuleType(name)
        stub.__path__ = ["/".join([top, *name.split(".")[1:]])]
        sys.modules[name] = stub
    try:
        yield
    finally:
        for name in [*filter(_is_timm, sys.modules)]:
            del sys.modules[name]
        sys.modules.update(before)


def _is_timm(name):
    return name.partition(".")[0] == "timm"


def load(name):
    """The module ``timm.<name>``; a test without PyTorch or timm is skipped."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    if ROOT is None:
        pytest.skip("timm is not installed", allow_module_level=True)
    with _stubs():
        return importlib.import_module(f"timm.{name}")
