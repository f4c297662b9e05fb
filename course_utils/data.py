"""MovieLens 100K, or ratings of your own: read them as tables, split them (notebooks 00 and 01).

``load_ratings()`` fetches what is missing (``course_utils.fetch``), so a notebook needs nothing else.

Source of the data: F. M. Harper and J. A. Konstan, "The MovieLens Datasets: History and Context",
ACM Transactions on Interactive Intelligent Systems 5(4), article 19, 2015.
"""

import re
from pathlib import Path

from course_utils.checks import DataError
from course_utils.fetch import fetch_movielens, find_tables
from course_utils.reader import read_ratings

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

__all__ = ["DataError", "load_movies", "load_ratings", "load_users", "official_fold", "sizes", "split_ratings"]

TITLE_AND_YEAR = re.compile(r"(.*?)\s*\(([0-9]{4})\)(?: \(V\))?\s*")  # (V) marks a video release
# fmt: off
GENRES = [  # the order of the 19 flags in u.item
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary",
    "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi",
    "Thriller", "War", "Western",
]
# fmt: on

# --- Reading --------------------------------------------------------------------------------------


def load_ratings(
    path: str | Path | None = None,
    *,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    timestamp: str | None = None,
    scale: tuple[float, float] | None = None,
) -> pd.DataFrame:
    """Read ratings, in file order: MovieLens 100K, or a table of your own (introduced in notebook 01).

    >>> load_ratings().shape
    (100000, 4)

    ``None`` means MovieLens 100K, fetched when needed and checked by its SHA-256 every time. Its format
    (``u.data``) and that of ``ratings.dat`` (1M, 10M) are recognized in any file. Columns: ``user_id`` and
    ``movie_id`` as in the file, ``rating`` (stars; int64 in u.data), ``timestamp`` (seconds since 1970, UTC).

    Any other table is text in UTF-8, separated by tabs, commas or semicolons, with a header line: a column each
    for user, item and rating, perhaps one for the time, and others, which are left out. Names are recognized
    (``tables.NAMES``) or given. Without a header line, three or four columns are taken as user, item, rating
    and time, with a warning, where their content fits. Ids may be any text; "007" is not "7". Columns:

    - ``user_id`` and ``movie_id``: int64 codes from 1, as in MovieLens, in the order of the ids: as numbers if
      all are whole, else as text (by code point). The order of the lines does not matter.
    - ``rating``: float64. ``timestamp``: int64, only if the file has it, in seconds or as dates such as
      2024-05-01 or 2024-05-01T18:30 (UTC if they name no zone).
    - ``user`` and ``item``: the ids as pandas Categoricals. ``ratings["item"].cat.categories[movie_id - 1]`` is
      the id as written. They take a few bytes a row, and the way back survives splits, sorts and merges.

    MovieLens' own ``ratings.csv`` (20M and later) is read like this as well: its ids have wide gaps, and each
    would be an unused row of Q. Its scale is known, 0.5 to 5, as are those of u.data and ratings.dat.

    Args:
        path: the file.
        user, item, rating, timestamp: names of the columns, for a header line with other names.
        scale: lowest and highest rating. Others are refused. Without it, ratings that look like codes for "not
            rated" (a single value at or below 0; one far above the others) are pointed out in a warning.

    Raises:
        DataError: if the data cannot be fetched or read, or lines are malformed; names file and lines.
        ValueError: for names of columns without a file, and a scale that is none.
    """
    named = {"user": user, "item": item, "rating": rating, "timestamp": timestamp}
    if path is None and (any(named.values()) or scale):
        raise ValueError("user, item, rating, timestamp and scale are about a file: give its path as well.")
    if scale and not (len(scale) == 2 and -np.inf < scale[0] < scale[1] < np.inf):
        raise ValueError(
            f"scale must be the lowest and the highest rating, such as (1, 5), but it is {scale!r}."
        )
    return read_ratings(find_tables(fetch_movielens())[0] if path is None else Path(path), named, scale)


def sizes(ratings: pd.DataFrame) -> tuple[int, int]:
    """Return ``(n_users, n_items)``: the rows that tables of users and of movies need (from notebook 02 on).

    >>> sizes(load_ratings())
    (944, 1683)

    Ids are row numbers and begin at 1, so row 0 stays unused, and a table has one row more than the largest id
    says.

    Args:
        ratings: a table with the columns user_id and movie_id: *all* ratings. A training part may lack the
            largest id.

    Raises:
        ValueError: when the table is empty.
    """
    if ratings.empty:
        raise ValueError("There are no ratings, so there are no ids to count. Give the whole table of ratings.")
    return int(ratings["user_id"].max()) + 1, int(ratings["movie_id"].max()) + 1


