"""The README's Python runs as it stands, one block after the other."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_blocks_run():
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 4
    scope = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), scope)
    assert scope["losses"].shape == (64,)
    assert scope["slope"].shape == ()


def test_the_pictures_and_links_are_there():
    text = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]
