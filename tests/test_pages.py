"""The Python of the README and of every page runs as it stands, block after block."""

import re
from pathlib import Path

import matplotlib.pyplot
import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
WITH_PYTHON = [page for page in PAGES if BLOCK.search(page.read_text())]


def name_of(page):
    return page.name


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_the_blocks_run(page):
    matplotlib.use("Agg")
    text, scope = page.read_text(), {}
    for found in BLOCK.finditer(text):
        above = text[: found.start(1)].count("\n")
        # An error points at the line of the page.
        exec(compile("\n" * above + found[1], page.name, "exec"), scope)
    matplotlib.pyplot.close("all")


def test_there_are_blocks():
    assert {"README.md", "index.md", "loop.md"} <= set(map(name_of, WITH_PYTHON))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_pictures_and_links_are_there(page):
    links = re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]


def test_the_readmes_sweep():
    """What the text says of it: 64 runs, and a gradient."""
    scope = {}
    for found in BLOCK.finditer((ROOT / "README.md").read_text()):
        exec(found[1], scope)
        if "slope" in scope:
            break
    assert scope["losses"].shape == (64,)
    assert scope["slope"].shape == ()
