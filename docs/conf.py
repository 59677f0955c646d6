"""The site, from the pages here and from docstrings: `make docs`."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_site")]

import optax_extras  # noqa: E402

project = "optax_extras"
copyright = author = "The authors of optax_extras"
version = release = optax_extras.__version__
html_title = f"optax_extras {version}"
html_baseurl = ""

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
    "made",
]
exclude_patterns = [
    "_build",
    "_site",
    "reference/pictures",
    "pictures",
    "parity_rows.py",
]
suppress_warnings = ["config.cache"]

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

default_role = "code"  # as Markdown has it
# A name in `:func:` that leads nowhere is an error; of types only the words are shown.
nitpicky = True
nitpick_ignore_regex = [("py:(class|data|attr|exc|obj)", ".*")]

html_theme = "furo"
html_static_path = ["pictures", "_static"]
html_show_sourcelink = False
html_copy_source = False
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True
html_favicon = "_static/favicon.svg"
html_css_files = ["site.css"]
