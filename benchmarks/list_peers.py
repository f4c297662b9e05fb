"""The makers of top-ten lists in other libraries. They run in environments of their own: see ``peers.py``."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import worker

# (train, shape, seed, **settings) -> a function that returns the scores, shape (n_users, n_items). The rows of
# train are sorted by user, then from old to new.
Fit = Callable[..., Callable[[], np.ndarray]]
WHO, STARS, ORDER = "who saw what", "+ stars", "+ order"
LIKED = 4  # stars


class Library(NamedTuple):
    """Where models come from."""

    family: str
    packages: tuple[str, ...]  # whose versions to report
    env: str = ""  # name of its environment in peers.py; "" is the course's own


@dataclass(frozen=True)
class Lister:
    """One model of the benchmark of lists."""

    library: Library
    make: Callable[[], Fit]  # imports the library and returns its fit function
    setting: str  # in words
    grid: dict[str, list] = field(default_factory=dict)
    knows: str = WHO
    seeds: tuple[int, ...] = (0,)  # one, where nothing is left to chance
    tuned_in: str = ""  # the notebook that chose the setting, where none is searched for here


def table_of(train: np.ndarray, shape: tuple[int, int], low: float = 1.0) -> np.ndarray:
    """Return users by movies: 1 for a movie that the user liked, ``low`` for others that she saw, else 0."""
    table = np.zeros(shape, "float32")
    table[train["user_id"], train["movie_id"]] = np.where(train["rating"] >= LIKED, 1, low)
    return table


# --- implicit -------------------------------------------------------------------------------------


def implicit_fit(name: str) -> Fit:
    """Return the fit function of a factorization of implicit; 1 to 3 stars count ``low``."""
    import implicit.als
    import implicit.bpr
    from scipy import sparse

    def fit(train, shape, seed, low=1.0, **settings):
        options = {
            "use_gpu": False,
            "num_threads": int(os.environ.get("BENCH_THREADS", 1)),
            "random_state": seed,
        }
        maker = {"als": implicit.als.AlternatingLeastSquares, "bpr": implicit.bpr.BayesianPersonalizedRanking}
        model = maker[name](**settings, **options)
        model.fit(sparse.csr_matrix(table_of(train, shape, low)), show_progress=False)
        return lambda: model.user_factors @ model.item_factors.T  # BPR keeps its biases in a last column

    return fit


# --- LensKit --------------------------------------------------------------------------------------


def lenskit_fit(name: str) -> Fit:
    """Return the fit function of one of LensKit's scorers."""
    import pandas as pd
    from lenskit.als import BiasedMFScorer, ImplicitMFScorer
    from lenskit.data import ItemList, RecQuery, from_interactions_df
    from lenskit.knn import EASEScorer, ItemKNNScorer
    from lenskit.training import TrainingOptions

    makers = {"knn": ItemKNNScorer, "ease": EASEScorer, "implicit": ImplicitMFScorer, "biased": BiasedMFScorer}

    def fit(train, shape, seed, **settings):
        frame = pd.DataFrame(train).rename(columns={"movie_id": "item_id"})
        data = from_interactions_df(frame[["user_id", "item_id", "rating"]])
        scorer = makers[name](**settings)
        scorer.train(data, TrainingOptions(rng=seed))

        def scores():
            table, items = np.full(shape, -np.inf, "float32"), data.items.ids()
            for user in np.unique(train["user_id"]):
                query = RecQuery(user_id=user, history_items=data.user_row(user))
                found = scorer(query, ItemList(item_ids=items)).scores("numpy")
                table[user, items] = np.where(np.isnan(found), -np.inf, found)  # NaN: it has no score for it
            return table

        return scores

    return fit


# --- Cornac ---------------------------------------------------------------------------------------


def cornac_fit(name: str) -> Fit:
    """Return the fit function of one of Cornac's models. With a seed its BPR uses one thread."""
    import cornac

    def fit(train, shape, seed, low=1.0, **settings):
        if name == "VAECF":
            settings["n_epochs"] = worker.epochs(settings["n_epochs"])
        values = np.where(train["rating"] >= LIKED, 1.0, low).tolist()
        rows = list(zip(train["user_id"].tolist(), train["movie_id"].tolist(), values, strict=True))
        data = cornac.data.Dataset.from_uir(rows, seed=seed)
        model = getattr(cornac.models, name)(seed=seed, verbose=False, **settings).fit(data)

        def scores():
            table = np.full(shape, -np.inf, "float32")
            movies = list(data.iid_map)
            for user, number in data.uid_map.items():
                table[user, movies] = np.ravel(model.score(number))
            return table

        return scores

    return fit


# --- RecBole --------------------------------------------------------------------------------------