def load_movies() -> pd.DataFrame:
    """Read the movies of MovieLens 100K, in the order of their ids (introduced in notebook 01).

    Returns a table of shape (1682, 4): ``movie_id`` (int64, 1 to 1682), ``title`` (text without the
    year, articles at the end: "Usual Suspects, The"), ``year`` (Int64; missing for movie 267),
    ``genres`` (names joined by "|": ``movies["genres"].str.get_dummies()`` makes columns).

    Raises DataError if the data cannot be fetched.
    """
    path = find_tables(fetch_movielens())[1]
    rows = []
    if path.name == "u.item":
        # id|title (year)|release date|video date|URL|19 flags
        for line in path.read_bytes().decode("latin-1").splitlines():
            movie_id, title, _, _, _, *flags = line.split("|")
            genres = [name for name, flag in zip(GENRES, flags, strict=True) if flag == "1"]
            rows.append([int(movie_id), *_split_title(title), "|".join(genres)])
    else:
        # After one header line: id, title, year, genres. With the year put back behind the title,
        # this form reads like the official one, also where the split went wrong (movie 1412).
        for line in path.read_bytes().decode("utf-8").splitlines()[1:]:
            movie_id, title, year, genres = line.split("\t")
            title = "unknown" if title == "unkonwn" else f"{title} ({year})"
            rows.append([int(movie_id), *_split_title(title), genres.replace(" ", "|")])
    movies = pd.DataFrame(rows, columns=["movie_id", "title", "year", "genres"])
    return movies.astype({"movie_id": "int64", "year": "Int64"})


def _split_title(text: str) -> tuple[str, int | None]:
    """Split "Toy Story (1995)" into "Toy Story" and 1995; without a year it is ``None``."""
    match = TITLE_AND_YEAR.fullmatch(text)
    return (match[1], int(match[2])) if match else (text, None)


def load_users() -> pd.DataFrame:
    """Read the users of MovieLens 100K, in the order of their ids (introduced in notebook 07).

    Returns a table of shape (943, 5): ``user_id`` (int64, 1 to 943), ``age`` (int64, years),
    ``gender`` ("F" or "M"), ``occupation`` and ``zip_code`` (text; some codes have letters).

    Raises DataError if the data cannot be fetched.
    """
    path = find_tables(fetch_movielens())[2]
    lines = path.read_bytes().decode("utf-8").splitlines()
    if path.name == "u.user":
        rows = [line.split("|") for line in lines]
    else:
        rows = [line.split("\t") for line in lines[1:]]  # the first line is a header
    users = pd.DataFrame(rows, columns=["user_id", "age", "gender", "occupation", "zip_code"])
    return users.astype({"user_id": "int64", "age": "int64"})


# --- Splitting ------------------------------------------------------------------------------------


def split_ratings(
    ratings: pd.DataFrame, test_size: float = 0.2, seed: int = 2021
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split ratings at random into ``(train, test)``. The defaults give the split of this course (notebook 01).

    >>> [len(part) for part in split_ratings(load_ratings())]
    [80000, 20000]

    ``test_size`` is the share of the rows that goes into the test part. The same ``seed`` gives the
    same split. Both parts are shuffled and keep the index of ``ratings``.

    Raises ValueError (from scikit-learn) if a part would be empty.
    """
    return train_test_split(ratings, test_size=test_size, shuffle=True, random_state=seed)


def official_fold(ratings: pd.DataFrame, k: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return ``(train, test)`` of fold ``k``, one of the five (u1 to u5) of GroupLens (notebook 07).

    ``ratings`` is MovieLens 100K in file order. The test part is rows (k-1) * 20,000 to k * 20,000,
    the training part the other 80,000, both in file order and with their index.

    Raises ValueError if ``k`` is not 1 to 5 or there are not 100,000 rows.
    """
    if k not in range(1, 6):
        raise ValueError(f"k must be 1, 2, 3, 4 or 5, not {k!r}")
    if len(ratings) != 100_000:
        raise ValueError(f"the folds are of 100,000 ratings; this table has {len(ratings):,} rows")
    start, stop = (int(k) - 1) * 20_000, int(k) * 20_000
    train = pd.concat([ratings.iloc[:start], ratings.iloc[stop:]])
    return train, ratings.iloc[start:stop].copy()
