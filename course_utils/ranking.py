"""From scores to a list, and how good is the list? (notebook 08, used again in 09 and 10)

Everything here is NumPy and pandas. Movie ids are row numbers, as in every table of the course: ids begin at 1,
and row 0 is unused, so movie 0 is never recommended.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from course_utils.checks import known_id, whole_number

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike


def top_n(scores: ArrayLike, seen: Iterable[int] = (), n: int = 10) -> np.ndarray:
    """Return the ids of the n movies with the highest scores that are not in ``seen`` (built in notebook 08).

    >>> top_n([0, 0.2, 0.9, 0.5], seen=[2], n=2)
    array([3, 1])

    Args:
        scores: one score a movie, shape (n_items,): entry i belongs to movie i, entry 0 to no movie.
        seen: ids to leave out.
        n: length of the list. With fewer unseen movies the list is shorter; it is empty for somebody who has
            seen everything.

    Returns:
        The ids, best first; among equal scores the lower id comes first.

    Raises:
        ValueError: for n below 1 or above the number of movies, an unknown id in ``seen``, and scores that are
            no row of numbers. (Minus infinity is allowed, and means: never.)
    """
    scores = np.array(scores, dtype="float64")
    if scores.ndim != 1 or len(scores) < 2:
        raise ValueError(f"scores must be one row, entry i for movie i, but the shape is {scores.shape}.")
    if np.isnan(scores[1:]).any():
        raise ValueError("scores holds NaN: a training that diverged leaves such values.")
    n_movies = len(scores) - 1
    if whole_number(n, "n") > n_movies:
        raise ValueError(f"n={n} is more than the catalogue has: {n_movies} movies.")
    for movie_id in seen:
        scores[known_id(movie_id, n_movies, "movie")] = -np.inf
    scores[0] = -np.inf
    order = np.argsort(-scores, kind="stable")[:n]  # stable: among equal scores the lower id comes first
    return order[scores[order] > -np.inf]


def recommend(user_id: int, scores: np.ndarray, seen: np.ndarray, n: int = 10) -> np.ndarray:
    """Return the list of one user from the table of all scores (introduced in notebook 08).

    Args:
        user_id: a row of the table, from 1.
        scores: shape (n_users, n_items), as ``P @ Q.T`` plus biases gives it.
        seen: the same shape, True where the user knows the movie.
        n: length of the list, see ``top_n``.

    Raises:
        ValueError: for an unknown user, tables of different shapes, and what ``top_n`` refuses.
    """
    if np.ndim(scores) != 2 or np.shape(scores) != np.shape(seen):
        raise ValueError(
            f"scores and seen must be tables of one shape, not {np.shape(scores)} and {np.shape(seen)}."
        )
    row = known_id(user_id, len(scores) - 1, "user")
    return top_n(scores[row], np.flatnonzero(seen[row][1:]) + 1, n)


def hide_last(ratings: pd.DataFrame, n: int = 10, skip: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split off each user's n most recent ratings: what a list should have foreseen (built in notebook 08).

    Args:
        ratings: the table of notebook 01. Ratings of the same second keep the order of the file.
        n: how many ratings of each user are hidden.
        skip: leave out this many of the most recent ones first, for choices: with ``skip=10``, the ten before
            the last ten are hidden, and nobody looks at the last ten.

    Returns:
        What there is to learn from, and what is hidden; both sorted by user and time.

    Raises:
        ValueError: for n below 1 or skip below 0, and when a user has nothing left to learn from.
    """
    whole_number(n, "n")
    if skip < 0:
        raise ValueError(f"skip={skip} must be 0 or more.")
    ordered = ratings.sort_values(["user_id", "timestamp"], kind="stable")
    from_the_end = ordered.groupby("user_id").cumcount(ascending=False)
    old = ordered[from_the_end >= n + skip]
    if short := set(ordered["user_id"]) - set(old["user_id"]):
        raise ValueError(f"User {min(short)} has {n + skip} ratings or fewer: nothing is left to learn from.")
    return old, ordered[(from_the_end < n + skip) & (from_the_end >= skip)]


