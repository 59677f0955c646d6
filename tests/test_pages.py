"""The Python of the README and of every page runs unchanged, block after block."""

import re
from pathlib import Path

import matplotlib.pyplot
import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
WITH_PYTHON = [page for page in PAGES if BLOCK.search(page.read_text())]


@pytest.mark.ci
@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_the_blocks_run(page):
    matplotlib.use("Agg")
    text, scope = page.read_text(), {}
    for found in BLOCK.finditer(text):
        above = text[: found.start(1)].count("\n")
        # An error points at the line of the page.
        exec(compile("\n" * above + found[1], page.name, "exec"), scope)
        if page.name == "README.md" and "slope" in found[1]:
            # The text's claims about its sweep: 64 runs, and a gradient.
            assert scope["losses"].shape == (64,)
            assert scope["slope"].shape == ()
    matplotlib.pyplot.close("all")


def test_there_are_blocks():
    names = {page.name for page in WITH_PYTHON}
    assert {"README.md", "index.md", "loop.md"} <= names
    readme = (ROOT / "README.md").read_text()
    assert any("slope" in block for block in BLOCK.findall(readme))


def test_pictures_and_links_are_there():
    for page in PAGES:
        links = re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text())
        missing = [link for link in links if not (page.parent / link).exists()]
        assert not missing, page.name
