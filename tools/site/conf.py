"""The website: `make site` builds it from the notebooks and the Markdown files of this repository.

Sphinx reads them where they lie, so every link in them works here as it does on GitHub. The stored outputs are
shown; nothing is executed. The pages load nothing from elsewhere. `python -m tools.site` calls this.
"""

import json
import os
import re
import sys
import tomllib
import typing
from pathlib import Path

import numpy.typing

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]
# The course in another language is a site of its own below this one: see tools/site/__main__.py.
LANGUAGE = os.environ.get("COURSE_LANGUAGE", "en")
SOURCE = ROOT if LANGUAGE == "en" else ROOT / LANGUAGE

# Found only after the line above.
from tools.languages import LANGUAGES, SWITCH  # noqa: E402
from tools.languages.catalogs import words  # noqa: E402
from tools.npm import unpacked  # noqa: E402
from tools.site import home  # noqa: E402

import nbformat  # noqa: E402

_project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

WORDS = words(LANGUAGE)
project = WORDS["course"]
version = release = _project["version"]
author = "the authors of the course"
copyright = "Text and drawings: CC BY 4.0. Code: MIT"
language = LANGUAGE

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
html_title = WORDS["course"]
html_theme = "sphinx_book_theme"
html_static_path = [
    "static",
    *(str(SOURCE / "notebooks" / "figures" / f"{name}.svg") for name in ("what_you_build", "results")),
]
templates_path = ["templates"]
# The first page is made from a template; README.md is the page "Set-up and results".
html_additional_pages = {"index": "home.html"}
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
    "secondary_sidebar_items": {"**": ["page-toc.html"], "index": []},
    "article_header_end": ["language.html", "article-header-buttons.html"],
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

# Once a week, CI looks whether links to elsewhere work. An address of this machine is none; a place on a page
# is often made by JavaScript; doi.org sends to publishers who turn programs away.
linkcheck_ignore = [r"http://127\.0\.0\.1", r"http://localhost", r"https://doi\.org/"]
linkcheck_anchors = False
linkcheck_retries = 3

# Formulas: the one file of MathJax is copied into the site.
html_static_path += [str(unpacked("mathjax") / "es5" / "tex-svg.js")]
mathjax_path = "tex-svg.js"
mathjax_config_path = "mathjax.js"
myst_update_mathjax = False

# The menu: heading and pages. What does not exist (yet) is left out.
MENU = {
    "notebooks": ["notebooks/*.ipynb"],
    "exercises": ["exercises/*.ipynb"],
    "solutions": ["solutions/*.ipynb"],
    "reference": ["notebooks/glossary.*", "tools/site/api.md", "data/README.md", "benchmarks/README.md"],
    "teachers": ["INSTRUCTORS.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE-TEXT.md"],
}
include_patterns = [root_doc + ".md", *(pattern for patterns in MENU.values() for pattern in patterns)]


def menu(solutions: bool) -> str:
    """Return the menu in Sphinx' form. README.md itself stays free of it: GitHub would show it as code."""
    text = f"\n\n```{{toctree}}\n:hidden:\n\n{WORDS['menu.readme']} <self>\n```"
    for name, patterns in MENU.items():
        files = [path for pattern in patterns for path in sorted(SOURCE.glob(pattern))]
        pages = "\n".join(path.relative_to(SOURCE).with_suffix("").as_posix() for path in files)
        if pages and (solutions or name != "solutions"):
            text += f"\n\n```{{toctree}}\n:hidden:\n:caption: {WORDS['menu.' + name]}\n\n{pages}\n```"
    return text


# The page that the PDF is printed from; it has the notebooks below it.
PRINTED = "tools/site/print"

# What students meet first comes first, then one module a notebook; the rest follows in the order of names.
FIRST = [
    "data",
    "metrics",
    "models",
    "training",
    "plots",
    "history",
    "ranking",
    "explorer",
    "retrieval",
    "large",
]


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


# "[text](solutions/name.ipynb)", also as it stands in the JSON of a notebook.
TO_SOLUTIONS = re.compile(r"\[([^]]+)\]\((?:\.\./)*solutions/[^)]*\)")


# From a Korean page to one that is there in English only: "[text](../../CONTRIBUTING.md#place)".
TO_ENGLISH = re.compile(r"\[([^]]+)\]\((\.\./[^)#\s]*)\.(?:md|ipynb)(#[^)\s]*)?\)")


def lead_to_english(text: str, docname: str) -> str:
    """Let links of a translated page that leave its folder lead to the English site around it."""
    depth = docname.count("/") + 1

    def led(match: re.Match) -> str:
        if match[2].count("../") < depth:
            return match[0]
        return f"<a href='{match[2]}.html{match[3] or ''}'>{match[1]}</a>"

    return TO_ENGLISH.sub(led, text)


