"""What every benchmarked model goes through, in a process of its own: load, run, measure, report.

This module runs in the course's environment and in every peer's, so it needs nothing but NumPy.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

THRESHOLDS = {"seconds_to_093": 0.93, "seconds_to_090": 0.90}


@dataclass
class Result:
    """What a model's function returns."""

    predictions: np.ndarray  # stars, one for each row of test, in its order
    fit_seconds: float  # from the table of ratings to the fitted model; no imports, but compilation
    predict_seconds: float  # for all rows of test
    parameters: int | None = None
    curve: list[tuple[float, float]] = field(default_factory=list)  # (training seconds, test RMSE) on the way
    peak_mb: float | None = None  # up to the predictions; None: of the whole process


@dataclass(frozen=True)
class Model:
    """One row of the benchmark."""

    run: Callable[[Any, Any, int], Result]  # (train, test, seed) -> Result
    family: str  # "ours", "Surprise", ...
    setting: str  # in words
    packages: tuple[str, ...]  # whose versions to report
    env: str = ""  # name of the peer's environment; "" is the course's own
    seeds: tuple[int, ...] = (0,)
    knows: str = "ratings"  # what it learns from: "ratings", "+ side", "+ time", "+ side + time"


def epochs(wanted: int) -> int:
    """Return the number of epochs to train: ``wanted``, or fewer in a quick run."""
    return min(wanted, int(os.environ.get("BENCH_MAX_EPOCHS", wanted)))


def clipped_rmse(stars: np.ndarray, predictions: np.ndarray) -> float:
    """Return the RMSE of predictions cut to 1..5; ValueError for another shape or for NaN."""
    predictions = np.asarray(predictions, dtype="float64").reshape(-1)
    if predictions.shape != np.shape(stars) or not np.isfinite(predictions).all():
        raise ValueError(f"Expected {np.shape(stars)} finite predictions, but got {predictions.shape}.")
    return float(np.sqrt(np.mean((np.asarray(stars) - predictions.clip(1, 5)) ** 2)))


def seconds_to(threshold: float, curve: list[tuple[float, float]]) -> float | None:
    """Return the fewest training seconds at which the RMSE was at or below the threshold, or None."""
    return min((seconds for seconds, rmse in curve if rmse <= threshold), default=None)


def peak_megabytes() -> float | None:
    """Return the peak memory of this process in MB, or None on systems that do not tell.

    On Linux ``getrusage`` also counts what the *parent* held when it started this process, so that a small
    model would be charged with the driver's memory. ``VmHWM`` does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024**2 if sys.platform == "darwin" else peak / 1024


def measure(result: Result, stars: np.ndarray) -> dict[str, Any]:
    """Turn a Result into the measured columns of results.csv."""
    score = clipped_rmse(stars, result.predictions)
    curve = [*result.curve, (result.fit_seconds, score)]
    return {
        "test_rmse": round(score, 5),
        "fit_seconds": round(result.fit_seconds, 3),
        **{
            name: None if (seconds := seconds_to(limit, curve)) is None else round(seconds, 3)
            for name, limit in THRESHOLDS.items()
        },
        "predictions_per_second": round(len(stars) / max(result.predict_seconds, 1e-9)),
        "parameters": result.parameters,
    }


def timed(action: Callable[[], Any]) -> tuple[Any, float]:
    """Return what ``action()`` returns, and the seconds that it took."""
    start = time.perf_counter()
    value = action()
    return value, time.perf_counter() - start


def limit_cores(number: int | None = None) -> None:
    """Keep this process on few cores, where the system can (Linux).

    Args:
        number: how many; None: as many as it may use threads.
    """
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        number = number or int(os.environ.get("BENCH_THREADS", len(cores)))
        os.sched_setaffinity(0, cores[: max(1, number)])


def load_split(folder: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Return train.npy and test.npy of a folder as structured arrays: ``train["user_id"]``."""
    return np.load(Path(folder, "train.npy")), np.load(Path(folder, "test.npy"))


def main(models: dict[str, Model], convert: Callable[[np.ndarray], Any] = lambda table: table) -> None:
    """Run one model. Arguments: its name, the folder with train.npy and test.npy, the seed, where to write.

    Args:
        models: name -> Model.
        convert: makes from a structured array what the models take.
    """
    name, folder, seed, out = sys.argv[1:]
    limit_cores()
    train, test = load_split(folder)
    model = models[name]
    result = model.run(convert(train), convert(test), int(seed))
    measured = measure(result, test["rating"])
    peak = result.peak_mb or peak_megabytes()
    measured["peak_mb"] = None if peak is None else round(peak, 1)
    measured["version"] = " ".join(f"{package} {version(package)}" for package in model.packages)
    measured["python"] = platform.python_version()
    Path(out).write_text(json.dumps(measured), encoding="utf-8")