def mark(pairs: pd.DataFrame, n_users: int, n_items: int) -> np.ndarray:
    """Return a table (n_users, n_items), True where ``pairs`` has user and movie (from notebook 08 on)."""
    marked = np.zeros((n_users, n_items), dtype=bool)
    marked[pairs["user_id"], pairs["movie_id"]] = True
    return marked


def ndcg_of_users(scores: np.ndarray, seen: np.ndarray, relevant: np.ndarray, k: int = 10) -> np.ndarray:
    """Return NDCG@k of each user who has something relevant, all unseen movies ranked (notebook 08).

    The same as ``ndcg_at_k`` of each ``recommend``, for all users at once.

    Args:
        scores: shape (n_users, n_items); row 0 and column 0 are unused.
        seen: the same shape, True where the user knows the movie.
        relevant: the same shape, True where a hidden movie was liked.
        k: how many places to look at.

    Returns:
        One number for each row of ``relevant`` that has a True, in the order of the rows.

    Raises:
        ValueError: for tables of different shapes, NaN among the scores, and nothing relevant.
    """
    shapes = {np.shape(table) for table in (scores, seen, relevant)}
    if len(shapes) > 1 or np.ndim(scores) != 2:
        raise ValueError(f"scores, seen and relevant must be tables of one shape, not {sorted(shapes)}.")
    if np.isnan(scores).any():
        raise ValueError("scores holds NaN: a training that diverged leaves such values.")
    users = np.flatnonzero(relevant.any(axis=1))
    if not len(users):
        raise ValueError("No user has a relevant movie: there is nothing to score.")
    open_scores = np.where(seen[users], -np.inf, scores[users])
    open_scores[:, 0] = -np.inf
    places = np.argsort(-open_scores, axis=1, kind="stable")[:, : whole_number(k, "k")]
    hits = np.take_along_axis(relevant[users] & ~seen[users], places, axis=1)
    worth = 1 / np.log2(np.arange(2, k + 2))
    best = np.cumsum(worth)[np.minimum(relevant[users].sum(axis=1), k) - 1]
    return (hits * worth[: hits.shape[1]]).sum(axis=1) / best


def gain_of_users(before: np.ndarray, after: np.ndarray, draws: int = 1000) -> tuple[float, float, float]:
    """Return the mean of ``after - before`` over users, and its 95 % interval by the bootstrap (notebook 08).

    Args:
        before: one score a user, for instance from ``ndcg_of_users``.
        after: those of another model, for the same users in the same order.
        draws: how often as many users are drawn, with replacement.

    Raises:
        ValueError: when the two are no rows of equal length.
    """
    before, after = np.asarray(before, "float64"), np.asarray(after, "float64")
    if before.ndim != 1 or before.shape != after.shape:
        raise ValueError(f"before and after must be rows of one length, not {before.shape}, {after.shape}.")
    difference = after - before
    drawn = np.random.default_rng(0).integers(0, len(difference), (draws, len(difference)))
    low, high = np.percentile(difference[drawn].mean(axis=1), [2.5, 97.5])
    return float(difference.mean()), float(low), float(high)


def ease(X: np.ndarray, l2: float) -> np.ndarray:
    """Return the movie-to-movie weights of EASE; ``X @ ease(X, l2)`` are the scores (built in notebook 08).

    The least-squares fit of X by X with a penalty, where no movie may explain itself. Shape (n_items, n_items).
    Source: H. Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", The Web Conference 2019.

    Args:
        X: what users did, shape (n_users, n_items), for instance 1 for each movie that a user has seen.
        l2: the penalty, above 0.

    Raises:
        ValueError: for a penalty that is not above 0.
    """
    if not l2 > 0:
        raise ValueError(f"l2 must be above 0, but it is {l2}.")
    together = X.T @ X + l2 * np.eye(X.shape[1], dtype=X.dtype)
    inverse = np.linalg.inv(together)
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


