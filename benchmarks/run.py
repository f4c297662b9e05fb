"""The benchmark: the course's models and other libraries, side by side on one machine and one split.

``python benchmarks/run.py models|splits|folds|steps|tune|all [options]``; README.md in this folder explains it.

Every model runs in a fresh process, one after the other, with the same number of threads. Peers have an
environment each, because their pins exclude one another. What fails becomes a row that says so.
"""

import argparse
import csv
import dataclasses
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from course_utils.data import load_ratings, official_fold, split_ratings

import numpy as np
import ours
import pandas as pd
import peers
import psutil
from sklearn.model_selection import train_test_split
from worker import Model

HERE = Path(__file__).resolve().parent
MODELS: dict[str, Model] = {**ours.MODELS, **peers.MODELS}
THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "BLIS_NUM_THREADS", "RAYON_NUM_THREADS", "LK_NUM_THREADS"),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "BENCH_THREADS"),
)
MEASURED = (
    *("test_rmse", "fit_seconds", "seconds_to_093", "seconds_to_090", "predictions_per_second"),
    *("parameters", "peak_mb", "version"),
)
MACHINE = ("threads", "cpu", "cores", "memory_gb", "python", "date")
COLUMNS = ("name", "family", "setting", "seed", "status", *MEASURED, *MACHINE, "error")
SPLIT_COLUMNS = ("name", "split", "seed", "status", "test_rmse", "fit_seconds", *MACHINE, "error")
STEP_COLUMNS = (
    "variant",
    "rows",
    "status",
    "seconds_per_step",
    "times_1000_rows",
    "peak_mb",
    "keras",
    *MACHINE,
    "error",
)
ROWS = (1_000, 10_000, 100_000, 1_000_000)
VARIANTS = (  # the keys of steps.VARIANTS, which can't be read without importing TensorFlow
    *("table_l2, Adam", "table_l2, SGD", "lookup_l2, Adam", "lookup_l2, SGD"),
    *("lookup_l2, SGD, by rows", "lookup_l2, Adam, by rows"),
)


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line chose."""

    out: Path  # folder of the CSV files
    envs: Path  # folder of the peers' environments
    threads: int = 2
    limit: float = 1200.0  # seconds for one model
    seeds: tuple[int, ...] = ()  # empty: those of each model
    only: tuple[str, ...] = ()  # empty: all
    names: tuple[str, ...] = ()  # models of splits and folds; empty: the defaults
    quick: bool = False  # a trial of the driver: few ratings, one epoch, nothing installed


class Failure(Exception):
    """A model has no result. The message says why, in one line."""


# --- Processes and environments -------------------------------------------------------------------


def environment(options: Options) -> dict[str, str]:
    """Return the environment variables of a measured process: ours, with the thread counts set."""
    variables = {**os.environ, **{name: str(options.threads) for name in THREAD_VARIABLES}}
    variables |= {"KERAS_BACKEND": "tensorflow", "PYTHONUNBUFFERED": "1", "CUDA_VISIBLE_DEVICES": "-1"}
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):  # they would leak into a peer's environment
        variables.pop(name, None)
    variables.pop("BENCH_MAX_EPOCHS", None)
    if options.quick:
        variables["BENCH_MAX_EPOCHS"] = "1"
    return variables


def execute(command: Sequence[str], variables: dict[str, str], limit: float) -> None:
    """Run a command to its end; end it and all that it started when it takes too long.

    Raises:
        Failure: with the last line that it printed, or the time limit.
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


def hide_paths(text: str) -> str:
    """Remove this machine's own folders from a message that will be stored."""
    for folder, name in ((HERE.parent, "."), (Path.home(), "~"), (Path(tempfile.gettempdir()), "TMP")):
        if folder != Path(folder.anchor):
            text = text.replace(str(folder), name)
    return text


def python_of(folder: Path) -> Path:
    """Return the Python of a virtual environment."""
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


def ready(name: str, options: Options) -> Path:
    """Return the Python of a peer's environment, which is made when missing or when its pins changed.

    Raises:
        Failure: when it can't be made.
    """
    folder, pins = options.envs / name, peers.ENVIRONMENTS[name]
    python, marker = python_of(folder), folder / "pins.txt"
    if marker.exists() and marker.read_text(encoding="utf-8").split("\n") == pins:
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
    marker.write_text("\n".join(pins), encoding="utf-8")
    return python


