"""The peers: other libraries, each as its users run it, with its defaults and with one tuned setting.

The driver runs ``main`` in the peer's own environment, where neither the course nor pandas may exist.
Tables are structured arrays: ``train["user_id"]``. Libraries are imported before the clock starts.
"""

import itertools
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from . import worker
from .worker import Model, Result, clipped_rmse, timed

Predict = Callable[[np.ndarray], np.ndarray]
Fit = Callable[..., tuple[Predict, int]]  # (train, seed, **settings) -> (predict, number of parameters)

# The package index offers newer ones; these versions were run together. Each list is one environment.
ENVIRONMENTS = {
    "surprise": ["scikit-surprise==1.1.5", "numpy==2.4.6", "scipy==1.17.1"],
    # LensKit needs torch. On Linux pip may choose a CUDA build of several GB: see README.md.
    "lenskit": ["torch==2.13.0", "lenskit==2025.8.1", "numpy==2.4.6", "scipy==1.17.1", "pandas==2.3.3"],
    "cornac": ["cornac==3.0.1", "numpy==2.4.6", "scipy==1.17.1"],
    # myFM imports pkg_resources, which setuptools 81 no longer has.
    "myfm": ["setuptools<81", "myfm==0.4.0", "numpy==2.4.6", "scipy==1.17.1", "pandas==3.1.1"],
    # For the lists. Cornac needs torch for VAECF only; RecBole uses names that NumPy 2 no longer has.
    "implicit": ["implicit==0.7.3", "numpy==2.4.6", "scipy==1.17.1"],
    "cornac-torch": ["torch==2.13.0", "cornac==3.0.1", "numpy==2.4.6", "scipy==1.17.1"],
    "recbole": ["torch==2.13.0", "recbole==1.2.1", "numpy==1.26.4", "scipy==1.17.1", "pandas==2.3.3"],
}

# Chosen on a validation part. `python -m benchmarks tune` goes through GRIDS again and says whether it agrees.
TUNED = {
    "surprise-svd": {"n_factors": 100, "n_epochs": 100, "reg_all": 0.1, "lr_all": 0.005},
    "lenskit-als": {"embedding_size": 100, "epochs": 10, "regularization": 0.15},
    "cornac-mf": {"k": 100, "max_iter": 50, "lambda_reg": 0.1},
}
GRIDS = {
    "surprise-svd": {
        "n_factors": [100, 200],
        "n_epochs": [100],
        "reg_all": [0.05, 0.1],
        "lr_all": [0.005, 0.01],
    },
    "lenskit-als": {"embedding_size": [25, 50, 100], "epochs": [10, 20], "regularization": [0.1, 0.15, 0.2]},
    "cornac-mf": {"k": [10, 50, 100], "max_iter": [20, 50, 100], "lambda_reg": [0.02, 0.05, 0.1]},
}


def counts(train: np.ndarray) -> tuple[int, int]:
    """Return the numbers of users and movies in the training set."""
    return len(np.unique(train["user_id"])), len(np.unique(train["movie_id"]))


# --- Surprise -------------------------------------------------------------------------------------


def surprise_fit(algorithm: str) -> Fit:
    """Return the fit function of one of Surprise's algorithms."""
    import surprise

    def fit(train: np.ndarray, seed: int, **settings: Any) -> tuple[Predict, int]:
        np.random.seed(seed)
        rows = [(user, movie, float(stars), None) for user, movie, stars in zip(*columns(train), strict=True)]
        trainset = surprise.Dataset(surprise.Reader(rating_scale=(1, 5))).construct_trainset(rows)
        if algorithm.startswith("SVD"):
            settings["random_state"] = seed
        else:
            settings["verbose"] = False
        if algorithm == "BaselineOnly" and "n_epochs" in settings:
            settings["bsl_options"] = {"n_epochs": settings.pop("n_epochs")}
        model = getattr(surprise, algorithm)(**settings).fit(trainset)

        def predict(test: np.ndarray) -> np.ndarray:
            return np.array([p.est for p in model.test(list(zip(*columns(test), strict=True)))])

        users, movies = counts(train)
        K = getattr(model, "n_factors", 0)
        parameters = 1 + users + movies + K * (users + movies)
        if algorithm == "SVDpp":
            parameters += K * movies  # the second vector of each movie
        if algorithm == "KNNBaseline":
            parameters += movies**2  # the table of similarities
        return predict, parameters

    return fit


def columns(table: np.ndarray) -> list[list[int]]:
    """Return user ids, movie ids and stars as lists of Python numbers."""
    return [table[name].tolist() for name in ("user_id", "movie_id", "rating")]