def varied_list(scores: np.ndarray, alike: np.ndarray, weight: float, n: int = 10) -> np.ndarray:
    """Choose n of some candidates one by one: a good score, and unlike what was chosen before (notebook 08).

    Each place goes to the candidate with the highest ``score - weight * (largest likeness to a chosen one)``,
    with the scores stretched to 0 .. 1. Source: J. Carbonell and J. Goldstein, "The Use of MMR,
    Diversity-Based Reranking for Reordering Documents and Producing Summaries", SIGIR 1998.

    Args:
        scores: one score a candidate, best first, shape (m,).
        alike: how alike two candidates are, shape (m, m).
        weight: 0 keeps the order of the scores.
        n: how many to choose.

    Returns:
        The places of the chosen candidates in ``scores``, in their new order.

    Raises:
        ValueError: for shapes that do not fit, and fewer than n candidates.
    """
    scores, m = np.asarray(scores, "float64"), len(scores)
    if np.shape(alike) != (m, m) or whole_number(n, "n") > m:
        raise ValueError(
            f"{n} of {m} candidates need a table of likeness of ({m}, {m}), not {np.shape(alike)}."
        )
    value = (scores - scores.min()) / max(np.ptp(scores), 1e-12)
    worst, chosen = np.zeros(m), []
    for _ in range(n):
        open_value = value - weight * worst
        open_value[chosen] = -np.inf
        chosen.append(int(open_value.argmax()))
        worst = np.maximum(worst, alike[chosen[-1]])
    return np.array(chosen)


def precision_at_k(ranked: Sequence[int], relevant: Collection[int], k: int) -> float:
    """Share of the first k places that hold a relevant movie; an empty place is a miss (notebook 08)."""
    return float(_hits(ranked, relevant, k).sum() / k)


def recall_at_k(ranked: Sequence[int], relevant: Collection[int], k: int) -> float:
    """Share of the relevant movies that are among the first k, of all there are (notebook 08)."""
    return float(_hits(ranked, relevant, k).sum() / len(set(relevant)))


def hit_rate(ranked: Sequence[int], relevant: Collection[int], k: int) -> float:
    """1 when a relevant movie is among the first k, else 0; the mean over users is the rate (notebook 08)."""
    return float(_hits(ranked, relevant, k).any())


def ndcg_at_k(ranked: Sequence[int], relevant: Collection[int], k: int) -> float:
    """Normalized discounted cumulative gain: a hit at place j counts 1 / log2(j + 1) (notebook 08).

    The sum is divided by that of the best list, which gets 1.

    Source: Järvelin and Kekäläinen, "Cumulated Gain-Based Evaluation of IR Techniques", ACM TOIS 20(4), 2002.
    (Their discount is log2(j) from the second place on; log2(j + 1) is what most libraries use today.)
    With relevance 0 or 1 it agrees with scikit-learn's ``ndcg_score`` and, for that discount, with LensKit.

    Args:
        ranked: movie ids, best first; fewer than k are allowed.
        relevant: the ids that count as hits, at least one.
        k: how many places to look at, at least 1.

    Raises:
        ValueError: (all four metrics) for k below 1, nothing relevant, and a movie that is listed twice.
    """
    hits = _hits(ranked, relevant, k)
    discount = 1 / np.log2(np.arange(2, k + 2))
    return float((hits * discount[: len(hits)]).sum() / discount[: len(set(relevant))].sum())


def evaluate_lists(
    lists: Mapping[int, Sequence[int]], relevant: Mapping[int, Collection[int]], k: int = 10
) -> dict[str, float]:
    """Return the four metrics, each the mean over users with something relevant (used in notebook 08).

    Args:
        lists: user id -> movie ids, best first.
        relevant: user id -> the movies that count as hits.
        k: how many places to look at.

    Raises:
        ValueError: when a user has no list, nobody has anything relevant, and what the metrics refuse.
    """
    users = [user for user, movies in relevant.items() if len(movies)]
    if not users:
        raise ValueError("No user has a relevant movie: there is nothing to score.")
    if missing := [user for user in users if user not in lists]:
        raise ValueError(f"User {missing[0]} has relevant movies, but no list.")
    metrics = {"NDCG": ndcg_at_k, "precision": precision_at_k, "recall": recall_at_k, "hit rate": hit_rate}
    return {
        f"{name}@{k}": float(np.mean([metric(lists[user], relevant[user], k) for user in users]))
        for name, metric in metrics.items()
    }


