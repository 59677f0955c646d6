"""Configures the site, made of the pages here and the docstrings: `make docs`."""

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

# The arguments' ranges are added by `_site/signatures.py`; one argument a line.
autodoc_typehints = "none"
python_maximum_signature_line_length = 20
python_trailing_comma_in_multi_line_signatures = False
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

default_role = "code"  # single backticks, as in Markdown
# A `:func:` without a target is an error; a type without a page is plain text.
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
html_js_files = ["site.js"]
