"""Make ``exercises/`` from ``solutions/``: ``python -m tools.grading.release``, or ``make exercises``.

nbgrader does the work. It takes out what stands between ``### BEGIN SOLUTION`` and ``### END SOLUTION``, the
outputs and the execution counts. Checks are folded, and one that fails says a sentence and lets Run All go on.
The student versions are never edited by hand.
"""

import os
import sys
from pathlib import Path

from tools.course import EXERCISES, SOLUTIONS

import nbformat
from nbconvert.exporters.exporter import ResourcesDict
from nbgrader.preprocessors import CheckCellMetadata, ClearOutput, ClearSolutions, LockCells
from traitlets.config import Config

STUB = "# YOUR CODE HERE"  # nbgrader's own stub raises an error; ours runs, and the check explains
SHORT = """# A check that fails says what to mend in one sentence.
from course_utils.checks import short_messages

short_messages()"""
FOLDED = {"jupyter": {"source_hidden": True}}


def solution_notebooks() -> list[Path]:
    """Return the solution notebooks in the order of the course."""
    return sorted(SOLUTIONS.glob("[0-9][0-9]_*.ipynb"))


def student_version(path: Path) -> nbformat.NotebookNode:
    """Return the student version of one solution notebook.

    Raises:
        ValueError: from nbgrader, when a marker has no partner or a cell lacks its metadata.
    """
    config = Config()
    config.ClearSolutions.code_stub = {"python": STUB}
    notebook = nbformat.read(path, as_version=4)
    resources = ResourcesDict()
    for step in (CheckCellMetadata, LockCells, ClearSolutions, ClearOutput):
        notebook, resources = step(config=config).preprocess(notebook, resources)
    _fold_checks(notebook)
    return notebook


def _fold_checks(notebook: nbformat.NotebookNode) -> None:
    """Fold every check, let Run All go on after it, and begin with the cell that makes its messages short."""
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            # JupyterLab runs what follows a cell with this tag, whatever the cell does.
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "raises-exception"]
            cell.metadata.update(FOLDED)
    first = next(number for number, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    mark = {"grade_id": "short_messages", "grade": False, "solution": False, "locked": True, "task": False}
    about = FOLDED | {"deletable": False, "editable": False, "nbgrader": mark | {"schema_version": 3}}
    notebook.cells.insert(first, nbformat.v4.new_code_cell(SHORT, id="short-messages", metadata=about))


def write_student_version(path: Path, folder: Path = EXERCISES) -> Path:
    """Write the student version of ``path`` into ``folder``, whole or not at all, and return its path."""
    notebook = student_version(path)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / path.name
    beside = target.with_suffix(".part")
    nbformat.write(notebook, beside)
    os.replace(beside, target)
    return target


def main() -> int:
    """Write every student version, and remove those whose solution is gone."""
    sources = solution_notebooks()
    for path in sources:
        print(f"exercises/{write_student_version(path, EXERCISES).name}")
    for path in EXERCISES.glob("[0-9][0-9]_*.ipynb"):
        if path.name not in {source.name for source in sources}:
            path.unlink()
            print(f"exercises/{path.name} removed: it has no solution notebook")
    return 0


if __name__ == "__main__":
    sys.exit(main())
