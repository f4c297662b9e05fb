"""Execute notebooks in place: ``make notebooks``, or this file with the names of notebooks.

What is stored is what a fresh kernel printed, less what differs from run to run: times of execution, ids of
widgets, and new seconds in a cell tagged "timing" whose code has not changed. When nothing changed,
``git diff`` stays empty. A notebook that fails is left as it was.
"""

import hashlib
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from notebook_rules import course_notebooks

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(path: Path) -> None:
    """Execute one notebook in a fresh kernel and store its outputs.

    Raises:
        CellExecutionError: when a cell fails; the file is unchanged then.
    """
    notebook = nbformat.read(path, as_version=4)
    stored = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=900,
        record_timing=False,
        coalesce_streams=True,
        store_widget_state=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
        for output in cell.outputs:
            if output.output_type == "error":  # a traceback names the files of this machine
                output.traceback = [line.replace(str(FOLDER.parent), "..") for line in output.traceback]
        if "timing" in cell.metadata.get("tags", []):
            source = hashlib.sha256(cell.source.encode()).hexdigest()
            if cell.metadata.get("timed_source") == source:
                cell.outputs = stored[cell.id]
            cell.metadata["timed_source"] = source
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    beside = path.with_suffix(".part")
    nbformat.write(notebook, beside)
    os.replace(beside, path)


def main(paths: list[Path]) -> int:
    """Execute the notebooks one after the other; return 1 when one failed."""
    failed = 0
    for path in paths or course_notebooks(FOLDER):
        start = time.perf_counter()
        try:
            execute(path.resolve())
        except CellExecutionError as problem:
            failed = 1
            print(f"{path.name} FAILED and was left as it was:\n{problem}", file=sys.stderr)
        else:
            print(f"{path.name}: {time.perf_counter() - start:.0f} s", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]]))
