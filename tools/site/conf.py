"""The website: `make site` builds it from the notebooks and the Markdown files of this repository.

Sphinx reads them where they lie, so every link in them works here as it does on GitHub. The stored outputs are
shown; nothing is executed. The pages load nothing from elsewhere.
"""

import os
import shutil
import sys
import tomllib
import typing
from pathlib import Path

import numpy.typing

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from tools.npm import unpacked  # noqa: E402 - found only after the line above

_project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "Neural recommenders"
version = release = _project["version"]
author = "the authors of the course"
copyright = "Text and drawings: CC BY 4.0. Code: MIT"
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
root_doc = "README"
exclude_patterns = [".venv", "build", "benchmarks/.envs", "**/.ipynb_checkpoints", "data/ml-100k"]

# Notebooks
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath"]
# Headings get the anchors that JupyterLab gives them ("#The-source"), so one link works in both.
myst_heading_anchors = 4
myst_heading_slug_func = "tools.course.anchor"
# The lexer marks the shell commands of README.md as plain text.
highlight_language = "none"

# API page. The type ArrayLike of NumPy stands for a union of thirty names: show its own name.
numpy.typing.ArrayLike = typing.NewType("ArrayLike", object)
numpy.typing.ArrayLike.__module__ = "numpy.typing"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

# Appearance
html_title = "Neural recommenders"
html_theme = "sphinx_book_theme"
html_static_path = ["static"]
html_css_files = ["course.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "path_to_docs": "",
    "navbar_persistent": [],  # the search stands in the menu on the left already
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_navbar_depth": 1,
}

# The button that opens a notebook in Binder needs to know where the repository is. (There is none for Colab: it
# opens a notebook without the repository around it, so course_utils would be missing.) A workflow knows its own
# address, so a copy of the repository links to itself; elsewhere pyproject.toml says it. Neither: no buttons.
_repository = os.environ.get("COURSE_REPOSITORY_URL") or _project.get("urls", {}).get("Repository", "")
if _repository:
    html_theme_options |= {
        "repository_url": _repository,
        "repository_branch": os.environ.get("COURSE_REPOSITORY_BRANCH", "main"),
        "use_repository_button": True,
        "use_issues_button": True,
        "launch_buttons": {
            "binderhub_url": "https://mybinder.org",
            "notebook_interface": "jupyterlab",
        },
    }

# Formulas: the one file of MathJax is copied into the site.
html_static_path += [str(unpacked("mathjax") / "es5" / "tex-svg.js")]
mathjax_path = "tex-svg.js"
mathjax_config_path = "mathjax.js"
myst_update_mathjax = False

# The menu: heading and pages. What does not exist (yet) is left out.
MENU = {
    "Notebooks": ["notebooks/*.ipynb"],
    "Exercises": ["exercises/*.ipynb"],
    "Solutions": ["solutions/*.ipynb"],
    "Reference": ["notebooks/glossary.*", "tools/site/api.md", "data/README.md", "benchmarks/README.md"],
    "For instructors and authors": ["INSTRUCTORS.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE-TEXT.md"],
}
include_patterns = [root_doc + ".md", *(pattern for patterns in MENU.values() for pattern in patterns)]


def menu() -> str:
    """Return the menu in Sphinx' form. README.md itself stays free of it: GitHub would show it as code."""
    text = ""
    for caption, patterns in MENU.items():
        files = [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]
        pages = "\n".join(path.relative_to(ROOT).with_suffix("").as_posix() for path in files)
        if pages:
            text += f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{pages}\n```"
    return text


# What students meet first comes first, then one module a notebook; the rest follows in the order of names.
FIRST = ["data", "metrics", "models", "training", "plots", "history", "ranking", "large"]


def modules() -> str:
    """Return the sections of the API page: one for each module of course_utils, those in ``large`` too."""
    folder = ROOT / "course_utils"
    names = [".".join(path.relative_to(folder).with_suffix("").parts) for path in folder.rglob("[a-z]*.py")]
    rank = {name: place for place, name in enumerate(FIRST)}
    names.sort(key=lambda name: (rank.get(name.partition(".")[0], len(FIRST)), name))
    # What a module only passes on is described where it is written.
    options = ":members:\n   :ignore-module-all:\n   :exclude-members: get_config"
    directive = "```{{eval-rst}}\n.. automodule:: course_utils.{0}\n   {1}\n```"
    return "".join(f"\n## {name}\n\n{directive.format(name, options)}\n" for name in names)


def adapt(app, docname: str, source: list[str]) -> None:
    """Change what a page says, where the site needs it otherwise than GitHub or JupyterLab."""
    if docname == root_doc:
        source[0] += menu()
    if docname == "tools/site/api":
        source[0] += modules()


def finish(app, problem: Exception | None) -> None:
    """The first page of a web site is called index.html."""
    if problem is None and app.builder.name == "html":
        shutil.copyfile(Path(app.outdir, "README.html"), Path(app.outdir, "index.html"))


def setup(app) -> None:
    """Connect the functions above; Sphinx calls this."""
    app.connect("source-read", adapt)
    app.connect("build-finished", finish)
