"""The rules that every solution notebook obeys, beside those that it shares with the course notebooks."""

import re
from pathlib import Path

from tools.course import sections
from tools.rules import cell_problems, link_problems, metadata_problems

import nbformat

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


def exercise_problems(path: Path) -> list[str]:
    """Return what is wrong with one solution notebook, one sentence a finding."""
    notebook = nbformat.read(path, as_version=4)
    return [
        *metadata_problems(notebook),
        *cell_problems(notebook),
        *link_problems(notebook, path),
        *_exercises(notebook, path),
    ]


def _exercises(notebook, path: Path) -> list[str]:
    found = []
    first = notebook.cells[0].source
    if not re.match(rf"# Exercises {path.name[:2]} · \S", first):
        found.append(f"must start with the title '# Exercises {path.name[:2]} · ...'")
    for target in (f"../notebooks/{path.name}", "../notebooks/00_welcome.ipynb"):
        if target not in first:
            found.append(f"must link to {target} in its first cell")
    if not re.search(r"\*\*Time:\*\* \d+ minutes", first):
        found.append("must say its minutes: '**Time:** 40 minutes'")
    exercises = sections(notebook)
    if not 3 <= len(exercises) <= 6:
        found.append(f"has {len(exercises)} exercises ('## 1 · Name (2 points)'): three to six are wanted")
    total = 0
    for number, (title, cells) in enumerate(exercises, start=1):
        name = f"exercise {number}"
        match = re.fullmatch(rf"## {number} · \S.* \((\d+) points?\)", title)
        if not match:
            found.append(f"{name} must be called '## {number} · Name (2 points)', not {title!r}")
            continue
        marks = [cell.metadata.get("nbgrader", {}) for cell in cells if cell.cell_type == "code"]
        points = sum(mark.get("points", 0) for mark in marks if mark.get("grade"))
        total += points
        if points != int(match[1]):
            found.append(f"{name} promises {match[1]} points, and its checks give {points}")
        if not any(mark.get("solution") for mark in marks):
            found.append(f"{name} has no cell to write in")
        if "<details>" not in "".join(cell.source for cell in cells if cell.cell_type == "markdown"):
            found.append(f"{name} has no hint in <details>")
    if f"**Points:** {total}" not in first:
        found.append(f"must say its points in the first cell: '**Points:** {total}'")
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        mark = cell.metadata.get("nbgrader")
        if mark is None:
            found.append(f"has a code cell that nbgrader does not know: {cell.source[:40]!r}")
        elif mark["solution"] != (BEGIN in cell.source and END in cell.source):
            found.append(f"{mark['grade_id']}: a cell to write in has the two markers, and no other cell has")
        elif mark["grade"] != ("check" in cell.metadata.get("tags", [])):
            found.append(f"{mark['grade_id']}: a cell with points has the tag 'check', and no other cell has")
    return found
