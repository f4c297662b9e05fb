"""Where things are in this repository, and what the parts of a notebook are called."""

import re
from pathlib import Path

from tools import ROOT

import nbformat

NOTEBOOKS = ROOT / "notebooks"
SOLUTIONS = ROOT / "solutions"
EXERCISES = ROOT / "exercises"


def course_notebooks(folder: Path = NOTEBOOKS) -> list[Path]:
    """Return the notebooks of a folder in the order of the course: NN_name.ipynb."""
    return sorted(folder.glob("[0-9][0-9]_*.ipynb"))


def sections(notebook: nbformat.NotebookNode) -> list[tuple[str, list]]:
    """Return (title line, cells) of every section that begins with ``## ``; what stands before is left out."""
    found = []
    for cell in notebook.cells:
        title = cell.source.partition("\n")[0]
        if cell.cell_type == "markdown" and title.startswith("## "):
            found.append((title, []))
        if found:
            found[-1][1].append(cell)
    return found


def anchor(heading: str) -> str:
    """Return the name by which JupyterLab links to a heading: "The source" becomes "The-source"."""
    return heading.strip().replace(" ", "-")


def anchors(path: Path) -> dict[str, str]:
    """Return {anchor: text and code of the section, with those of the sections inside it} of a notebook."""
    found, levels = {}, {}
    for cell in nbformat.read(path, as_version=4).cells:
        for line in cell.source.splitlines():
            if cell.cell_type == "markdown" and (heading := re.match(r"(#+) (.+)", line)):
                level = len(heading[1])
                levels = {name: other for name, other in levels.items() if other < level}
                levels[anchor(heading[2])] = level
            for name in levels:
                found[name] = found.get(name, "") + line + "\n"
    return found
