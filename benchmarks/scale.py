"""What happens when ratings, movies or machines become many: scale.csv.

The parts are those of notebook 11, at sizes that a notebook should not wait for:

- ``stream``: 20 million ratings, made, stored, and trained on by one process of bounded memory: one epoch for
  each of three penalties, of which the validation part chooses one,
- ``steps``: what a training step costs with other numbers of factors and other batch sizes,
- ``workers``: one process against two that train one network together,
- ``als``: Spark's ALS on the course's split, and on more and more ratings with one core and with two,
- ``neighbors``: the ten best of a million items, exactly and approximately.

Every measurement runs in a fresh process. One row of scale.csv is one figure: part, setting, measure, value.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from . import driver, worker

COLUMNS = ("part", "setting", "measure", "value", "status", *driver.MACHINE, "error")
PENALTIES = (0.01, 0.03, 0.1)  # of looked-up factors: ``measure_stream`` chooses on its validation part
# Chosen on a validation part of the course's training set, from rank 10, 20, 50 and reg 0.1, 0.15, 0.2.
ALS = {"alone": {"rank": 50, "reg": 0.1}, "on what the biases leave over": {"rank": 20, "reg": 0.15}}


# --- One measurement, in its own process ----------------------------------------------------------


def measure_stream(n_ratings: int) -> dict[str, float]:
    """Make, store and train on so many ratings; return RMSEs, speeds and the peak memory of all of it.

    The penalty is chosen on the validation part, one epoch for each of ``PENALTIES``. The test part is scored
    once, with the choice. K, the rate and the size of a batch are as they were set, not chosen.
    """
    from course_utils import made
    from course_utils.large import scaling, streaming
    from course_utils.metrics import rmse
    from course_utils.models import matrix_factorization
    from course_utils.training import fit

    import keras

    batch, K, learning_rate = min(16_384, n_ratings // 100), 16, 0.02
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "ratings")
        chunks = made.synthetic_ratings(n_ratings, n_ratings // 100, max(2000, n_ratings // 1000))
        files = max(2, n_ratings // 1_000_000)
        about, write_seconds = worker.timed(
            lambda: streaming.write_ratings(chunks, folder, files=files, validation_share=0.01)
        )
        megabytes = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        (mu, b_u, b_i), bias_seconds = worker.timed(lambda: streaming.streamed_biases(folder))
        (validation,), (test,) = (list(streaming.read_files(folder, part)) for part in ("validation", "test"))
        steps, scores, best = streaming.batches_per_epoch(folder, batch), {}, None
        # Not "mse": with that, `fit` would also compute the RMSE at every step.
        options = {"loss": keras.losses.MeanSquaredError(), "optimizer": scaling.RowAdam}

        def score(model, rows):
            predicted = model.predict([rows["user_id"], rows["movie_id"]], batch_size=8192, verbose=0)
            return rmse(rows["rating"], predicted.clip(1, 5))

        for penalty in PENALTIES:
            keras.utils.set_random_seed(0)
            sizes = about["n_users"], about["n_items"], K
            model = matrix_factorization(*sizes, lookup_l2=penalty, bias_lookup_l2=0.005, mu=about["mean"])
            model, data = scaling.by_rows(model), streaming.rating_dataset(folder, batch)
            _, seconds = worker.timed(lambda m=model, d=data: fit(m, d, 1, learning_rate, **options))
            scores[penalty] = score(model, validation)
            if scores[penalty] == min(scores.values()):
                best = penalty, model, seconds
    penalty, model, fit_seconds = best
    biases = (mu + b_u[test["user_id"]] + b_i[test["movie_id"]]).clip(1, 5)
    return {
        "training ratings": about["n_train"],
        "validation ratings": about["n_validation"],
        "test ratings": about["n_test"],
        "parameters": model.count_params(),
        "made and stored per second": n_ratings / write_seconds,
        "MB of Parquet": megabytes,
        "seconds of the biases": bias_seconds,
        **{f"validation RMSE, penalty {tried:g}": found for tried, found in scores.items()},
        "penalty, chosen": penalty,
        "test RMSE, both biases": rmse(test["rating"], biases),
        "test RMSE, matrix factorization": score(model, test),
        "seconds of the epoch": fit_seconds,
        "trained per second": steps * batch / fit_seconds,
        "peak memory in MB": worker.peak_megabytes(),
    }


def measure_steps(only_rows: bool, rows: int, K: int, batch: int, number: int) -> dict[str, float]:
    """Return the milliseconds of a training step; the arguments are those of ``steps.seconds_per_step``."""
    from .steps import seconds_per_step

    return {"ms a step": 1000 * seconds_per_step(only_rows, rows, K, batch, number)}


def measure_workers(n: int, batch: int, epochs: int) -> dict[str, float]:
    """Train on the course's training set with n workers; return seconds and the last loss."""
    from course_utils.data import load_ratings, split_ratings
    from course_utils.large import scaling, streaming

    with tempfile.TemporaryDirectory() as temporary:
        folder, out = Path(temporary, "ratings"), Path(temporary, "out")
        streaming.write_ratings([split_ratings(load_ratings())[0]], folder, files=1, test_share=0)
        processes = scaling.start_workers(n, folder, out, batch_size=batch, epochs=epochs, every=10**6)
        done, whole = worker.timed(lambda: scaling.wait_for_workers(processes, out, limit=600))
    seconds = max(one["seconds"] for one in done)
    return {
        "steps": done[0]["steps"],
        "last loss": done[0]["loss"],
        "ms a step": 1000 * seconds / (done[0]["steps"] - 1),
        "seconds with the start": whole,
    }