def coverage(lists: Iterable[Sequence[int]], n_movies: int) -> float:
    """Share of the catalogue of ``n_movies`` that is in at least one list (introduced in notebook 08)."""
    listed = {int(movie) for ranked in lists for movie in ranked}
    if len(listed) > whole_number(n_movies, "n_movies"):
        raise ValueError(f"The lists hold {len(listed)} movies, the catalogue only {n_movies}.")
    return len(listed) / n_movies


def fold_in(
    stars: Mapping[int, float], Q: np.ndarray, b_i: np.ndarray, mu: float, l2: float, bias_l2: float
) -> tuple[np.ndarray, float]:
    """Compute the vector and the bias of a new user from a few ratings, without training (notebook 09).

    >>> p, b = fold_in({1: 5}, Q=np.array([[0.0], [2.0]]), b_i=np.array([0.0, 0.5]), mu=3.5, l2=1, bias_l2=1)
    >>> p.round(3), round(b, 3)
    (array([0.333]), 0.167)

    The movies keep their vectors. What is left is a regularized least-squares problem with K + 1 unknowns,
    whose solution is known: minimize, over the user's n ratings, the mean squared error plus
    ``l2 * |p|^2 + bias_l2 * b^2``. This is the loss of the training in notebook 04, seen by one user.

    Args:
        stars: movie id -> rating.
        Q: movie vectors, shape (n_items, K).
        b_i: movie biases, shape (n_items,) or (n_items, 1).
        mu: the constant of the model.
        l2: penalty on the vector, above 0.
        bias_l2: penalty on the bias, above 0.

    Returns:
        p of shape (K,), and b. The user's predictions are ``mu + b + b_i + Q @ p``.

    Raises:
        ValueError: for an empty profile, an unknown movie, ratings that are no numbers, and penalties that are
            not above 0 (fewer ratings than unknowns have no single solution without them).
    """
    if not stars:
        raise ValueError("The profile is empty: rate at least one movie.")
    if not (l2 > 0 and bias_l2 > 0):
        raise ValueError(f"l2 and bias_l2 must be above 0, but they are {l2} and {bias_l2}.")
    rows = [known_id(movie_id, len(Q) - 1, "movie") for movie_id in stars]
    left = np.array(list(stars.values()), "float64") - mu - np.ravel(b_i)[rows]
    if not np.isfinite(left).all():
        raise ValueError("Ratings must be numbers, but at least one is NaN or infinite.")
    X = np.column_stack([Q[rows], np.ones(len(rows))]).astype("float64")
    penalty = len(rows) * np.diag([l2] * Q.shape[1] + [bias_l2])
    solution = np.linalg.solve(X.T @ X + penalty, X.T @ left)
    return solution[:-1], float(solution[-1])


def neighbors(movie_id: int, Q: np.ndarray, n: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Return the n movies whose vectors have the highest cosine with that of ``movie_id`` (notebook 08).

    Args:
        movie_id: a row of Q, from 1.
        Q: movie vectors, shape (n_items, K). A vector of zeros has the cosine 0 with all others.
        n: how many.

    Returns:
        The ids, nearest first, and their cosines.

    Raises:
        ValueError: for an unknown movie, and for n below 1 or above the number of movies.
    """
    row = known_id(movie_id, len(Q) - 1, "movie")
    unit = Q / np.maximum(np.linalg.norm(Q, axis=1, keepdims=True), 1e-12)
    cosine = unit @ unit[row]
    nearest = top_n(cosine, [row], n)
    return nearest, cosine[nearest]


def _hits(ranked: Sequence[int], relevant: Collection[int], k: int) -> np.ndarray:
    """Return True for each of the first k places that holds a relevant movie."""
    whole_number(k, "k")
    if not len(relevant):
        raise ValueError("relevant is empty: leave users without a relevant movie out of the mean.")
    first = [int(movie) for movie in ranked[:k]]
    if len(set(first)) < len(first):
        raise ValueError("The list holds a movie twice.")
    wanted = {int(movie) for movie in relevant}
    return np.array([movie in wanted for movie in first], dtype=bool)