def adapt(app, docname: str, source: list[str]) -> None:
    """Change what a page says, where the site needs it otherwise than GitHub or JupyterLab."""
    if docname.startswith("notebooks/") and docname.endswith("_welcome"):
        notebook = nbformat.reads(source[0], as_version=4)  # the switch stands on every page of the site
        notebook.cells[0].source = SWITCH.sub("", notebook.cells[0].source)
        source[0] = nbformat.writes(notebook)
    if LANGUAGE != "en":
        source[0] = lead_to_english(source[0], docname)
    if not app.config.course_solutions:
        source[0] = TO_SOLUTIONS.sub(r"\1", source[0])
    if docname == root_doc:
        source[0] += menu(app.config.course_solutions)
    if docname == "tools/site/api":
        source[0] += modules()
    if app.config.course_print and docname.startswith("notebooks/"):
        # The bar "previous, contents, next" leads nowhere on paper.
        notebook = nbformat.reads(source[0], as_version=4)
        first = notebook.cells[0]
        first.source = re.sub(r"^\[.*\]\(\d\d_\w+\.ipynb\).*·.*\n?", "", first.source, flags=re.MULTILINE)
        source[0] = nbformat.writes(notebook)
    if docname == PRINTED:
        pages = "\n".join(f"/{name}" for name in app.config.course_print.split(","))
        source[0] += f"\n\n```{{toctree}}\n{pages}\n```"
    if docname.startswith("solutions/"):
        # A title of its own: the source has that of the exercise.
        notebook = nbformat.reads(source[0], as_version=4)
        first = notebook.cells[0]
        first.source = re.sub(
            rf"^# (?:Exercises\b|{WORDS['menu.exercises']})", f"# {WORDS['menu.solutions']}", first.source
        )
        source[0] = nbformat.writes(notebook)


def unsearched(app, doctree) -> None:
    """Keep the text of solutions out of the search: most of it is that of the exercise, found twice."""
    if app.env.docname.startswith("solutions/"):
        app.env.metadata[app.env.docname]["nosearch"] = True


def configure(app, config) -> None:
    """Leave out what the options of the build say."""
    if config.course_print:  # see pdf.py
        names = config.course_print.split(",")
        config.root_doc = config.master_doc = PRINTED
        config.include_patterns = [f"{PRINTED}.md", *(f"{name}.ipynb" for name in names)]
        config.html_theme, config.html_theme_options, config.pygments_style = "basic", {}, "friendly"
        config.html_css_files = ["print.css"]
        config.html_additional_pages = {}
        # What is not printed is linked in vain.
        config.suppress_warnings = ["myst.xref_missing", "ref.myst"]
        return
    if not config.course_solutions:
        config.exclude_patterns.append("solutions")
    if config.course_public or LANGUAGE != "en":  # the words of the small program are English
        return
    from tools.site.predict import model_script

    script = model_script()
    if script:
        config.html_static_path.append(str(script))
        config.course_model = str(script)


def home_page(app, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Give the home page what it shows, and every page the way to it."""
    context["theme_logo_link"] = context["pathto"]("index")
    context["words"] = WORDS
    context["course_others"] = others(pagename)
    if pagename != "index" or app.builder.name != "html":
        return
    readme = (SOURCE / "README.md").read_text(encoding="utf-8")
    context |= {"notebooks": home.course_map(readme), "results_alt": home.results_alt(readme)}
    script = Path(app.config.course_model) if app.config.course_model else None
    context["predict_model"] = bool(script)
    if script:
        text = script.read_text(encoding="utf-8")
        context["predict_rmse"] = f"{json.loads(text[text.index('{') : text.rindex('}') + 1])['rmse']:.3f}"
        app.add_js_file(script.name)
        app.add_js_file("predict.js")
    else:
        context["example"] = home.example(nbformat.read(home.EXAMPLE, as_version=4))


def others(pagename: str) -> list[tuple[str, str, str]]:
    """Return (language, its name, address) of the same page in the other languages, or of their first page."""
    up = "../" * pagename.count("/")
    if LANGUAGE != "en":
        return [("en", "English", f"{up}../{pagename}.html")]
    found = []
    for language, name in LANGUAGES.items():
        there = any((ROOT / language / f"{pagename}{end}").is_file() for end in (".md", ".ipynb"))
        found.append((language, name, f"{up}{language}/{pagename if there else 'index'}.html"))
    return found


def finish(app, problem: Exception | None) -> None:
    """Write the decks beside the pages that link to them."""
    if problem is None and app.builder.name == "html":
        from tools.slides.__main__ import write

        write(Path(app.outdir, "slides"), home="../index.html", course=SOURCE / "notebooks")


def setup(app) -> None:
    """Connect the functions above; Sphinx calls this."""
    app.add_config_value("course_solutions", True, "env", bool)  # with the solutions of the exercises
    app.add_config_value(
        "course_public", False, "html", bool
    )  # for others: without what the data's license forbids
    app.add_config_value("course_print", "", "env", str)  # names of notebooks, for the PDF
    app.add_config_value("course_model", "", "html", str)  # set above, not by hand
    app.connect("config-inited", configure)
    app.connect("source-read", adapt)
    app.connect("doctree-read", unsearched)
    app.connect("html-page-context", home_page)
    app.connect("build-finished", finish)
