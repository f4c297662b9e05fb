"""Measure how much memory each notebook takes: ``python -m tools.memory``, or with the paths of notebooks.

It executes them without storing anything, adds up the memory of the kernel and of the processes that it starts
(the part of each that is its own, where the system says it), and writes the peak into
``tests/ledger/memory.csv``.
README's course map shows it; a test compares both.
"""

import csv
import sys
import threading
from pathlib import Path

from tools.course import NOTEBOOKS, ROOT, course_notebooks
from tools.patience import patience

import nbformat
import psutil
from nbclient import NotebookClient

LEDGER = ROOT / "tests" / "ledger" / "memory.csv"
EVERY = 0.2  # seconds between two looks


def peak_mb(path: Path) -> int:
    """Return the largest memory in MB that the kernel of a notebook and its processes took together.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=None,
        startup_timeout=patience(10),
        resources={"metadata": {"path": str(path.parent)}},
    )
    found, over = [0], threading.Event()

    def watch():
        while not over.wait(EVERY):
            kernel = getattr(client.km, "provisioner", None)
            if kernel and kernel.pid:
                found.append(taken(kernel.pid))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        client.execute()
    finally:
        over.set()
        watcher.join()
    return round(max(found) / 1e6)


def taken(pid: int) -> int:
    """Return the bytes that a process and its children hold; 0 when it is gone."""
    total = 0
    try:
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            try:
                total += getattr(one.memory_full_info(), "pss", 0) or one.memory_info().rss
            except psutil.Error:  # it ended in between
                continue
    except psutil.Error:
        return 0
    return total


def main(paths: list[Path]) -> int:
    """Measure notebooks, all of them unless some are named, and note the peaks in the ledger."""
    known = {}
    if LEDGER.exists():
        with open(LEDGER, encoding="utf-8", newline="") as file:
            known = {row["notebook"]: int(row["mb"]) for row in csv.DictReader(file)}
    for path in paths or course_notebooks(NOTEBOOKS):
        known[path.stem] = peak_mb(path.resolve())
        print(f"{path.stem}: {known[path.stem]} MB", flush=True)
        with open(LEDGER, "w", encoding="utf-8", newline="") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(["notebook", "mb"])
            out.writerows(sorted(known.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]]))
