"""Write one slide deck per notebook into ``build/slides``: ``python -m tools.slides [notebook ...]``.

A deck is one HTML file with everything in it, made from the notebook's cells and stored outputs. It opens in
any browser without a network. Space pages through; S opens the speaker notes. For a PDF, add ``?print-pdf`` to
the address, wait until the slides stand below each other, and print into a file. ``index.html`` lists them.
"""

import hashlib
import os
import re
import shutil
import sys
from functools import cache
from html import escape
from pathlib import Path

from tools import npm
from tools.course import NOTEBOOKS, ROOT, course_notebooks
from tools.languages import LANGUAGES, SWITCH
from tools.languages.catalogs import words
from tools.npm import PackageError, unpacked
from tools.slides.code import leave_out

import nbconvert
import nbformat
from nbconvert.exporters import SlidesExporter
from traitlets.config import Config

HERE = Path(__file__).resolve().parent
OUT = ROOT / "build" / "slides"
# Of an error, the last lines: they say what went wrong.
TRACEBACK_LINES = 6
FOLDED = re.compile(r"<details>\s*<summary>(?:Answer|정답)</summary>\s*(.*?)\s*</details>", re.DOTALL)
TIME = re.compile(r"\*\*(?:Time|시간):\*\* (\d+ minutes|\d+분)")
# Keras begins its table of layers with the name of the model, in a line of its own; nobody chose that name.
MODEL_NAME = re.compile(r'^\s*Model: "[^"]*"\s*$\n?', re.MULTILINE)


def adapt(notebook: nbformat.NotebookNode, answer: str = "Answer:") -> None:
    """Change a notebook where a slide needs it otherwise than a page. Nothing is written to disk.

    Args:
        notebook: as ``nbformat.read`` returns it; changed in place.
        answer: what stands before the answer of a quiz.
    """
    leave_out(notebook)
    notebook.cells[0].source = SWITCH.sub("", notebook.cells[0].source)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            # The bar "previous, contents, next" has no use on a slide, and links between notebooks become links
            # between decks. What lies elsewhere in the repository is named, but not linked.
            source = re.sub(r"^\[.*\]\(\d\d_\w+\.ipynb\).*·.*\n?", "", cell.source, flags=re.MULTILINE)
            source = re.sub(r"\]\((\d\d_\w+)\.ipynb(?:#[^)]*)?\)", r"](\1.html)", source)
            # A folded answer appears at the next key.
            source = FOLDED.sub(rf"**{answer}** \1", source)
            cell.source = re.sub(r"(?<!!)\[([^\]]+)\]\((?![a-z]+:|\d\d_\w+\.html)[^)]*\)", r"\1", source)
            continue
        alternative = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        for output in cell.outputs:
            if output.output_type == "error":
                lines = "\n".join(output.traceback).splitlines()
                output.traceback = ["...", *lines[-TRACEBACK_LINES:]]
            elif "image/png" in output.get("data", {}):
                output.metadata["alternative"] = alternative
            elif output.get("data", {}).get("text/html", "").startswith("<pre"):
                # Keras prints a table of layers as text with colors. As plain text it can go over two slides.
                output.data.pop("text/html")
                text = re.sub(r"\x1b\[[0-9;]*m", "", output.data["text/plain"])
                output.data["text/plain"] = MODEL_NAME.sub("", text)
        cell.outputs = [out for out in cell.outputs if out.get("data", {}).get("text/plain", "-")]


def deck(path: Path) -> str:
    """Return the deck of one notebook as HTML.

    Args:
        path: the notebook. Pictures in its text are read from beside it.
    """
    notebook, language = nbformat.read(path, as_version=4), language_of(path)
    said = words(language)
    parts = {**_parts(), "title": _title(notebook), "language": language, "words": said}
    adapt(notebook, said["slides.answer"])
    resources = {"deck": parts, "metadata": {"path": str(path.parent), "name": path.stem}}
    return _exporter().from_notebook_node(notebook, resources=resources)[0]


def language_of(path: Path) -> str:
    """Return the language of a notebook: that of its folder, such as ``ko/notebooks``, or English."""
    parts = path.resolve().relative_to(ROOT).parts if path.resolve().is_relative_to(ROOT) else ()
    return parts[0] if parts and parts[0] in LANGUAGES else "en"


@cache
def _exporter() -> SlidesExporter:
    settings = Config()
    settings.HTMLExporter.embed_images = settings.HTMLExporter.exclude_anchor_links = True
    settings.HTMLExporter.exclude_input_prompt = settings.HTMLExporter.exclude_output_prompt = True
    return SlidesExporter(config=settings, extra_template_basedirs=[str(HERE)], template_name="template")


