"""Top-ten lists: each user's last ten ratings are hidden, and all unseen movies are ranked: lists.csv.

A model is tuned on the ten ratings before the last ten, then trained once on everything but the last ten. The
measured process (``main``) only writes tables of scores, so it needs NumPy and its library; the driver's side
(``lists``) turns them into lists and figures with ``course_utils.ranking``, the same for all.
"""

import itertools
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from . import worker
from .list_peers import BY_STARS, LIKED, ORDER, PEERS, PENALTIES, STARS, THREE, Library, Lister, table_of
from .worker import timed

MEASURED = ("ndcg_10", "recall_10", "ndcg_10_before", "fit_seconds", "peak_mb", "version")


def points(grid: dict[str, list]) -> list[dict[str, Any]]:
    """Return all settings of a grid; one without any for an empty grid."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


# --- Ours: notebook 08 ----------------------------------------------------------------------------


def popular(train: np.ndarray, shape: tuple[int, int], seed: int) -> Callable[[], np.ndarray]:
    """Score each movie by its number of ratings."""
    count = table_of(train, shape).sum(axis=0)
    return lambda: np.tile(count, (shape[0], 1))


def item_knn(train: np.ndarray, shape: tuple[int, int], seed: int) -> Callable[[], np.ndarray]:
    """Add up the cosines between a movie and those that the user has seen."""
    X = table_of(train, shape)
    count = X.sum(axis=0)
    cosine = X.T @ X / np.sqrt(np.maximum(np.outer(count, count), 1))
    np.fill_diagonal(cosine, 0)
    return lambda: X @ cosine


def our_ease(
    train: np.ndarray, shape: tuple[int, int], seed: int, l2: float, low: float = 1.0, age: float | None = None
) -> Callable[[], np.ndarray]:
    """Run EASE of ``course_utils.ranking``.

    Args:
        train, shape, seed: see ``Fit``.
        l2: the penalty.
        low: what 1 to 3 stars count in X.
        age: the n-th latest movie of a user counts 0.1 + 0.9 exp(-n / age) when scores are made; None: 1.
    """
    from course_utils.ranking import ease

    X = table_of(train, shape, low)
    weights = ease(X, l2)
    if age:
        first_from_end = len(train) - 1 - np.unique(train["user_id"][::-1], return_index=True)[1]
        n = np.repeat(first_from_end, np.unique(train["user_id"], return_counts=True)[1]) - np.arange(
            len(train)
        )
        X[train["user_id"], train["movie_id"]] *= 0.1 + 0.9 * np.exp(-n / age)
    return lambda: X @ weights


def two_towers(
    train: np.ndarray, shape: tuple[int, int], seed: int, l2: float, low: float = 1.0
) -> Callable[[], np.ndarray]:
    """Train the two towers of notebook 08, pointwise: K = 64, 60 epochs, batches of 32 users."""
    from course_utils.training import fit, set_seed

    import keras
    from keras import layers, ops

    def pointwise(row, scores):
        return ops.mean(ops.sum(row * ops.softplus(-scores) + (1 - row) * ops.softplus(scores), axis=1))

    set_seed(seed)
    user, penalty = keras.Input(shape=(), dtype="int32", name="user_id"), keras.regularizers.L2(l2)
    vector = layers.Embedding(shape[0], 64, embeddings_regularizer=penalty, name="P")(user)
    model = keras.Model(user, layers.Dense(shape[1], kernel_regularizer=penalty, name="Q")(vector))
    users, target = np.arange(shape[0]), table_of(train, shape, low)
    options = {"learning_rate": 0.01, "batch_size": 32, "loss": pointwise}
    fit(model, (users[1:], target[1:]), worker.epochs(60), **options)
    return lambda: model.predict(users, batch_size=shape[0], verbose=0)


# A model more: a function as above, and its row in LISTERS below. The networks of notebook 10 are not here yet.


OURS = Library("ours", ("neural-recommenders-course", "keras"))

# Eight settings each, where there is anything to set, and what the notebooks print, with their own settings.
LISTERS: dict[str, Lister] = {
    "popular": Lister(OURS, lambda: popular, "most popular"),
    "item-knn": Lister(OURS, lambda: item_knn, "item-kNN"),
    "ease": Lister(OURS, lambda: our_ease, "EASE", {"l2": PENALTIES}),
    "ease-stars": Lister(OURS, lambda: our_ease, "EASE", BY_STARS | {"l2": [200, 300, 400, 600]}, STARS),
    "ease-recency": Lister(OURS, lambda: our_ease, "EASE", {"age": [3, 5, 10, 20], "l2": [200, 400]}, ORDER),
    "towers": Lister(
        OURS,
        lambda: two_towers,
        "two towers",
        {"l2": [x / 10_000 for x in (3, 5, 7, 10, 14, 20, 30, 40)]},
        seeds=THREE,
    ),
    "towers-stars": Lister(
        OURS, lambda: two_towers, "two towers", BY_STARS | {"l2": [0.0005, 0.001, 0.0014, 0.002]}, STARS, THREE
    ),
    "ease-recency-10": Lister(
        OURS, lambda: our_ease, "EASE", {"age": [5], "l2": [400]}, ORDER, tuned_in="in notebook 10"
    ),
    "towers-08": Lister(
        OURS, lambda: two_towers, "two towers", {"l2": [0.001]}, seeds=THREE, tuned_in="in notebook 08"
    ),
    "towers-stars-08": Lister(
        OURS, lambda: two_towers, "two towers", {"low": [0.5], "l2": [0.001]}, STARS, THREE, "in notebook 08"
    ),
    **PEERS,
}


# --- The measured process -------------------------------------------------------------------------


def main() -> None:
    """Be the measured process: fit one model with each of some settings. Arguments: its name, a folder with
    job.json and train.npy. A setting that fails is noted; what is done is stored at once, for a time limit
    ends the process.
    """
    name, folder = sys.argv[1], Path(sys.argv[2])
    worker.limit_cores()
    job, train = json.loads((folder / "job.json").read_text("utf-8")), np.load(folder / "train.npy")
    lister, done = LISTERS[name], []
    fit = lister.make()
    versions = " ".join(f"{package} {version(package)}" for package in lister.library.packages)
    for number, settings in enumerate(job["settings"]):
        try:
            scores, seconds = timed(lambda s=settings: fit(train, tuple(job["shape"]), job["seed"], **s))
            np.save(folder / f"scores{number}.npy", np.asarray(scores(), "float32"))
            done.append({"fit_seconds": round(seconds, 3)})
        except Exception as problem:  # the other settings must go on
            done.append({"error": f"{type(problem).__name__}: {problem}"})
        peak = worker.peak_megabytes()
        report = {"done": done, "peak_mb": peak and round(peak, 1), "version": versions}
        report["python"] = platform.python_version()
        (folder / "measured.part").write_text(json.dumps(report), encoding="utf-8")
        os.replace(folder / "measured.part", folder / "measured.json")


# --- The driver's side ----------------------------------------------------------------------------


def lists(options: Any) -> None:
    """Tune every model, train it once for each seed, score its lists: lists.csv."""
    from course_utils.data import load_ratings, sizes
    from course_utils.ranking import hide_last

    from . import driver

    columns = ("name", "family", "setting", "chosen", "knows", "tuned_over", "seed", "status")
    order = {name: place for place, name in enumerate(LISTERS)}
    table = driver.Table(
        options.out / "lists.csv",
        (*columns, *MEASURED, *driver.MACHINE, "error"),
        ("name", "seed"),
        lambda row: (order.get(row["name"], len(order)), int(row["seed"] or 0)),
    )
    ratings = load_ratings()
    shape = sizes(ratings)
    ratings = ratings[ratings["user_id"] <= 100] if options.quick else ratings
    enough = ratings.groupby("user_id")["rating"].transform("size") > 20  # others would have nothing left
    before, last = hide_last(ratings[enough], skip=10), hide_last(ratings)
    for name in options.only or LISTERS:
        lister = LISTERS[name]
        table.drop(lambda row, name=name: row["name"] == name)
        row = {"name": name, "family": lister.library.family, "setting": lister.setting, "knows": lister.knows}
        row |= driver.machine(options)
        found = driver.attempt(lambda n=name: tune(n, before, shape, options))
        if found["status"] != "ok":
            table.add(row | found | {"seed": 0})
            continue
        settings = json.loads(found["chosen"])
        for seed in options.seeds or (lister.seeds[:1] if options.quick else lister.seeds):
            measured = driver.attempt(
                lambda n=name, s=seed, c=settings: run(n, last, shape, s, [c], options)[0]
            )
            table.add(row | found | {"seed": seed} | measured)


def tune(name: str, split: tuple, shape: tuple[int, int], options: Any) -> dict[str, Any]:
    """Return the setting with the best NDCG@10 on the ten ratings before the last ten, and over how many."""
    grid = points(LISTERS[name].grid)[: 2 if options.quick else None]
    tried = run(name, split, shape, 0, grid, options)
    scored = [one for one in tried if "ndcg_10" in one]
    for one in tried:
        print(f"{name}: {one.get('ndcg_10', one.get('error'))} {one['settings']}", flush=True)
    if not scored:
        raise RuntimeError(tried[-1]["error"])
    best = max(scored, key=lambda one: one["ndcg_10"])
    over = len(grid) if len(scored) == len(grid) else f"{len(scored)} of {len(grid)}"
    return {
        "chosen": json.dumps(best["settings"]),
        "tuned_over": LISTERS[name].tuned_in or over,
        "ndcg_10_before": best["ndcg_10"],
    }


def run(
    name: str, split: tuple, shape: tuple[int, int], seed: int, settings: list[dict], options: Any
) -> list[dict[str, Any]]:
    """Fit one model with some settings in a fresh process, score it on the hidden ratings of ``split``.

    What the process has finished within the time limit counts.

    Raises:
        Failure: when it has finished nothing.
    """
    from . import driver

    env = LISTERS[name].library.env
    python = driver.ready(env, options) if env else sys.executable
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        np.save(folder / "train.npy", np.array(split[0].to_records(index=False)))
        job = {"settings": settings, "shape": shape, "seed": seed}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        command = driver.command(python, "lists", name, str(folder))
        try:
            driver.execute(command, driver.environment(options), options.limit)
        except driver.Failure:
            if not (folder / "measured.json").exists():
                raise
        report = json.loads((folder / "measured.json").read_text("utf-8"))
        results = []
        for number, one in enumerate(report.pop("done")):
            if "error" not in one:
                try:
                    one |= score(np.load(folder / f"scores{number}.npy"), *split)
                except ValueError as problem:  # NaN: this setting diverged
                    one["error"] = f"ValueError: {problem}"
            results.append({"settings": settings[number], **report, **one})
    if len(settings) == 1 and "error" in results[0]:
        raise driver.Failure(driver.hide_paths(results[0]["error"])[:300])
    return results


def score(table: np.ndarray, train: Any, hidden: Any) -> dict[str, float]:
    """Return NDCG@10 and recall@10 of a table of scores: all unseen movies ranked, 4 or 5 stars count."""
    from course_utils.ranking import evaluate_lists, mark, recommend

    seen = mark(train, *table.shape)
    liked = hidden[hidden["rating"] >= LIKED].groupby("user_id")["movie_id"].agg(set).to_dict()
    found = evaluate_lists({user: recommend(user, table, seen) for user in liked}, liked)
    return {"ndcg_10": round(found["NDCG@10"], 5), "recall_10": round(found["recall@10"], 5)}