# --- LensKit --------------------------------------------------------------------------------------


def lenskit_fit(scorer: str) -> Fit:
    """Return the fit function of one of LensKit's rating predictors."""
    import pandas as pd
    from lenskit.als import BiasedMFScorer
    from lenskit.basic import BiasScorer
    from lenskit.batch import predict as batch_predict
    from lenskit.data import ItemListCollection, from_interactions_df
    from lenskit.pipeline import predict_pipeline
    from lenskit.training import TrainingOptions

    scorers = {"Bias": BiasScorer, "BiasedMF": BiasedMFScorer}

    def table(part: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame(part).rename(columns={"movie_id": "item_id"})[["user_id", "item_id", "rating"]]

    def fit(train: np.ndarray, seed: int, **settings: Any) -> tuple[Predict, int]:
        pipeline = predict_pipeline(scorers[scorer](**settings))
        pipeline.train(from_interactions_df(table(train)), TrainingOptions(rng=seed))

        def predict(test: np.ndarray) -> np.ndarray:
            wanted = table(test)
            asked = ItemListCollection.from_df(wanted[["user_id", "item_id"]], ["user_id"])
            found = batch_predict(pipeline, asked, n_jobs=1).to_df()
            return wanted.merge(found, on=["user_id", "item_id"], how="left")["score"].to_numpy()

        users, movies = counts(train)
        K = settings.get("embedding_size", 50) if scorer == "BiasedMF" else 0
        return predict, 1 + (1 + K) * (users + movies)

    return fit


# --- Cornac ---------------------------------------------------------------------------------------


def cornac_fit() -> Fit:
    """Return the fit function of Cornac's MF. With a seed it uses one thread, and repeats its digits."""
    import cornac

    def fit(train: np.ndarray, seed: int, **settings: Any) -> tuple[Predict, int]:
        data = cornac.data.Dataset.from_uir(list(zip(*columns(train), strict=True)), seed=seed)
        model = cornac.models.MF(seed=seed, **settings).fit(data)

        def predict(test: np.ndarray) -> np.ndarray:
            users, movies, _ = columns(test)
            known_user, known_movie = data.uid_map.get, data.iid_map.get
            # Numbers beyond the table stand for the unknown.
            return np.array(
                [
                    model.rate(known_user(user, data.num_users), known_movie(movie, data.num_items))
                    for user, movie in zip(users, movies, strict=True)
                ]
            )

        users, movies = counts(train)
        return predict, 1 + (1 + settings.get("k", 10)) * (users + movies)

    return fit


# --- myFM -----------------------------------------------------------------------------------------


def myfm_fit(*, history: bool = False, mirrored: bool = False, day: bool = False, ordinal: bool = False) -> Fit:
    """Return the fit function of a Bayesian factorization machine, rank 10.

    Args:
        history: add the movies that the user rated in the training set, each 1 / sqrt(their number) (SVD++).
        mirrored: add the users that rated the movie, likewise.
        day: add the day of the rating.
        ordinal: predict five ordered classes instead of a number.
    """
    import myfm
    from scipy import sparse

    def fit(train: np.ndarray, seed: int, n_iter: int = 512) -> tuple[Predict, int]:
        n_users, n_movies = (int(train[name].max()) + 1 for name in ("user_id", "movie_id"))
        seen = sparse.csr_matrix(
            (np.ones(len(train)), (train["user_id"], train["movie_id"])), shape=(n_users, n_movies)
        )
        user_block = block(seen, history)
        movie_block = block(seen.T.tocsr(), mirrored)
        days = np.unique(train["timestamp"] // 86_400)

        def features(part: np.ndarray) -> tuple[Any, list[Any]]:
            blocks = []
            for name, rows in (("user_id", user_block), ("movie_id", movie_block)):
                ids, place = np.unique(part[name], return_inverse=True)
                known = ids < rows.shape[0]
                # An id that training never saw has an empty row.
                chosen = sparse.diags(known.astype(float)) @ rows[np.where(known, ids, 0)]
                blocks.append(myfm.RelationBlock(place.ravel().tolist(), chosen.tocsr()))
            return (one_hot(part["timestamp"] // 86_400, days) if day else None), blocks

        def one_hot(values: np.ndarray, known: np.ndarray) -> sparse.csr_matrix:
            column = np.minimum(np.searchsorted(known, values), len(known) - 1)
            row = np.flatnonzero(known[column] == values)
            return sparse.csr_matrix((np.ones(len(row)), (row, column[row])), shape=(len(values), len(known)))

        sizes = [len(days)] if day else []
        sizes += [n_users, n_movies] if history else [n_users]
        sizes += [n_movies, n_users] if mirrored else [n_movies]
        X, blocks = features(train)
        model = (myfm.MyFMOrderedProbit if ordinal else myfm.MyFMRegressor)(rank=10, random_seed=seed)
        stars = train["rating"] - 1 if ordinal else train["rating"].astype("float64")
        model.fit(X, stars, X_rel=blocks, group_shapes=sizes, n_iter=n_iter, n_kept_samples=n_iter)

        def predict(test: np.ndarray) -> np.ndarray:
            X_test, test_blocks = features(test)
            workers = int(os.environ.get("BENCH_THREADS", 1))
            if ordinal:
                return model.predict_proba(X_test, test_blocks, n_workers=workers) @ np.arange(1, 6)
            return model.predict(X_test, test_blocks, n_workers=workers)

        return predict, (1 + 10) * sum(sizes) + 1  # of one of the n_iter samples that it averages over

    def block(seen: Any, with_history: bool) -> Any:
        """Return one row for each id: one-hot, and if asked for the row of ``seen`` over root n."""
        n = np.asarray(seen.sum(axis=1)).ravel()
        identity = sparse.diags((n > 0).astype(float))
        parts = [identity] + ([sparse.diags(1 / np.sqrt(np.maximum(n, 1))) @ seen] if with_history else [])
        return sparse.hstack(parts, format="csr")

    return fit


# --- The table of peers ---------------------------------------------------------------------------


def peer(
    make: Callable[[], Fit],
    settings: dict[str, Any],
    counter: str | None = None,
    full: int | None = None,
    grid: tuple[int, ...] = (),
) -> Callable[[np.ndarray, np.ndarray, int], Result]:
    """Return a function (train, test, seed) -> Result that also looks for the shortest run that is good enough.

    Args:
        make: imports the library and returns its fit function.
        settings: what differs from the library's defaults.
        counter: the name of the setting that counts epochs, for libraries that have one.
        full: its value in the row's run.
        grid: smaller values to try, in rising order, until a test RMSE of 0.90 is reached.
    """

    def run(train: np.ndarray, test: np.ndarray, seed: int) -> Result:
        fit = make()
        chosen = dict(settings)
        if counter and full:
            chosen[counter] = worker.epochs(full)
        (predict, parameters), fit_seconds = timed(lambda: fit(train, seed, **chosen))
        predictions, predict_seconds = timed(lambda: predict(test))
        peak, curve = worker.peak_megabytes(), []
        for number in grid if counter else ():
            if number >= chosen[counter]:
                break
            shorter = {**chosen, counter: number}
            (short_predict, _), seconds = timed(lambda shorter=shorter: fit(train, seed, **shorter))
            curve.append((seconds, clipped_rmse(test["rating"], short_predict(test))))
            if curve[-1][1] <= min(worker.THRESHOLDS.values()):
                break
        return Result(predictions, fit_seconds, predict_seconds, parameters, curve, peak)

    return run


def words(settings: dict[str, Any]) -> str:
    """Return settings as text."""
    return "tuned: " + ", ".join(f"{name}={value}" for name, value in settings.items())


KNN = {"sim_options": {"name": "pearson_baseline", "user_based": False}}
SURPRISE = {"family": "Surprise", "packages": ("scikit-surprise",), "env": "surprise"}
LENSKIT = {"family": "LensKit", "packages": ("lenskit",), "env": "lenskit"}
CORNAC = {"family": "Cornac", "packages": ("cornac",), "env": "cornac"}
MYFM = {"family": "myFM", "packages": ("myfm",), "env": "myfm"}
SAMPLES = ("n_iter", 512, (16, 32, 64, 128, 256))

MODELS: dict[str, Model] = {
    "surprise-baseline": Model(
        peer(lambda: surprise_fit("BaselineOnly"), {}, "n_epochs", 10, (1, 3, 5)),
        setting="BaselineOnly, defaults",
        **SURPRISE,
    ),
    "surprise-svd": Model(
        peer(lambda: surprise_fit("SVD"), {}, "n_epochs", 20, (5, 10, 15)), setting="SVD, defaults", **SURPRISE
    ),
    "surprise-svd-tuned": Model(
        peer(lambda: surprise_fit("SVD"), TUNED["surprise-svd"], "n_epochs", 100, (10, 20, 30, 40, 50, 60, 80)),
        setting="SVD, " + words(TUNED["surprise-svd"]),
        **SURPRISE,
    ),
    "surprise-svdpp": Model(
        peer(lambda: surprise_fit("SVDpp"), {"cache_ratings": True}, "n_epochs", 20, (5, 10, 15)),
        setting="SVDpp, defaults, cache_ratings=True",
        **SURPRISE,
    ),
    "surprise-knn": Model(
        peer(lambda: surprise_fit("KNNBaseline"), KNN),
        setting="KNNBaseline, between movies, pearson_baseline",
        **SURPRISE,
    ),
    "lenskit-bias": Model(peer(lambda: lenskit_fit("Bias"), {}), setting="Bias, defaults", **LENSKIT),
    "lenskit-als": Model(
        peer(lambda: lenskit_fit("BiasedMF"), {}, "epochs", 10, (1, 2, 3, 5)),
        setting="BiasedMF (ALS), defaults",
        **LENSKIT,
    ),
    "lenskit-als-tuned": Model(
        peer(
            lambda: lenskit_fit("BiasedMF"),
            TUNED["lenskit-als"],
            "epochs",
            TUNED["lenskit-als"]["epochs"],
            (1, 2, 3, 5, 10),
        ),
        setting="BiasedMF (ALS), " + words(TUNED["lenskit-als"]),
        **LENSKIT,
    ),
    "cornac-mf": Model(
        peer(cornac_fit, {}, "max_iter", 20, (5, 10, 15)), setting="MF, defaults, one thread", **CORNAC
    ),
    "cornac-mf-tuned": Model(
        peer(cornac_fit, TUNED["cornac-mf"], "max_iter", TUNED["cornac-mf"]["max_iter"], (10, 20, 30, 40)),
        setting="MF, one thread, " + words(TUNED["cornac-mf"]),
        **CORNAC,
    ),
    "myfm-mf": Model(
        peer(myfm_fit, {}, *SAMPLES), setting="user and movie one-hot, rank 10, 512 samples", **MYFM
    ),
    "myfm-svdpp": Model(
        peer(lambda: myfm_fit(history=True), {}, *SAMPLES), setting="SVD++, rank 10, 512 samples", **MYFM
    ),
    "myfm-both": Model(
        peer(lambda: myfm_fit(history=True, mirrored=True, ordinal=True), {}, *SAMPLES),
        setting="SVD++, mirrored history, ordered probit, rank 10, 512 samples",
        **MYFM,
    ),
    "myfm-all": Model(
        peer(lambda: myfm_fit(history=True, mirrored=True, day=True, ordinal=True), {}, *SAMPLES),
        setting="SVD++, mirrored history, day, ordered probit, rank 10, 512 samples",
        knows="+ time",
        **MYFM,
    ),
}

# Rows that say why there is no figure: name -> (family, reason).
NOT_RUN = {"fastai-collab": ("fastai", "fastai is optional here and needs a torch of its own")}

MAKERS: dict[str, Callable[[], Fit]] = {
    "surprise-svd": lambda: surprise_fit("SVD"),
    "lenskit-als": lambda: lenskit_fit("BiasedMF"),
    "cornac-mf": cornac_fit,
}


def tune(name: str, train: np.ndarray, validation: np.ndarray) -> dict[str, Any]:
    """Go through a grid and return the point with the lowest RMSE on the validation part.

    Every point is printed with its RMSE, or with the reason why it has none; the best one comes last, beside
    the one that is stored in ``TUNED``.

    Raises:
        RuntimeError: when every point failed.
    """
    fit, scores, reason = MAKERS[name](), {}, ""
    for values in itertools.product(*GRIDS[name].values()):
        settings = dict(zip(GRIDS[name], values, strict=True))
        try:
            predict, _ = fit(train, 0, **settings)
            scores[values] = clipped_rmse(validation["rating"], predict(validation))
        except Exception as problem:  # the other points must go on
            reason = f"{type(problem).__name__}: {problem}"
            print(f"{name}: failed {settings}: {reason}", flush=True)
        else:
            print(f"{name}: {scores[values]:.4f} {settings}", flush=True)
    if not scores:
        raise RuntimeError(f"No setting of {name} has a score. The last one ended with {reason}")
    best = dict(zip(GRIDS[name], min(scores, key=scores.get), strict=True))
    print(f"{name}: best {best}; stored {'the same' if best == TUNED[name] else TUNED[name]}")
    return best


def main() -> None:
    """Be the measured process. Arguments: those of ``worker.main``, or ``tune``, a name and a folder."""
    if sys.argv[1] == "tune":
        worker.limit_cores()
        tune(sys.argv[2], *worker.load_split(sys.argv[3]))
    else:
        worker.main(MODELS)