# --- Data and machine -----------------------------------------------------------------------------


def save_split(train: pd.DataFrame, test: pd.DataFrame, folder: Path, quick: bool = False) -> Path:
    """Write train.npy and test.npy, structured arrays that every environment can read; return the folder."""
    for name, table, size in (("train", train, 4000), ("test", test, 1000)):
        table = table.head(size) if quick else table
        np.save(folder / f"{name}.npy", np.array(table.to_records(index=False)))
    return folder


def machine(options: Options) -> dict[str, Any]:
    """Return the columns that describe the machine and the moment."""
    cpu = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line
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
        shown = {name: row[name] for name in MEASURED[:4] if row.get(name) not in (None, "")}
        print(
            *self._key(row), row["status"], shown or row.get("seconds_per_step") or row.get("error"), flush=True
        )


def attempt(action: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what ``action`` measured with the status "ok", or the status "error" and the reason."""
    try:
        return {"status": "ok", **action()}
    except Failure as reason:
        return {"status": "error", "error": str(reason)}
    except Exception as problem:  # the others must go on
        return {"status": "error", "error": hide_paths(f"{type(problem).__name__}: {problem}")[:300]}


def run_model(name: str, folder: Path, seed: int, options: Options) -> dict[str, Any]:
    """Run one model in a fresh process and return what it measured.

    Raises:
        Failure: when it has no result.
    """
    model = MODELS[name]
    python = ready(model.env, options) if model.env else Path(sys.executable)
    script = HERE / ("peers.py" if model.env else "ours.py")
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary, "measured.json")
        command = [str(python), str(script), name, str(folder), str(seed), str(out)]
        execute(command, environment(options), options.limit)
        return json.loads(out.read_text(encoding="utf-8"))


# --- Commands -------------------------------------------------------------------------------------


def models(options: Options) -> None:
    """Run every model on the course's split: results.csv."""
    order = {name: place for place, name in enumerate([*MODELS, *peers.NOT_RUN])}

    def position(row: dict[str, Any]) -> tuple[int, int]:
        return order.get(row["name"], len(order)), int(row["seed"] or 0)

    table = Table(options.out / "results.csv", COLUMNS, ("name", "seed"), position)
    with tempfile.TemporaryDirectory() as temporary:
        folder = save_split(*split_ratings(load_ratings()), Path(temporary), options.quick)
        for name in options.only or MODELS:
            model, seeds = MODELS[name], options.seeds or MODELS[name].seeds
            if not options.only:  # a full run leaves no row of an older one
                table.drop(lambda row, name=name: row["name"] == name)
            for seed in seeds:
                row = {"name": name, "family": model.family, "setting": model.setting, "seed": seed}
                table.add(
                    row | machine(options) | attempt(lambda s=seed, n=name: run_model(n, folder, s, options))
                )
    if not options.only:
        for name, (family, reason) in peers.NOT_RUN.items():
            row = {"name": name, "family": family, "seed": 0, "status": "not run", "error": reason}
            table.add(machine(options) | row)


def over(kind: str, names: Sequence[str], parts: Sequence[int], options: Options) -> None:
    """Run models on several splits or folds: splits.csv or folds.csv, with mean and standard deviation."""

    def position(row: dict[str, Any]) -> tuple[str, bool, str, int]:
        number = str(row["split"]).isdigit()
        return row["name"], not number, "" if number else row["split"], int(row["split"]) if number else 0

    table = Table(options.out / f"{kind}.csv", SPLIT_COLUMNS, ("name", "split"), position)
    table.drop(lambda row: row["name"] in names)
    ratings, cut = load_ratings(), official_fold if kind == "folds" else lambda r, k: split_ratings(r, seed=k)
    seed = options.seeds[0] if options.seeds else 0
    with tempfile.TemporaryDirectory() as temporary:
        for part in parts:
            folder = save_split(*cut(ratings, part), Path(temporary), options.quick)
            for name in names:
                measured = attempt(lambda n=name, f=folder: run_model(n, f, seed, options))
                table.add({"name": name, "split": part, "seed": seed} | machine(options) | measured)
    for name in names:
        scores = [
            float(r["test_rmse"]) for r in table.rows.values() if r["name"] == name and r.get("test_rmse")
        ]
        if len(scores) > 1:
            summary = {"name": name, "seed": seed, "status": "ok"} | machine(options)
            table.add({**summary, "split": "mean", "test_rmse": round(statistics.mean(scores), 5)})
            table.add({**summary, "split": "sd", "test_rmse": round(statistics.stdev(scores), 5)})


def steps(options: Options) -> None:
    """Measure a training step at growing table sizes: step_cost.csv."""

    def position(row: dict[str, Any]) -> tuple[int, int]:
        return VARIANTS.index(row["variant"]), int(row["rows"])

    table = Table(options.out / "step_cost.csv", STEP_COLUMNS, ("variant", "rows"), position)
    for variant in VARIANTS:
        first = None
        for rows in ROWS[:2] if options.quick else ROWS:
            slow = rows >= 100_000 and "by rows" not in variant
            number = 3 if options.quick else 15 if slow else 300
            measured = attempt(lambda v=variant, r=rows, n=number: run_steps(v, r, n, options))
            if seconds := measured.get("seconds_per_step"):
                first = first or (seconds if rows == ROWS[0] else None)
                measured["times_1000_rows"] = round(seconds / first, 2) if first else None
                measured["seconds_per_step"] = float(f"{seconds:.4g}")
            table.add({"variant": variant, "rows": rows} | machine(options) | measured)


def run_steps(variant: str, rows: int, number: int, options: Options) -> dict[str, Any]:
    """Measure one point of step_cost.csv in a fresh process."""
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary, "measured.json")
        command = [sys.executable, str(HERE / "steps.py"), variant, str(rows), str(number), str(out)]
        execute(command, environment(options), options.limit)
        return json.loads(out.read_text(encoding="utf-8"))