def recbole_fit(name: str) -> Fit:
    """Return the fit function of one of RecBole's models: all rows are for training, no validation inside."""
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset
    from recbole.data.utils import get_dataloader
    from recbole.utils import get_model, get_trainer, init_seed

    def fit(train, shape, seed, **settings):
        with tempfile.TemporaryDirectory() as folder:
            inter = Path(folder, "ratings", "ratings.inter")
            inter.parent.mkdir()
            rows = zip(train["user_id"].tolist(), train["movie_id"].tolist(), range(len(train)), strict=True)
            lines = [
                "user_id:token\titem_id:token\ttimestamp:float",
                *("\t".join(map(str, row)) for row in rows),
            ]
            inter.write_text("\n".join(lines), encoding="utf-8")
            split = {"split": {"RS": [1.0, 0.0, 0.0]}, "order": "TO", "group_by": "user", "mode": "full"}
            options = {"data_path": folder, "checkpoint_dir": folder, "eval_args": split, "use_gpu": False}
            options |= {"train_neg_sample_args": None, "show_progress": False, "seed": seed, "state": "ERROR"}
            options["load_col"] = {"inter": ["user_id", "item_id", "timestamp"]}
            if "epochs" in settings:
                settings["epochs"] = worker.epochs(settings["epochs"])
            config = Config(model=name, dataset="ratings", config_dict=options | settings)
            init_seed(seed, True)
            data = create_dataset(config)
            users, items = data.field2token_id["user_id"], data.field2token_id["item_id"]
            if name == "EASE":
                data._change_feat_format()
                model = get_model(name)(config, data)
            else:
                part = data.build()[0]
                model = get_model(name)(config, part)
                loader = get_dataloader(config, "train")(config, part, None, shuffle=True)
                get_trainer(config["MODEL_TYPE"], name)(config, model).fit(loader, saved=False)
        model.eval()

        def scores():
            table = np.full(shape, -np.inf, "float32")
            movies = [int(token) for token in items if token != "[PAD]"]
            longest = config["MAX_ITEM_LIST_LENGTH"] or 1
            for user in np.unique(train["user_id"]):
                seen = [items[str(movie)] for movie in train["movie_id"][train["user_id"] == user]][-longest:]
                query = {
                    "user_id": torch.tensor([users[str(user)]]),
                    "item_id_list": torch.tensor([seen + [0] * (longest - len(seen))]),
                    "item_length": torch.tensor([len(seen)]),
                }
                with torch.no_grad():
                    found = np.ravel(model.full_sort_predict(query))
                table[user, movies] = found[[items[str(movie)] for movie in movies]]
            return table

        return scores

    return fit


# --- The table ------------------------------------------------------------------------------------

IMPLICIT = Library("implicit", ("implicit",), "implicit")
LENSKIT = Library("LensKit", ("lenskit",), "lenskit")
CORNAC = Library("Cornac", ("cornac",), "cornac")
CORNAC_TORCH = Library("Cornac", ("cornac", "torch"), "cornac-torch")
RECBOLE = Library("RecBole", ("recbole", "torch"), "recbole")
THREE = (0, 1, 2)
PENALTIES = [50, 100, 200, 300, 400, 600, 800, 1200]
BY_STARS = {"low": [0.25, 0.5]}  # what a film with 1 to 3 stars counts; one with 4 or 5 counts 1

# Eight settings each, set before any figure was seen. What no grid names is the library's.
PEERS: dict[str, Lister] = {
    "implicit-als": Lister(
        IMPLICIT,
        lambda: implicit_fit("als"),
        "ALS",
        {"factors": [32, 64], "regularization": [1, 30], "alpha": [1, 5]},
        seeds=THREE,
    ),
    "implicit-als-stars": Lister(
        IMPLICIT,
        lambda: implicit_fit("als"),
        "ALS",
        BY_STARS | {"factors": [64], "regularization": [1, 30], "alpha": [2, 10]},
        STARS,
        THREE,
    ),
    "implicit-bpr": Lister(
        IMPLICIT,
        lambda: implicit_fit("bpr"),
        "BPR",
        {"factors": [32, 64], "learning_rate": [0.01, 0.05], "regularization": [0.01, 0.05]},
        seeds=THREE,
    ),
    "lenskit-knn": Lister(
        LENSKIT,
        lambda: lenskit_fit("knn"),
        "item-kNN",
        {"feedback": ["implicit"], "max_nbrs": [10, 20, 50, 100, 200, 400, 800, 1600]},
    ),
    "lenskit-ease": Lister(LENSKIT, lambda: lenskit_fit("ease"), "EASE", {"regularization": PENALTIES}),
    "lenskit-implicit": Lister(
        LENSKIT,
        lambda: lenskit_fit("implicit"),
        "ImplicitMF (ALS)",
        {"embedding_size": [32, 64], "weight": [5, 40], "regularization": [0.1, 10]},
        seeds=THREE,
    ),
    "lenskit-biased": Lister(
        LENSKIT,
        lambda: lenskit_fit("biased"),
        "BiasedMF (ALS), predicts stars",
        {"embedding_size": [25, 100], "regularization": [0.05, 0.1, 0.15, 0.2]},
        STARS,
        THREE,
    ),
    "cornac-bpr": Lister(
        CORNAC,
        lambda: cornac_fit("BPR"),
        "BPR, one thread",
        {"k": [32, 64], "learning_rate": [0.01, 0.05], "lambda_reg": [0.001, 0.01]},
        seeds=THREE,
    ),
    "cornac-ease": Lister(
        CORNAC, lambda: cornac_fit("EASE"), "EASE", {"posB": [True, False], "lamb": [100, 200, 400, 800]}
    ),
    "cornac-ease-stars": Lister(
        CORNAC,
        lambda: cornac_fit("EASE"),
        "EASE",
        BY_STARS | {"posB": [False], "lamb": [200, 300, 400, 600]},
        STARS,
    ),
    "cornac-vaecf": Lister(
        CORNAC_TORCH,
        lambda: cornac_fit("VAECF"),
        "VAECF",
        {"autoencoder_structure": [[200]], "k": [32, 64], "beta": [0.1, 1.0], "n_epochs": [50, 100]},
        seeds=THREE,
    ),
    "recbole-ease": Lister(RECBOLE, lambda: recbole_fit("EASE"), "EASE", {"reg_weight": PENALTIES}),
    "recbole-sasrec": Lister(
        RECBOLE,
        lambda: recbole_fit("SASRec"),
        "SASRec",
        {
            **{"MAX_ITEM_LIST_LENGTH": [20], "train_batch_size": [512], "learning_rate": [0.003]},
            **{"hidden_dropout_prob": [0.2, 0.5], "n_layers": [1, 2], "epochs": [8, 16]},
        },
        ORDER,
        THREE,
    ),
}
