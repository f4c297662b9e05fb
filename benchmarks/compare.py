"""The course's models and other libraries, side by side: results.csv, splits.csv, folds.csv."""

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from course_utils.data import load_ratings, official_fold, split_ratings

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from . import driver, ours, peers
from .driver import MACHINE, Options, attempt, machine
from .worker import Model

MODELS: dict[str, Model] = {**ours.MODELS, **peers.MODELS}
MEASURED = (
    *("test_rmse", "fit_seconds", "seconds_to_093", "seconds_to_090", "predictions_per_second"),
    *("parameters", "peak_mb", "version"),
)
COLUMNS = ("name", "family", "setting", "seed", "status", *MEASURED, *MACHINE, "error")
SPLIT_COLUMNS = ("name", "split", "seed", "status", "test_rmse", "fit_seconds", *MACHINE, "error")
OURS = ("mf-04", "history-07-ratings", "history-07-side", "history-07")
# What `splits` and `folds` run when no model is named.
DEFAULTS = {"splits": (*OURS, "surprise-svd-tuned"), "folds": (*OURS, "myfm-both", "myfm-all")}
LAST_TEN = "last ten"  # the one fold that asks for the future


def save_split(train: pd.DataFrame, test: pd.DataFrame, folder: Path, quick: bool = False) -> Path:
    """Write train.npy and test.npy, structured arrays that every environment can read; return the folder."""
    for name, table, size in (("train", train, 4000), ("test", test, 1000)):
        table = table.head(size) if quick else table
        np.save(folder / f"{name}.npy", np.array(table.to_records(index=False)))
    return folder


def run_model(name: str, folder: Path, seed: int, options: Options) -> dict[str, Any]:
    """Run one model in a fresh process and return what it measured.

    Raises:
        Failure: when it has no result.
    """
    env = MODELS[name].env
    python = driver.ready(env, options) if env else sys.executable
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary, "measured.json")
        command = driver.command(python, "peers" if env else "ours", name, str(folder), str(seed), str(out))
        driver.execute(command, driver.environment(options), options.limit)
        return json.loads(out.read_text(encoding="utf-8"))


def models(options: Options) -> None:
    """Run every model on the course's split: results.csv."""
    order = {name: place for place, name in enumerate([*MODELS, *peers.NOT_RUN])}

    def position(row: dict[str, Any]) -> tuple[int, int]:
        return order.get(row["name"], len(order)), int(row["seed"] or 0)

    table = driver.Table(options.out / "results.csv", COLUMNS, ("name", "seed"), position)
    with tempfile.TemporaryDirectory() as temporary:
        folder = save_split(*split_ratings(load_ratings()), Path(temporary), options.quick)
        for name in options.only or MODELS:
            model = MODELS[name]
            seeds = options.seeds or (model.seeds[:1] if options.quick else model.seeds)
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


def cut(ratings: pd.DataFrame, kind: str, part: int | str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return training and test ratings: a random split, an official fold, or each user's last ten hidden."""
    if part == LAST_TEN:
        by_time = ratings.sort_values(["user_id", "timestamp"], kind="stable")
        late = by_time.groupby("user_id").cumcount(ascending=False) < 10
        return by_time[~late], by_time[late]
    return official_fold(ratings, part) if kind == "folds" else split_ratings(ratings, seed=part)


def over(kind: str, parts: Sequence[int | str], options: Options) -> None:
    """Run models on several splits or folds: splits.csv or folds.csv, with mean and standard deviation.

    Args:
        kind: "splits" or "folds".
        parts: seeds of the splits, or numbers of the official folds and LAST_TEN, which counts in no mean.
        options: their ``only`` names the models; empty: ``DEFAULTS``.
    """

    def position(row: dict[str, Any]) -> tuple[str, bool, str, int]:
        number = str(row["split"]).isdigit()
        return row["name"], not number, "" if number else row["split"], int(row["split"]) if number else 0

    names, seed = options.only or DEFAULTS[kind], 0
    table = driver.Table(options.out / f"{kind}.csv", SPLIT_COLUMNS, ("name", "split"), position)
    table.drop(lambda row: row["name"] in names)
    ratings = load_ratings()
    with tempfile.TemporaryDirectory() as temporary:
        for part in parts:
            folder = save_split(*cut(ratings, kind, part), Path(temporary), options.quick)
            for name in names:
                measured = attempt(lambda n=name, f=folder: run_model(n, f, seed, options))
                table.add({"name": name, "split": part, "seed": seed} | machine(options) | measured)
    for name in names:
        scores = [
            float(r["test_rmse"])
            for r in table.rows.values()
            if r["name"] == name and r.get("test_rmse") and str(r["split"]).isdigit()
        ]
        if len(scores) > 1:
            summary = {"name": name, "seed": seed, "status": "ok"} | machine(options)
            table.add({**summary, "split": "mean", "test_rmse": round(statistics.mean(scores), 5)})
            table.add({**summary, "split": "sd", "test_rmse": round(statistics.stdev(scores), 5)})


def tune(options: Options) -> None:
    """Choose the peers' tuned settings again on a validation part of the training set, and print all.

    A peer that fails becomes a printed line, and the others go on.
    """
    train, _ = split_ratings(load_ratings())
    part, validation = train_test_split(train, test_size=0.1, random_state=0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = save_split(part, validation, Path(temporary), options.quick)
        for name in options.only or peers.GRIDS:
            print(_tuned(name, folder, options), flush=True)


def _tuned(name: str, folder: Path, options: Options) -> str:
    """Return what the grid search of one peer printed, or why there is none."""
    try:
        command = driver.command(driver.ready(MODELS[name].env, options), "peers", "tune", name, str(folder))
        return driver.execute(command, driver.environment(options), options.limit).strip()
    except driver.Failure as reason:
        return f"{name}: error: {reason}"