def tune(options: Options) -> int:
    """Choose the peers' tuned settings again on a validation part of the training set, and print all."""
    train, _ = split_ratings(load_ratings())
    part, validation = train_test_split(train, test_size=0.1, random_state=0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = save_split(part, validation, Path(temporary), options.quick)
        for name in options.only or peers.GRIDS:
            python = ready(MODELS[name].env, options)
            command = [str(python), str(HERE / "peers.py"), "tune", name, str(folder)]
            subprocess.run(command, env=environment(options), check=True, timeout=options.limit)
    return 0


def parse(arguments: Sequence[str]) -> tuple[str, Options]:
    """Return the command and the options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "command", nargs="?", default="all", choices=["models", "splits", "folds", "steps", "tune", "all"]
    )
    parser.add_argument(
        "--only", nargs="+", default=[], choices=list(MODELS), metavar="NAME", help="only these models"
    )
    parser.add_argument(
        "--names", nargs="+", default=[], choices=list(MODELS), metavar="NAME", help="for splits, folds"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[], help="instead of each model's own")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, default=1200, help="seconds for one model (default 1200)")
    parser.add_argument(
        "--quick", action="store_true", help="a trial with few ratings, into a temporary folder"
    )
    parser.add_argument("--out", type=Path, help="folder for the CSV files")
    parser.add_argument("--envs", type=Path, default=HERE / ".envs", help="folder of the peers' environments")
    chosen = vars(parser.parse_args(arguments))
    command = chosen.pop("command")
    chosen |= {name: tuple(chosen[name]) for name in ("only", "names", "seeds")}
    if chosen["out"] is None:
        chosen["out"] = Path(tempfile.mkdtemp(prefix="benchmark-")) if chosen["quick"] else HERE
    return command, Options(**chosen)


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    command, options = parse(arguments)
    start = time.perf_counter()
    if command == "tune":
        return tune(options)
    if command in ("models", "all"):
        models(options)
    if command in ("splits", "all"):
        names = options.names or ("mf-04", "surprise-svd-tuned")
        over("splits", names, range(1, 3 if options.quick else 11), options)
    if command in ("folds", "all"):
        over("folds", options.names or ("mf-04",), range(1, 2 if options.quick else 6), options)
    if command in ("steps", "all"):
        steps(options)
    print(f"{command}: {time.perf_counter() - start:.0f} s, results in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
