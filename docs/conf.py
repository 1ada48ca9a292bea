"""Settings of the documentation build: Sphinx, with MyST-NB for the tutorials."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
source = (ROOT / "captum_dynamics" / "__init__.py").read_text(encoding="utf-8")
found = re.search(r'^__version__ = "([^"]+)"', source, re.MULTILINE)

project = "captum_dynamics"
author = "the captum_dynamics developers"
copyright = f"2026, {author}"
release = found[1] if found else ""

# The tutorials live beside the package; Sphinx reads only below its own folder.
shutil.rmtree(ROOT / "docs" / "tutorials", ignore_errors=True)
shutil.copytree(
    ROOT / "tutorials",
    ROOT / "docs" / "tutorials",
    ignore=shutil.ignore_patterns("__pycache__", ".*"),
)

extensions = [
    "myst_nb",
    "sphinx-mathjax-offline",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = [
    "_build",
    "jupyter_execute",
    "conf.py",
    "**/__pycache__",
    "**/.ipynb_checkpoints",
]

myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
# Progress bars of notebooks, which pages do not show, want a package to be installed.
os.environ["PYTHONWARNINGS"] = "ignore::Warning:tqdm.auto"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"captum_dynamics {release}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]


def escape_bars(_app, _what, _name, _obj, _options, lines):  # type: ignore[no-untyped-def]
    """Norms and magnitudes are written |g|, which reStructuredText would substitute."""
    for row, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[row] = line.replace("|", r"\|")


def setup(app):  # type: ignore[no-untyped-def]
    """Register what this page defines."""
    app.connect("autodoc-process-docstring", escape_bars)