@cache
def _parts() -> dict[str, str]:
    """Return the styles and programs that every deck carries."""
    reveal, mathjax = unpacked("reveal.js") / "dist", unpacked("mathjax") / "es5"
    return {
        "reveal_css": _text(reveal / "reveal.css"),
        "css": _text(HERE / "deck.css"),
        "reveal_js": _script(reveal / "reveal.js"),
        "notes_js": _script(reveal / "plugin" / "notes.js"),
        "js": _script(HERE / "deck.js"),
        "mathjax_js": _script(mathjax / "tex-svg.js"),
    }


def _title(notebook: nbformat.NotebookNode) -> str:
    return notebook.cells[0].source.splitlines()[0].lstrip("# ")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _script(path: Path) -> str:
    """Return JavaScript that can stand inside an HTML file: no end of the script before its end."""
    return _text(path).replace("</script", "<\\/script").replace("<!--", "<\\!--")


def index(paths: list[Path], home: str = "", language: str = "en") -> str:
    """Return the page that lists the decks.

    Args:
        paths: the notebooks.
        home: address of the website's home page, where the decks are a part of it.
        language: of the page.
    """
    rows, said = [], words(language)
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        minutes = TIME.search(notebook.cells[0].source)
        time = f" <small>{minutes[1]}</small>" if minutes else ""
        rows.append(f'<li><a href="{path.stem}.html">{escape(_title(notebook))}</a>{time}</li>')
    back = f'<p><a href="{escape(home)}">{escape(said["course"])}</a></p>' if home else ""
    page = _text(HERE / "index.html").replace("{{ home }}", back).replace("{{ decks }}", "\n".join(rows))
    for name, text in {**said, "language": language}.items():
        page = page.replace(f"{{{{ {name} }}}}", text)
    return page


def write(
    folder: Path = OUT, notebooks: list[Path] | None = None, home: str = "", course: Path = NOTEBOOKS
) -> list[Path]:
    """Write the decks of some notebooks, or of all, and the page that lists all; return the decks' files.

    A deck that was made before from the same notebook, drawings and programs is copied from ``build/slides``.

    Args:
        folder: where the decks go.
        notebooks: the notebooks; those of the course unless given.
        home: see ``index``.
        course: the folder of the course's notebooks, in English or another language.

    Raises:
        OSError, PackageError: a notebook can't be read, or the packages of the decks can't be fetched.
    """
    language = language_of(course)
    store = OUT if language == "en" else OUT / language
    folder.mkdir(parents=True, exist_ok=True)
    store.mkdir(parents=True, exist_ok=True)
    written = []
    for path in notebooks or course_notebooks(course):
        mark, made = f"<!-- made from {_digest(path)} -->\n", store / f"{path.stem}.html"
        if not (made.is_file() and made.read_text(encoding="utf-8").endswith(mark)):
            part = made.with_suffix(f".{os.getpid()}.part")  # whole or not at all, also when two do it
            part.write_text(deck(path) + mark, encoding="utf-8")
            part.replace(made)
        written.append(folder / made.name)
        if folder != store:
            shutil.copyfile(made, written[-1])
    there = [path for path in course_notebooks(course) if (folder / f"{path.stem}.html").is_file()]
    (folder / "index.html").write_text(index(there, home, language), encoding="utf-8")
    return written


def _digest(notebook: Path) -> str:
    """Return a hash over all that a deck is made from."""
    programs = [path for path in sorted(HERE.rglob("*")) if path.is_file() and path.suffix != ".pyc"]
    parts = [notebook, *sorted(notebook.parent.glob("figures/*")), *programs, Path(npm.__file__)]
    said = words(language_of(notebook))
    found = hashlib.sha256((nbconvert.__version__ + str(sorted(said.items()))).encode())
    for part in parts:
        found.update(part.read_bytes())
    return found.hexdigest()


def main(arguments: list[str]) -> int:
    """Write the decks of the notebooks in ``arguments``, or of all in all languages; return the exit code."""
    try:
        decks = write(OUT, [Path(name) for name in arguments])
        for language in () if arguments else LANGUAGES:
            decks += write(OUT / language, course=ROOT / language / "notebooks")
    except (OSError, PackageError) as problem:
        print(f"No decks: {problem}", file=sys.stderr)
        return 1
    for path in decks:
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e6:.1f} MB")
    print(f"Open {(OUT / 'index.html').relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
