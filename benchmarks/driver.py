"""What every measurement goes through: a fresh process, a time limit, a row in a CSV file.

Peers have an environment each, because their pins exclude one another. What fails becomes a row that says so.
"""

import csv
import dataclasses
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.course import ROOT

import psutil

from . import peers

HERE = Path(__file__).resolve().parent
THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "BLIS_NUM_THREADS", "RAYON_NUM_THREADS", "LK_NUM_THREADS"),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "BENCH_THREADS"),
)
MACHINE = ("threads", "cpu", "cores", "memory_gb", "python", "date")
SHOWN = ("test_rmse", "ndcg_10", "fit_seconds", "seconds_to_093", "seconds_to_090", "value")
# The repository comes last in the search path, so that none of its folders hides a package of a peer.
START = (
    "import importlib, sys; sys.path.append(sys.argv.pop(1)); "
    "importlib.import_module('benchmarks.' + sys.argv.pop(1)).main()"
)


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line chose."""

    out: Path  # folder of the CSV files
    envs: Path = HERE / ".envs"  # folder of the peers' environments
    threads: int = 2
    limit: float = 1200.0  # seconds for one measurement
    seeds: tuple[int, ...] = ()  # empty: those of each model
    only: tuple[str, ...] = ()  # models; empty: all, or the defaults of splits and folds
    quick: bool = False  # a trial of the driver: few ratings, one epoch, nothing installed


class Failure(Exception):
    """A measurement has no result. The message says why, in one line."""


# --- Processes and environments -------------------------------------------------------------------


def environment(options: Options) -> dict[str, str]:
    """Return the environment variables of a measured process: ours, with the thread counts set."""
    variables = {**os.environ, **{name: str(options.threads) for name in THREAD_VARIABLES}}
    variables |= {"KERAS_BACKEND": "tensorflow", "PYTHONUNBUFFERED": "1", "CUDA_VISIBLE_DEVICES": "-1"}
    variables["TQDM_DISABLE"] = "1"  # no progress bar in what is measured, nor in the message of a failure
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):  # they would leak into a peer's environment
        variables.pop(name, None)
    variables.pop("BENCH_MAX_EPOCHS", None)
    if options.quick:
        variables["BENCH_MAX_EPOCHS"] = "1"
    return variables


def command(python: Path | str, module: str, *arguments: str) -> list[str]:
    """Return the command that runs ``main()`` of a module of this package with some Python."""
    return [str(python), "-P", "-c", START, str(ROOT), module, *arguments]


def execute(command: Sequence[str], variables: dict[str, str], limit: float) -> str:
    """Run a command to its end and return what it printed; end it and all that it started after ``limit`` s.

    Raises:
        Failure: with the last error that it printed, or the time limit.
    """
    with tempfile.TemporaryFile() as output:  # a file, not a pipe: a grandchild can't keep us waiting on it
        process = subprocess.Popen(
            list(command),
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            raise Failure(f"time limit of {limit:g} s exceeded") from None
        finally:
            if process.poll() is None:
                if hasattr(os, "killpg"):
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    process.kill()
                process.wait()
        output.seek(0)
        text = output.read().decode("utf-8", errors="replace").replace("\r", "\n")
    if code:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()] or lines or ["no output"]
        raise Failure(f"exit code {code}: {hide_paths(errors[-1])[:300]}")
    return text


def hide_paths(text: str) -> str:
    """Remove this machine's own folders from a message that will be stored."""
    for folder, name in ((ROOT, "."), (Path.home(), "~"), (Path(tempfile.gettempdir()), "TMP")):
        if folder != Path(folder.anchor):
            text = text.replace(str(folder), name)
    return text


def python_of(folder: Path) -> Path:
    """Return the Python of a virtual environment."""
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


def is_ready(name: str, options: Options) -> bool:
    """Say whether a peer's environment is there, with the pins of today."""
    marker = options.envs / name / "pins.txt"
    return marker.exists() and marker.read_text(encoding="utf-8").split("\n") == peers.ENVIRONMENTS[name]


def ready(name: str, options: Options) -> Path:
    """Return the Python of a peer's environment, which is made when missing or when its pins changed.

    Raises:
        Failure: when it can't be made.
    """
    folder, pins = options.envs / name, peers.ENVIRONMENTS[name]
    python = python_of(folder)
    if is_ready(name, options):
        return python
    if options.quick:
        raise Failure(f"the environment {name} is not installed, and a quick run installs nothing")
    print(f"{name}: installing {', '.join(pins)}", flush=True)
    variables = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    try:
        # The course's own pip fills the folder: some systems' venv can't bring one.
        execute(
            [sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)], variables, options.limit
        )
        for step in ([pin] for pin in pins if pin.startswith(("setuptools", "torch"))):  # others build on them
            execute([*pip, *step], variables, options.limit)
        execute([*pip, *pins], variables, options.limit)
    except Failure as reason:
        raise Failure(f"installation failed: {reason}") from reason
    (folder / "pins.txt").write_text("\n".join(pins), encoding="utf-8")
    return python


def machine(options: Options) -> dict[str, Any]:
    """Return the columns that describe the machine and the moment."""
    cpu = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        names = [
            line.partition(":")[2].strip()
            for line in info.read_text(encoding="utf-8").splitlines()
            if "model name" in line
        ]
        cpu = names[0] if names else cpu
    return {
        "threads": options.threads,
        "cpu": cpu,
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1024**3, 1),
        "python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


# --- Results --------------------------------------------------------------------------------------


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file, none if it isn't there."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Write a CSV file so that it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: "" if value is None else value for key, value in row.items()} for row in rows)
    os.replace(part, path)


class Table:
    """A CSV file that is written anew after every row; a row with the same key takes the old one's place."""

    def __init__(self, path: Path, columns: Sequence[str], key: Sequence[str], order: Callable[[dict], Any]):
        self.path, self.columns, self.key, self.order = path, columns, key, order
        self.rows: dict[tuple[str, ...], dict[str, Any]] = {self._key(row): row for row in read_rows(path)}

    def _key(self, row: dict[str, Any]) -> tuple[str, ...]:
        return tuple(str(row.get(name, "")) for name in self.key)

    def drop(self, unwanted: Callable[[dict[str, Any]], bool]) -> None:
        """Forget rows; the file changes with the next row."""
        self.rows = {key: row for key, row in self.rows.items() if not unwanted(row)}

    def add(self, row: dict[str, Any]) -> None:
        """Store a row, write the file and print what matters."""
        self.rows[self._key(row)] = row
        write_rows(self.path, self.columns, sorted(self.rows.values(), key=self.order))
        shown = {name: row[name] for name in SHOWN if row.get(name) not in (None, "")}
        print(*self._key(row), row["status"], shown or row.get("error"), flush=True)


def attempt(action: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what ``action`` measured with the status "ok", or the status "error" and the reason."""
    try:
        return {"status": "ok", **action()}
    except Failure as reason:
        return {"status": "error", "error": str(reason)}
    except Exception as problem:  # the others must go on
        return {"status": "error", "error": hide_paths(f"{type(problem).__name__}: {problem}")[:300]}
