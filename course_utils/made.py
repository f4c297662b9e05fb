"""Made ratings: a table to practice on, many movie ratings, and worlds that differ in one thing.

All come from one core: factors (``factors``), and stars from biases, factors and noise (``_stars``). No row
comes from a real person.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from course_utils.fetch import write_whole

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

CHUNK = 1_000_000  # ratings in memory at once while they are made

ADJECTIVES = ("Quiet", "Broken", "Golden", "Hidden", "Distant", "Paper", "Winter", "Crooked", "Silver", "Last")
NOUNS = ("Harbor", "Orchard", "Engine", "Letter", "Mountain", "Mirror", "Station", "Violin", "Island", "Clock")

# --- The core -------------------------------------------------------------------------------------


def falling(K: int) -> np.ndarray:
    """Return K strengths of factors, each weaker than the one before: 1 / sqrt(1), 1 / sqrt(2), ..."""
    return 1 / np.sqrt(np.arange(1, K + 1))


def factors(rng: np.random.Generator, rows: int, strength: ArrayLike) -> np.ndarray:
    """Draw normal factors: shape (rows, K), column k with the standard deviation ``strength[k]``."""
    return rng.normal(size=(rows, len(strength))) * strength


def _stars(rng: np.random.Generator, signal: np.ndarray, noise: float, half_stars: bool) -> np.ndarray:
    """Add noise with this standard deviation to what biases and factors give; round and cut to the scale."""
    stars = signal + rng.normal(0, noise, len(signal)).astype(signal.dtype)
    return (np.rint(2 * stars) / 2).clip(0.5, 5) if half_stars else np.rint(stars).clip(1, 5)


# --- A table to practice on -----------------------------------------------------------------------


def write_example(path: str | Path, seed: int = 0) -> Path:
    """Write a made-up CSV of readers, books, half stars and times (for the project sheet).

    250 readers, known by the number of their library card ("0042"), rate 200 books with 0.5 to 5 stars, 20 to
    60 books each: about 10,000 lines in order of time. A rating is 3.2 stars plus a bias of the reader, a bias
    of the book, a product of two latent factors (a book gets them from the words of its title), and noise with
    a standard deviation of 0.6. It does not depend on the time. Readers choose well-known books more often,
    and books that suit them. Everything follows from ``seed``.

    Args:
        path: the file to write. Folders on the way are made. It appears whole or not at all.
        seed: of all draws, 0 or more.

    Returns the path. Raises FileExistsError when there is such a file: nothing is overwritten.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists. Move it away, or choose another name: nothing is overwritten.")
    rng = np.random.default_rng(seed)
    titles = [f"The {adjective} {noun}" for adjective in ADJECTIVES for noun in NOUNS]
    titles += [f"{title}, Part Two" for title in titles]
    cards = [f"{number:04}" for number in rng.choice(10_000, 250, replace=False)]
    strength = (0.6, 0.6)
    of_adjective, of_noun = factors(rng, 20, strength).reshape(2, 10, 2)
    Q = (of_adjective[:, None] + of_noun).reshape(100, 2)
    Q = np.concatenate([Q, Q])  # both parts of a story suit the same readers
    P, b_u, b_i = factors(rng, 250, strength), rng.normal(0, 0.4, 250), rng.normal(0, 0.4, 200)
    match = P @ Q.T
    # The largest sums of a logarithm of a weight and Gumbel noise are a draw by weight, without replacement.
    wish = rng.normal(0, 1, 200) + b_i + match + rng.gumbel(size=(250, 200))
    chosen = [np.argsort(-row)[:n] for row, n in zip(wish, rng.integers(20, 61, 250), strict=True)]
    reader = np.repeat(np.arange(250), [len(books) for books in chosen])
    book = np.concatenate([rng.permutation(books) for books in chosen])
    stars = _stars(rng, 3.2 + b_u[reader] + b_i[book] + match[reader, book], 0.6, half_stars=True)
    # Each reader begins on some day of 2023 and rates a book every few days.
    gaps = pd.Series(rng.integers(60, 500_000, len(book)))
    time = 1_672_531_200 + rng.integers(0, 31_536_000, 250)[reader] + gaps.groupby(reader).cumsum()
    table = pd.DataFrame({"reader": np.take(cards, reader), "book": np.take(titles, book)})
    table = table.assign(stars=stars, time=time)
    content = table.sort_values("time", kind="stable").to_csv(index=False, lineterminator="\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content.encode())
    return path


# --- As many as one likes -------------------------------------------------------------------------


def synthetic_ratings(
    n_ratings: int, n_users: int, n_items: int, *, half_stars: bool = False, seed: int = 0, chunk: int = CHUNK
) -> Iterator[pd.DataFrame]:
    """Make ratings with the shape of MovieLens, chunk by chunk, sorted by user and movie (for notebook 11).

    Users and movies are row numbers from 0, as everywhere in ``large``: a streamed table has no unused row.
    rating = 3.51 + b_u + b_i + P_u . Q_i + noise, rounded and cut to the scale. The constants below are set so
    that 100,000 ratings of 943 users and 1,682 movies have about the long tails, the spread and the baseline
    RMSE of MovieLens 100K (a test compares them). What real ratings have and these do not: genres, fashions,
    friends, and users who pick movies that suit them.

    - Users: at least 20 ratings each where n_ratings allows it, the rest log-normal: few users rate very much.
    - Movies: drawn with log-normal popularity. Nobody rates a movie twice.
    - Biases: normal. Popular movies are a little better liked.
    - Factors: 8, each weaker than the one before. A network has to find them again.
    - Timestamps: a user arrives at some time within 20 years and then rates about once a minute.

    Args:
        n_ratings: how many in all; exactly that many are made.
        n_users: number of users. Memory grows with it: about 16 bytes each.
        n_items: number of movies. Memory grows with it: about 60 bytes each.
        half_stars: 0.5, 1.0, ... 5.0 as in MovieLens 10M and later, instead of 1, 2, ... 5.
        seed: the same seed and sizes give the same ratings.
        chunk: about how many ratings to make at once.

    Raises:
        ValueError: for sizes below 1, fewer ratings than users, or so many ratings that the busiest user would
            have to rate more than two thirds of all movies.
    """
    if min(n_users, n_items, chunk) < 1 or n_ratings < n_users:
        raise ValueError(
            f"Expected at least one user, one movie, one rating a chunk and one rating a user, but got "
            f"{n_users} users, {n_items} movies, chunk={chunk} and {n_ratings} ratings."
        )
    rng = np.random.default_rng([seed, 0])
    counts = _ratings_per_user(rng, n_ratings, n_users)
    if counts.max() > n_items * 2 / 3:
        raise ValueError(
            f"The busiest of {n_users:,} users would have to rate {counts.max():,} of {n_items:,} movies, more "
            "than two thirds. Ask for fewer ratings, more users or more movies."
        )
    fame = rng.normal(size=n_items)
    popularity = np.cumsum(np.exp(1.5 * fame.clip(-3, 3)))
    popularity /= popularity[-1]
    b_i = (0.44 * (0.25 * fame + np.sqrt(1 - 0.25**2) * rng.normal(size=n_items))).astype("float32")
    strength = falling(8)
    strength *= 0.4 / np.linalg.norm(strength)  # so that P_u . Q_i has a standard deviation of 0.4 stars
    Q = factors(rng, n_items, strength).astype("float32")
    at_once = max(1, round(chunk * n_users / n_ratings))
    for first in range(0, n_users, at_once):
        # A generator of its own for each chunk: no chunk depends on how the others were made.
        rng = np.random.default_rng([seed, 1, first])
        part = counts[first : first + at_once]
        user, movie_id = _distinct_movies(rng, part, popularity)
        b_u = rng.normal(0, 0.4, len(part)).astype("float32")
        P = factors(rng, len(part), np.ones(8)).astype("float32")
        match = np.einsum("nk,nk->n", P[user], Q[movie_id])
        stars = _stars(rng, 3.51 + b_u[user] + b_i[movie_id] + match, 0.88, half_stars)
        arrival = 1_000_000_000 + rng.integers(0, 20 * 365 * 86_400, len(part))
        waited = np.cumsum(rng.exponential(60, len(user)))
        waited -= np.repeat(waited[np.cumsum(part) - part], part)  # counted from the user's first rating
        yield pd.DataFrame(
            {
                "user_id": (first + user).astype("int32"),
                "movie_id": movie_id.astype("int32"),
                "rating": stars.astype("float32"),
                "timestamp": arrival[user] + waited.astype("int64"),
            }
        )


def _ratings_per_user(rng: np.random.Generator, n_ratings: int, n_users: int) -> np.ndarray:
    """Return how many ratings each user gives: whole numbers that add up to n_ratings exactly."""
    least = min(20, n_ratings // n_users)
    activity = np.cumsum(np.exp(1.1 * rng.normal(size=n_users).clip(-2.4, 2.4)))
    edges = np.rint(activity / activity[-1] * (n_ratings - least * n_users)).astype("int64")
    return least + np.diff(edges, prepend=0)


def _distinct_movies(
    rng: np.random.Generator, counts: np.ndarray, popularity: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draw counts[u] different movies for each user u; return user and movie, sorted by both.

    Drawing again for what came twice gives the same distribution as drawing without replacement.
    """
    n_items, pairs, missing = len(popularity), np.empty(0, "int64"), counts.copy()
    while missing.any():
        user = np.repeat(np.arange(len(counts)), missing)
        movie = np.searchsorted(popularity, rng.random(len(user)), side="right").clip(max=n_items - 1)
        drawn = np.unique(user * n_items + movie)
        drawn = drawn[~_among(drawn, pairs)]
        pairs = np.insert(pairs, np.searchsorted(pairs, drawn), drawn)  # stays sorted
        missing -= np.bincount(drawn // n_items, minlength=len(counts))
    return pairs // n_items, pairs % n_items


def _among(values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Return which values are in a sorted array. (``np.isin`` would sort everything again.)"""
    if len(ordered) == 0:
        return np.zeros(len(values), bool)
    return ordered[np.searchsorted(ordered, values).clip(max=len(ordered) - 1)] == values


# --- A world in which we choose how people choose -----------------------------------------------------

CHOICES = ("at random", "by taste", "by fame")


def chosen_ratings(
    choice: str, per_user: Sequence[int], n_items: int, hidden: int = 10, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make a world in which we choose how people choose films (for notebook 08).

    Everything but the choice is the same for one seed: the tastes (8 factors for each user and each film, and
    how good a film is), how famous each film is, and the stars that a user would give to each film: 3.4 + taste
    + noise, rounded, from 1 to 5. Fame is independent of taste.

    Args:
        choice: "at random"; "by taste": films that the user will like come more easily; "by fame": famous films
            come more easily to everybody. A film comes with a weight of exp(taste) or exp(fame).
        per_user: how many ratings each user has to learn from, entry 0 for nobody.
        n_items: number of films plus one: ids begin at 1.
        hidden: how many more ratings each user has, chosen in the same way, to test on.
        seed: of everything.

    Returns:
        Two tables with user_id, movie_id and rating: to learn from, and hidden.

    Raises:
        ValueError: for an unknown choice, and when a user would need more films than there are.
    """
    if choice not in CHOICES:
        raise ValueError(f"choice must be one of {', '.join(CHOICES)}, but it is {choice!r}.")
    per_user = np.asarray(per_user, dtype=int)
    if per_user.max() + hidden > n_items - 1:
        raise ValueError(f"A user has {per_user.max()} + {hidden} ratings, but there are {n_items - 1} films.")
    rng, n_users = np.random.default_rng(seed), len(per_user)
    P, Q = (factors(rng, rows, np.ones(8)) for rows in (n_users, n_items))
    taste = 0.7 * P @ Q.T / np.sqrt(8) + rng.normal(0, 0.4, n_items)
    fame = rng.gumbel(size=n_items)
    stars = np.clip(np.round(3.4 + taste + rng.normal(0, 0.8, taste.shape)), 1, 5)
    wish = {"at random": 0 * taste, "by taste": taste, "by fame": 0 * taste + fame}[choice]
    # The largest of wish + Gumbel noise are a draw without replacement, with weights exp(wish).
    order = np.argsort(-(wish + rng.gumbel(size=taste.shape))[:, 1:], axis=1) + 1
    parts = []
    for user_id in range(1, n_users):
        mine = rng.permutation(order[user_id, : per_user[user_id] + hidden])
        part = np.arange(len(mine)) < per_user[user_id]
        parts.append(pd.DataFrame({"user_id": user_id, "movie_id": mine, "to_learn": part}))
    table = pd.concat(parts, ignore_index=True)
    table["rating"] = stars[table["user_id"], table["movie_id"]]
    learn = table.pop("to_learn")
    return table[learn], table[~learn]


def watch_lists(feedback: bool, seed: int, rounds: int = 20, alone: float = 0.2) -> np.ndarray:
    """Let 943 people choose films, most of them from a chart, and count the choices (for notebook 08).

    The tastes are the same for every seed: 8 factors for people and for 1,682 films, and a small quality of
    each film (standard deviation 0.2 beside tastes of 1). In each round, a share ``alone`` of the people
    takes the best of ten random films, the others take the best of the ten most counted films that they have
    not seen.

    Args:
        feedback: True: the chart counts all choices. False: only those that were made without the chart.
        seed: of who looks at the chart and which films the others come across.
        rounds: how many films everybody watches.
        alone: share of the people who choose without the chart, in each round anew.

    Returns:
        How often each film was chosen, shape (1683,); entry 0 belongs to no film.
    """
    world, rng = np.random.default_rng(0), np.random.default_rng(seed)
    n_users, n_items = 943, 1683
    taste = factors(world, n_users, np.ones(8)) @ factors(world, n_items, np.ones(8)).T / np.sqrt(8)
    taste = taste + world.normal(0, 0.2, n_items)
    taste[:, 0] = -np.inf
    chosen, counted = np.zeros(n_items), rng.random(n_items) / 1000  # small random numbers break ties
    counted[0] = -1
    everybody = np.arange(n_users)
    for _ in range(rounds):
        chart = np.argpartition(-np.where(np.isinf(taste), -1, counted), 10, axis=1)[:, :10]
        without = rng.random(n_users) < alone
        offered = np.where(without[:, None], rng.integers(1, n_items, (n_users, 10)), chart)
        film = offered[everybody, np.take_along_axis(taste, offered, axis=1).argmax(axis=1)]
        taste[everybody, film] = -np.inf  # nobody watches a film twice
        np.add.at(chosen, film, 1)
        np.add.at(counted, film if feedback else film[without], 1)
    return chosen
