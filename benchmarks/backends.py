"""The networks of 04, 05 and 07 on each backend of Keras that is installed: backends.csv.

``python -m benchmarks backends`` runs each training in a process of its own, because a process has one backend.
JAX and PyTorch are no part of the course's packages: `pip install -e ".[jax]"` (or torch) adds them.
"""

import csv
import importlib.util
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pandas as pd

from .driver import HERE, Options

BACKENDS = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}  # Keras' names, those of the modules
NAMES = {"mf_04": "matrix factorization of 04", "deep_05": "deep network of 05", "history_07": "network of 07"}
SEEDS = (0, 1, 2)
COLUMNS = ("backend", "version", "keras", "name", "seed", "fit_seconds", "test_rmse")


def one(name: str, seed: int) -> dict:
    """Train one network on this process's backend; return its row."""
    from course_utils.data import load_ratings, split_ratings

    import keras

    from . import ours
    from .worker import clipped_rmse

    train, test = split_ratings(load_ratings())
    result = getattr(ours, name)(train, test, seed)
    backend = keras.backend.backend()
    return {
        "backend": backend,
        "version": _version(backend),
        "keras": keras.__version__,
        "name": name,
        "seed": seed,
        "fit_seconds": round(result.fit_seconds, 2),
        "test_rmse": round(clipped_rmse(test["rating"].to_numpy(), result.predictions), 5),
    }


def _version(backend: str) -> str:
    for package in (BACKENDS[backend], f"{BACKENDS[backend]}-cpu"):
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"


def backends(options: Options) -> None:
    """Train each network on each installed backend, and write backends.csv row by row.

    Raises:
        subprocess.CalledProcessError: a training failed; the rows before it are kept.
    """
    installed = [name for name, module in BACKENDS.items() if importlib.util.find_spec(module)]
    if absent := set(BACKENDS) - set(installed):
        print(f"Not installed, so not measured: {', '.join(sorted(absent))}.")
    options.out.mkdir(parents=True, exist_ok=True)
    with open(options.out / "backends.csv", "w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        out.writeheader()
        for name in NAMES:
            for seed in SEEDS[:1] if options.quick else SEEDS:
                for backend in installed:  # in turn, so that a slow minute of the machine hits all of them
                    command = [sys.executable, "-m", "benchmarks.backends", name, str(seed)]
                    environment = {**os.environ, "KERAS_BACKEND": backend}
                    done = subprocess.run(
                        command,
                        env=environment,
                        stdout=subprocess.PIPE,
                        encoding="utf-8",
                        check=True,
                        timeout=options.limit,
                    )
                    row = json.loads(done.stdout.splitlines()[-1])
                    out.writerow(row)
                    file.flush()
                    print(
                        f"{backend}, {name}, seed {seed}: {row['test_rmse']} in {row['fit_seconds']} s",
                        flush=True,
                    )


def backends_table(folder: Path = HERE) -> str:
    """Return backends.csv as a Markdown table: mean RMSE and its spread over seeds, median seconds of fit."""
    rows = pd.read_csv(folder / "backends.csv")
    names = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
    found = [name for name in BACKENDS if name in set(rows["backend"])]
    versions = rows.groupby("backend")["version"].first()
    lines = [
        "| network | " + " | ".join(f"{names[name]} {versions[name]}" for name in found) + " |",
        "| --- " * (len(found) + 1) + "|",
    ]
    for name, title in NAMES.items():
        cells = []
        for backend in found:
            group = rows[(rows["name"] == name) & (rows["backend"] == backend)]
            spread = f" ± {group['test_rmse'].std():.4f}" if len(group) > 1 else ""
            cells.append(f"{group['test_rmse'].mean():.4f}{spread}, {group['fit_seconds'].median():.3g} s")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(json.dumps(one(sys.argv[1], int(sys.argv[2]))))