def measure_als(rows: int, cores: int) -> dict[str, float]:
    """Fit Spark's ALS: on the course's split (rows = 0), or on so many made ratings."""
    from course_utils import made as made_up
    from course_utils import metrics
    from course_utils.data import load_ratings, split_ratings
    from course_utils.large import engines

    import numpy as np
    import pandas as pd

    worker.limit_cores(cores)  # Spark's own threads must not use more cores than its workers
    if rows == 0:
        train, test = split_ratings(load_ratings())
    else:
        made = pd.concat(made_up.synthetic_ratings(rows, rows // 100, max(2000, rows // 1000)))
        train, test = made.iloc[: int(0.99 * rows)], made.iloc[int(0.99 * rows) :].head(20_000)
    mu, b_u, b_i = metrics.bias_baseline(train)

    def biases(part):
        return mu + part["user_id"].map(b_u).fillna(0) + part["movie_id"].map(b_i).fillna(0)

    measured = {}
    with tempfile.TemporaryDirectory() as temporary:
        files = {name: str(Path(temporary, f"{name}.parquet")) for name in ("train", "test")}
        test.assign(row=np.arange(len(test))).to_parquet(files["test"])
        for name in ALS if rows == 0 else ("alone",):
            base = lambda part, name=name: 0 if name == "alone" else biases(part)  # noqa: E731
            train.assign(target=train["rating"] - base(train)).to_parquet(files["train"])
            chosen = ALS[name] if rows == 0 else {"rank": 10, "reg": 0.1}
            result = engines.run_engine("als", {**files, **chosen, "cores": cores}, limit=1200)
            measured[f"fit seconds, {name}"] = result["fit_seconds"]
            if rows == 0:
                empty = mu if name == "alone" else 0
                predicted = np.array([empty if p is None else p for p in result["predictions"]]) + base(test)
                measured[f"test RMSE, {name}"] = metrics.rmse(test["rating"], predicted.clip(1, 5))
    measured["start seconds"] = result["start_seconds"]
    return measured


def measure_neighbors(n_items: int, lists: int) -> dict[str, float]:
    """Search among so many items, exactly and approximately."""
    from course_utils.large import engines

    probes = [8, 32, 128]
    result = engines.run_engine("neighbors", {"n_items": n_items, "lists": lists, "probes": probes})
    measured = {"seconds to build": result["build_seconds"], "ms, exact": result["exact_ms"]}
    for one in result["approximate"]:
        for key in ("ms", "recall", "speed_up"):
            measured[f"{key}, {one['probes']} lists"] = one[key]
    return measured


MEASURE = {
    "stream": measure_stream,
    "steps": measure_steps,
    "workers": measure_workers,
    "als": measure_als,
    "neighbors": measure_neighbors,
}


# --- The driver -----------------------------------------------------------------------------------


def plan(quick: bool) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield part, setting and arguments of all measurements."""
    n = 100_000 if quick else 20_000_000
    yield "stream", f"{n:,} ratings", {"n_ratings": n}
    rows = 1_000 if quick else 100_000
    for variant, only_rows in (("lookup_l2, Adam", False), ("lookup_l2, Adam, by rows", True)):
        number = 3 if quick else 100 if only_rows else 20
        for K, batch in ((8, 1024), (64, 1024), (256, 1024), (64, 8192)):
            setting = f"{variant}; {rows:,} rows; K = {K}; batch {batch:,}"
            sizes = {"rows": rows, "K": K, "batch": batch, "number": number}
            yield "steps", setting, {"only_rows": only_rows, **sizes}
    for batch, epochs in ((1024, 1), (16_384, 20)):
        for workers in (1, 2):
            arguments = {"n": workers, "batch": batch, "epochs": 1 if quick else epochs}
            yield "workers", f"{workers} process{'es' * (workers > 1)}; batch {batch:,}", arguments
    for size in (0,) if quick else (0, 100_000, 1_000_000, 4_000_000):
        for cores in (1, 2):
            setting = (
                f"{f'{size:,} ratings' if size else 'split of the course'}; {cores} core{'s' * (cores > 1)}"
            )
            yield "als", setting, {"rows": size, "cores": cores}
    n, lists = (10_000, 128) if quick else (1_000_000, 2048)
    yield "neighbors", f"{n:,} items; {lists} lists", {"n_items": n, "lists": lists}


def measure(part: str, arguments: dict[str, Any], options: driver.Options) -> dict[str, float]:
    """Run one measurement in a fresh process and return its figures.

    Raises:
        driver.Failure: when it has none.
    """
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary, "measured.json")
        command = driver.command(sys.executable, "scale", part, json.dumps(arguments), str(out))
        driver.execute(command, driver.environment(options), options.limit)
        return json.loads(out.read_text(encoding="utf-8"))


def scale(parts: Sequence[str], options: driver.Options) -> None:
    """Measure the parts and store them: scale.csv. Rows of other parts stay as they were."""
    order = {name: place for place, name in enumerate(MEASURE)}
    planned = list(plan(options.quick))
    place = {(part, setting): number for number, (part, setting, _) in enumerate(planned)}

    def position(row: dict[str, Any]) -> tuple[int, int]:
        return order[row["part"]], place.get((row["part"], row["setting"]), len(place))

    table = driver.Table(options.out / "scale.csv", COLUMNS, ("part", "setting", "measure"), position)
    table.drop(lambda row: row["part"] in parts and (row["part"], row["setting"]) not in place)
    for part, setting, arguments in planned:
        if part not in parts:
            continue
        row = {"part": part, "setting": setting} | driver.machine(options)
        result = driver.attempt(lambda p=part, a=arguments: {"figures": measure(p, a, options)})
        table.drop(lambda old, new=(part, setting): (old["part"], old["setting"]) == new)
        if result["status"] != "ok":
            table.add({**row, **result, "measure": ""})
        for name, value in result.get("figures", {}).items():
            table.add({**row, "status": "ok", "measure": name, "value": float(f"{value:.6g}")})


def main() -> None:
    """Be the measured process. Arguments: the part, its arguments as JSON, where to write the figures."""
    part, given, out = sys.argv[1:]
    worker.limit_cores()
    Path(out).write_text(json.dumps(MEASURE[part](**json.loads(given))), encoding="utf-8")
