"""Execute notebooks in place: ``make notebooks``, or ``python -m tools.execute`` with the paths of notebooks.

What is stored is what a fresh kernel printed, less what differs from run to run: times of execution, ids of
widgets, and new seconds in a cell tagged "timing" whose code has not changed. When nothing changed,
``git diff`` stays empty. A notebook that fails is left as it was. What came out otherwise than it was stored
is listed, old beside new: after an upgrade of a package, this is the list to read.
"""

import difflib
import hashlib
import os
import sys
import time
from pathlib import Path

from tools.course import NOTEBOOKS, ROOT, course_notebooks
from tools.patience import patience

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(path: Path) -> list[str]:
    """Execute one notebook in a fresh kernel, store its outputs and return what moved, as lines of text.

    Raises:
        CellExecutionError: when a cell fails; the file is unchanged then.
    """
    notebook = nbformat.read(path, as_version=4)
    stored = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=None,  # somebody watches, and a slow machine may take its time
        startup_timeout=patience(10),
        record_timing=False,
        coalesce_streams=True,
        store_widget_state=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            if "text/html" in output.get("data", {}):  # a widget that brings a picture of itself for paper
                output.data.pop(WIDGET, None)
        cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
        for output in cell.outputs:
            if output.output_type == "error":  # a traceback names the files of this machine
                output.traceback = [line.replace(str(ROOT), "..") for line in output.traceback]
        if "timing" in cell.metadata.get("tags", []):
            source = hashlib.sha256(cell.source.encode()).hexdigest()
            if cell.metadata.get("timed_source") == source:
                cell.outputs = stored[cell.id]
            cell.metadata["timed_source"] = source
    slides = {key: value for key, value in notebook.metadata.items() if key == "rise"}  # for live slides
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            **slides,
        }
    )
    beside = path.with_suffix(".part")
    nbformat.write(notebook, beside)
    os.replace(beside, path)
    return moved(stored, notebook)


def moved(stored: dict[str, list], notebook: nbformat.NotebookNode) -> list[str]:
    """Compare stored outputs with the new ones: old and new lines of text for each cell that changed.

    Args:
        stored: the old outputs of each code cell, by the cell's id. A cell without any is not compared.
        notebook: the notebook with its new outputs.
    """
    lines = []
    for cell in notebook.cells:
        if cell.cell_type != "code" or not stored.get(cell.id):
            continue
        name = f"  cell {cell.execution_count}"
        if "nbval-ignore-output" in cell.metadata.get("tags", []):
            name += " (trained or timed: its Check passed)"
        old, new = _text(stored[cell.id]), _text(cell.outputs)
        for kind, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            if kind != "equal":
                lines += [name, *(f"    old: {line}" for line in old[i:j])]
                lines += [f"    new: {line}" for line in new[k:m]]
        if _pictures(stored[cell.id]) != _pictures(cell.outputs):
            lines.append(f"{name}: the figure changed; `nbdiff-web` shows both")
    return lines


def _text(outputs: list) -> list[str]:
    """Return the lines of text that a reader sees of a cell's outputs."""
    seen = []
    for output in outputs:
        text = output.get("text") or output.get("evalue") or output.get("data", {}).get("text/plain", "")
        seen += text.splitlines()
    return seen


def _pictures(outputs: list) -> list[str]:
    return [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]


def main(paths: list[Path]) -> int:
    """Execute the notebooks one after the other; return 1 when one failed."""
    failed = 0
    for path in paths or [*course_notebooks(), NOTEBOOKS / "project.ipynb"]:
        start = time.perf_counter()
        try:
            changes = execute(path.resolve())
        except CellExecutionError as problem:
            failed = 1
            print(f"{path.name} FAILED and was left as it was:\n{problem}", file=sys.stderr)
        else:
            print("\n".join([f"{path.name}: {time.perf_counter() - start:.0f} s", *changes]), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]]))
