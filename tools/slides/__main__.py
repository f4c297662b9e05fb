"""Write one slide deck per notebook into ``build/slides``: ``python -m tools.slides [notebook ...]``.

A deck is one HTML file with everything in it, made from the notebook's cells and stored outputs. It opens in
any browser without a network. Space pages through; S opens the speaker notes. For a PDF, add ``?print-pdf`` to
the address, wait until the slides stand below each other, and print into a file.
"""

import re
import sys
from pathlib import Path

from tools.course import ROOT, course_notebooks
from tools.npm import PackageError, unpacked

import nbformat
from nbconvert.exporters import SlidesExporter
from traitlets.config import Config

HERE = Path(__file__).resolve().parent
OUT = ROOT / "build" / "slides"
# Of an error, the last lines: they say what went wrong.
TRACEBACK_LINES = 6
FOLDED = re.compile(r"<details>\s*<summary>Answer</summary>\s*(.*?)\s*</details>", re.DOTALL)


def adapt(notebook) -> None:
    """Change a notebook where a slide needs it otherwise than a page. Nothing is written to disk.

    Args:
        notebook: as ``nbformat.read`` returns it; changed in place.
    """
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            # The bar "previous, contents, next" has no use on a slide, and links between notebooks become links
            # between decks. What lies elsewhere in the repository is named, but not linked.
            source = re.sub(r"^\[.*\]\(\d\d_\w+\.ipynb\).*·.*\n?", "", cell.source, flags=re.MULTILINE)
            source = re.sub(r"\]\((\d\d_\w+)\.ipynb(?:#[^)]*)?\)", r"](\1.html)", source)
            # A folded answer appears at the next key.
            source = FOLDED.sub(r"**Answer:** \1", source)
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
                output.data["text/plain"] = re.sub(r"\x1b\[[0-9;]*m", "", output.data["text/plain"])


def deck(path: Path) -> str:
    """Return the deck of one notebook as HTML.

    Args:
        path: the notebook. Pictures in its text are read from beside it.
    """
    notebook = nbformat.read(path, as_version=4)
    title = notebook.cells[0].source.splitlines()[0].lstrip("# ")
    adapt(notebook)
    settings = Config()
    settings.HTMLExporter.embed_images = True
    settings.HTMLExporter.exclude_input_prompt = settings.HTMLExporter.exclude_output_prompt = True
    exporter = SlidesExporter(config=settings, extra_template_basedirs=[str(HERE)], template_name="template")
    reveal, mathjax = unpacked("reveal.js") / "dist", unpacked("mathjax") / "es5"
    parts = {
        "title": title,
        "reveal_css": _text(reveal / "reveal.css"),
        "css": _text(HERE / "deck.css"),
        "reveal_js": _script(reveal / "reveal.js"),
        "notes_js": _script(reveal / "plugin" / "notes.js"),
        "js": _script(HERE / "deck.js"),
        "mathjax_js": _script(mathjax / "tex-svg.js"),
    }
    resources = {"deck": parts, "metadata": {"path": str(path.parent), "name": path.stem}}
    return exporter.from_notebook_node(notebook, resources=resources)[0]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _script(path: Path) -> str:
    """Return JavaScript that can stand inside an HTML file: no end of the script before its end."""
    return _text(path).replace("</script", "<\\/script").replace("<!--", "<\\!--")


def main(arguments: list[str]) -> int:
    """Write the decks of the notebooks in ``arguments``, or of all; return the exit code."""
    OUT.mkdir(parents=True, exist_ok=True)
    for path in [Path(name) for name in arguments] or course_notebooks():
        target = OUT / f"{path.stem}.html"
        try:
            target.write_text(deck(path), encoding="utf-8")
        except (OSError, PackageError) as problem:
            print(f"No deck from {path}: {problem}", file=sys.stderr)
            return 1
        print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
