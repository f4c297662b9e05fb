"""Run the copies for Colab as Colab would: ``python -m tools.colab.trial --python PATH 00 01 02``.

It makes the copies, serves ``course.zip`` on this machine's own address, and executes notebooks in a kernel of
another Python, for example one that has Colab's packages and not the course's. A cell that fails, a line on
stderr, or course_utils from elsewhere ends it.
"""

import argparse
import contextlib
import functools
import http.server
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tools.colab import Place, make
from tools.patience import patience

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

CLEAN = ("PYTHONPATH", "COURSE_DATA_DIR", "KERAS_BACKEND")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on the loopback address, and hand out its address, such as http://127.0.0.1:40123."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def run(notebook: nbformat.NotebookNode, python: str, folder: Path) -> None:
    """Execute a copy in a kernel of another Python, in an empty working folder, and store its outputs in it.

    Args:
        notebook: the copy. Its last cell is added here: it says where course_utils came from.
        python: the program; it needs ipykernel.
        folder: where the kernel's description and its working folder are made.

    Raises:
        CellExecutionError: a cell failed.
        RuntimeError: a cell wrote to stderr, or course_utils did not come out of ``course.zip``.
    """
    kernel, home = folder / "kernels" / "other", folder / "home"
    kernel.mkdir(parents=True, exist_ok=True)
    home.mkdir(exist_ok=True)
    command = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    about = {"argv": command, "display_name": "other", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(about), encoding="utf-8")
    last = nbformat.v4.new_code_cell("import course_utils\nprint(course_utils.__file__)")
    notebook.cells.append(last)
    environment = {name: value for name, value in os.environ.items() if name not in CLEAN}
    before = os.environ.get("JUPYTER_PATH")
    os.environ["JUPYTER_PATH"] = str(folder)
    try:
        client = NotebookClient(
            notebook,
            kernel_name="other",
            timeout=patience(120),
            startup_timeout=patience(10),
            resources={"metadata": {"path": str(home)}},
        )
        client.execute(env=environment)
    finally:
        if before is None:
            del os.environ["JUPYTER_PATH"]
        else:
            os.environ["JUPYTER_PATH"] = before
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise RuntimeError(f"Cell {cell.id} wrote to stderr:\n{output.text[-2000:]}")
    found = Path(last.outputs[0].text.strip())
    if folder not in found.parents:
        raise RuntimeError(f"course_utils came from {found}, not from course.zip.")


def main(arguments: list[str]) -> int:
    """Run some copies, and print the seconds of each; return 1 when one failed."""
    parser = argparse.ArgumentParser(prog="python -m tools.colab.trial", description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="the Python to run the notebooks in")
    parser.add_argument("numbers", nargs="+", help="which notebooks, for example 00 01 02")
    options = parser.parse_args(arguments)
    failed = 0
    with tempfile.TemporaryDirectory() as name, served(Path(name, "served")) as address:
        folder = Path(name).resolve()
        place = Place(address=f"{address}/course.zip", folder=(folder / "course").as_posix())
        copies = make(place, folder / "served")
        for copy in [copy for copy in copies if copy[:2] in options.numbers]:
            start = time.perf_counter()
            notebook = nbformat.read(folder / "served" / copy, as_version=4)
            try:
                run(notebook, options.python, folder)
            except (CellExecutionError, RuntimeError) as problem:
                failed = 1
                print(f"{copy} FAILED:\n{problem}", flush=True)
            else:
                ready = notebook.cells[0].outputs[-1].text.strip()
                print(f"{copy}: {time.perf_counter() - start:.0f} s. {ready}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
