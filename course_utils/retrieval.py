"""Two stages: how much does the first find, and what does the second make of it? (notebook 09)

As everywhere in the course, movie ids are row numbers from 1, and column 0 belongs to no movie.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from course_utils.checks import whole_number
from course_utils.ranking import fold_in, gain_of_users, ndcg_of_users

import keras
import numpy as np
import pandas as pd


def candidates(scores: np.ndarray, seen: np.ndarray, n: int = 100) -> np.ndarray:
    """Return the n unseen movies with the highest scores for each user, in no order (from notebook 09).

    >>> candidates(np.array([[0, 0.9, 0.2, 0.5]]), np.array([[False, True, False, False]]), n=1)
    array([[3]])

    Args:
        scores: shape (n_users, n_items).
        seen: the same shape, True where the user knows the movie.
        n: how many, below the number of columns.

    Returns:
        Ids of shape (n_users, n). Who has fewer than n unseen movies gets seen ones, too.

    Raises:
        ValueError: for tables of different shapes, NaN among the scores, and an n that is too large.
    """
    if np.ndim(scores) != 2 or np.shape(scores) != np.shape(seen):
        raise ValueError(
            f"scores and seen must be tables of one shape, not {np.shape(scores)} and {np.shape(seen)}."
        )
    if np.isnan(scores).any():
        raise ValueError("scores holds NaN: a training that diverged leaves such values.")
    if whole_number(n, "n") >= np.shape(scores)[1]:
        raise ValueError(f"n={n} is too large: there are {np.shape(scores)[1] - 1} movies.")
    # A finite floor for what is seen, and a lower one for column 0, so that it is never among the first n.
    hidden = np.where(seen, -np.finfo("float64").max, scores)
    hidden[:, 0] = -np.inf
    return np.argpartition(-hidden, n - 1, axis=1)[:, :n]


def recall_of_users(scores: np.ndarray, seen: np.ndarray, liked: np.ndarray, n: int = 100) -> np.ndarray:
    """Return, for each user who liked a hidden movie, which share of these is among n candidates (notebook 09).

    Args:
        scores: shape (n_users, n_items).
        seen: the same shape, True where the user knows the movie.
        liked: the same shape, True where a hidden movie was liked.
        n: how many candidates.

    Returns:
        One number for each row of ``liked`` that has a True, in the order of the rows.

    Raises:
        ValueError: when nobody liked anything, and what ``candidates`` refuses.
    """
    users = np.asarray(liked).any(axis=1)
    if not users.any():
        raise ValueError("No user liked a hidden movie: there is nothing to find.")
    hits = np.take_along_axis(np.asarray(liked) & ~np.asarray(seen), candidates(scores, seen, n), axis=1)
    return hits[users].sum(axis=1) / np.asarray(liked)[users].sum(axis=1)


def rank_candidates(first: np.ndarray, second: np.ndarray, seen: np.ndarray, n: int = 100) -> np.ndarray:
    """Return the second stage's scores for the candidates of the first, else minus infinity (notebook 09).

    Args:
        first: the scores that pick the candidates, shape (n_users, n_items).
        second: those that put them in order, the same shape.
        seen: the same shape, True where the user knows the movie.
        n: how many candidates.
    """
    ranked = np.full(np.shape(second), -np.inf)
    picked = candidates(first, seen, n)
    np.put_along_axis(ranked, picked, np.take_along_axis(np.asarray(second), picked, axis=1), axis=1)
    return ranked


def compare(
    models: Mapping[str, tuple[str, np.ndarray]], seen: np.ndarray, liked: np.ndarray, than: str = ""
) -> pd.DataFrame:
    """Return a table of models: what each knows, how much it finds, and how good its lists are (notebook 09).

    Args:
        models: name -> (what it knows, its scores of shape (n_users, n_items)).
        seen: the same shape, True where the user knows the movie.
        liked: the same shape, True where a hidden movie was liked.
        than: a name in ``models``. With it, the table also says how much NDCG@10 each model gains on that one,
            with the 95 % interval over users (``gain_of_users`` of notebook 08).

    Returns:
        One row a model: knows, recall@100, NDCG@10, and how many users have seen the median film of the lists.
    """
    users, known, ndcg = np.asarray(liked).any(axis=1), np.asarray(seen).sum(axis=0), {}
    lines: dict[str, dict[str, Any]] = {}
    for name, (knows, scores) in models.items():
        ndcg[name] = ndcg_of_users(scores, seen, liked, 10)
        lines[name] = {
            "knows": knows,
            "recall@100": recall_of_users(scores, seen, liked, 100).mean(),
            "NDCG@10": ndcg[name].mean(),
            "median ratings": np.median(known[candidates(scores, seen, 10)[users]]),
        }
    for name in models if than else ():
        won, low, high = gain_of_users(ndcg[than], ndcg[name])
        lines[name] |= {"gain": won, "from": low, "to": high}
    return pd.DataFrame.from_dict(lines, orient="index")


def vectors(towers: keras.Model, n_users: int, n_items: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors of all users, nothing left out of their histories, and of all movies (notebook 09).

    Args:
        towers: a network with the inputs ``user_id`` and ``movie_id``, whose outputs are the two vectors. The
            user's tower leaves the movie out of the history; movie 0 is no movie.
        n_users: rows of the first result.
        n_items: rows of the second result.
    """
    users = {"user_id": np.arange(n_users), "movie_id": np.zeros(n_users, "int32")}
    movies = {"user_id": np.zeros(n_items, "int32"), "movie_id": np.arange(n_items)}
    P = towers.predict(users, batch_size=n_users, verbose=0)[0]
    return P, towers.predict(movies, batch_size=n_items, verbose=0)[1]


def milliseconds(work: Callable[[], Any], repeat: int = 5) -> float:
    """Return the median time that ``work`` takes, after one call that does not count (notebook 09)."""
    work()
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds))


def fold_in_all(
    part: pd.DataFrame, Q: np.ndarray, b_i: np.ndarray, mu: float, n_users: int, *, l2: float, bias_l2: float
) -> np.ndarray:
    """Return predictions of all stars, each user computed from their ratings in ``part`` (notebook 09).

    Args:
        part: user_id, movie_id, rating. Who has none gets ``mu + b_i``.
        Q: movie vectors, shape (n_items, K).
        b_i: movie biases, shape (n_items, 1).
        mu: the constant of the model.
        n_users: rows of the result.
        l2: penalty on the vector, see ``fold_in`` of notebook 08.
        bias_l2: penalty on the bias.
    """
    stars = np.tile(mu + np.ravel(b_i), (n_users, 1)).astype("float64")
    for user_id, rows in part.groupby("user_id"):
        profile = dict(zip(rows["movie_id"], rows["rating"], strict=True))
        p, b = fold_in(profile, Q, b_i, mu, l2=l2, bias_l2=bias_l2)
        stars[user_id] += b + Q @ p
    return stars
