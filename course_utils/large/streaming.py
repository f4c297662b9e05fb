"""Ratings that do not fit into memory: make or parse them in pieces, store as Parquet, read as batches.

Nothing here ever holds all ratings. A *chunk* is a table of at most about a million ratings with the columns
user_id (int32), movie_id (int32), rating (float32, stars) and timestamp (int64, seconds since 1970). Users and
movies are numbered from 0. Notebook 11 shows how the pieces go together:

    synthetic_ratings or movielens_ratings  ->  write_ratings  ->  rating_dataset  ->  model.fit
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from course_utils.reader import read_chunks
from course_utils.tables import find_format

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

CHUNK = 1_000_000  # ratings in a file, about
SCHEMA = pa.schema(
    [
        ("user_id", pa.int32()),
        ("movie_id", pa.int32()),
        ("rating", pa.float32()),
        ("timestamp", pa.int64()),
    ]
)


# --- Parsing --------------------------------------------------------------------------------------


def movielens_ratings(path: str | Path) -> Iterator[pd.DataFrame]:
    """Read a file of ratings chunk by chunk, with its original ids (for notebook 11).

    All formats that ``data.load_ratings`` reads: ``u.data``, ``ratings.dat`` and ``ratings.csv`` of MovieLens,
    described in the README of each data set (GroupLens, https://grouplens.org/datasets/movielens/), and tables
    of your own. There the ids are text, the timestamp is 0 where the file has none, and a pair that is rated
    twice goes unnoticed, because only one chunk at a time is known.

    Args:
        path: the file, unpacked.

    Raises:
        DataError: for an unknown format, an empty file, and bad lines. In the formats of MovieLens, a good line
            has whole ids from 1 to 2**31 - 1, a rating on the scale of the format, and whole seconds.
        OSError: when the file can't be opened.
    """
    path = Path(path)
    layout = find_format(path)
    for table in read_chunks(path, layout):
        ids = pa.int32() if layout.official else pa.string()
        yield pd.DataFrame(
            {
                "user_id": table["user"].cast(ids).to_pandas(),
                "movie_id": table["item"].cast(ids).to_pandas(),
                "rating": table["rating"].to_numpy().astype("float32"),
                "timestamp": table["timestamp"].to_numpy() if "timestamp" in table.column_names else 0,
            }
        )


class RowNumbers:
    """Number ids from 0 in the order in which they appear: tables get no gaps, and ids can be found again.

    In ``data.load_ratings`` codes begin at 1, as MovieLens' ids do, and the first row of a table stays unused.
    Here the row itself is counted.

    The movies of MovieLens 1M have ids up to 3,952, but only 3,706 of them have ratings. In larger data sets
    the gaps are far wider, and each would be an unused row of Q.
    """

    def __init__(self, originals: Iterable[int | str] = ()):
        self._index = pd.Index(list(originals))

    def __len__(self) -> int:
        return len(self._index)

    def number(self, ids: np.ndarray) -> np.ndarray:
        """Return the row number of each id (int32); ids seen for the first time get the next numbers."""
        new = pd.Index(ids).unique()
        new = new[self._index.get_indexer(new) < 0]
        if len(new):
            self._index = self._index.append(new) if len(self) else new
        return self._index.get_indexer(ids).astype("int32")

    def original(self, rows: np.ndarray) -> np.ndarray:
        """Return the id of each row number, int64 or text; IndexError for a row that does not exist."""
        ids = self._index.to_numpy()[rows]
        return ids.astype("int64" if self._index.dtype.kind == "i" else "str")


# --- Parquet --------------------------------------------------------------------------------------


def import_movielens(path: str | Path, folder: str | Path, *, test_share: float = 0.01, seed: int = 0) -> dict:
    """Turn a file of ratings into Parquet files, with ids from 0, in bounded memory (for notebook 11).

    The original ids are stored beside them: ``np.load(folder / "user_ids.npy")[row]`` is the user of a row of
    P, and ``movie_ids.npy`` does the same for Q.

    Args:
        path: what ``movielens_ratings`` reads.
        folder, test_share, seed: as for ``write_ratings``.

    Returns:
        What ``write_ratings`` returns.

    Raises:
        DataError: for a bad line. Nothing is left behind then.
        ValueError, FileExistsError: as ``write_ratings`` does.
    """
    numbers = {"user_id": RowNumbers(), "movie_id": RowNumbers()}

    def chunks():
        for chunk in movielens_ratings(path):
            yield chunk.assign(**{name: to.number(chunk[name].to_numpy()) for name, to in numbers.items()})
        for name, to in numbers.items():
            np.save(Path(f"{folder}.part", f"{name}s.npy"), to.original(np.arange(len(to))))

    # A line of the official files takes 20 to 30 bytes.
    files = 1 + Path(path).stat().st_size // (25 * CHUNK)
    return write_ratings(chunks(), folder, files=files, test_share=test_share, seed=seed)


def write_ratings(
    chunks: Iterable[pd.DataFrame],
    folder: str | Path,
    *,
    files: int,
    test_share: float = 0.01,
    validation_share: float = 0.0,
    seed: int = 0,
) -> dict:
    """Scatter chunks at random over Parquet files: ``train-00000.parquet``, ... and ``test-00000.parquet``.

    With a ``validation_share`` there is ``validation-00000.parquet``, too: the part to choose settings on.

    This is the first half of shuffling what does not fit into memory: after it, every file is a random sample
    of all ratings. ``read_files`` does the second half: it takes one file at a time and mixes its rows.
    So every batch is a random sample of all ratings, although never more than one file is in memory.

    Args:
        chunks: tables with user_id, movie_id (both from 0), rating and timestamp. Each becomes one row group
            (the piece in which Parquet stores and reads) in every file.
        folder: must not exist yet. It appears whole or not at all.
        files: number of training files. One for each million ratings is a good choice: 16 MB while it is read.
        test_share: share of the ratings, drawn at random, that is held out for the test.
        validation_share: share of the ratings that is held out for choices. It does not change the test part.
        seed: of both draws.

    Returns:
        What is also stored in ``about.json``: n_users, n_items, n_train, n_validation, n_test, mean (of the
        training part).

    Raises:
        FileExistsError: when the folder exists.
        ValueError: for no training ratings, negative ids, files below 1, a share outside [0, 1), or shares that
            leave nothing to train on.
    """
    folder, part = Path(folder), Path(f"{folder}.part")
    if not 0 <= test_share < 1 or files < 1:
        raise ValueError(f"Expected 0 <= test_share < 1 and files >= 1, but got {test_share} and {files}.")
    if not 0 <= validation_share < 1 - test_share:
        raise ValueError(
            f"Expected 0 <= validation_share < 1 - test_share, but got {validation_share} and {test_share}."
        )
    if folder.exists():
        raise FileExistsError(f"{folder} exists. Delete it, or choose another folder: nothing is overwritten.")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    rng, total = np.random.default_rng(seed), 0.0
    about = {"n_users": 0, "n_items": 0, "n_train": 0, "n_validation": 0, "n_test": 0}
    held_out = {-1: "test", -2: "validation"}  # what stands in ``target`` in place of the number of a file
    try:
        with contextlib.ExitStack() as stack:
            writers: dict[int, pq.ParquetWriter] = {}
            for chunk in chunks:
                if chunk[["user_id", "movie_id"]].min(axis=None) < 0:
                    raise ValueError("user_id and movie_id must be 0 or more: they are row numbers of P and Q.")
                about["n_users"] = max(about["n_users"], int(chunk["user_id"].max()) + 1)
                about["n_items"] = max(about["n_items"], int(chunk["movie_id"].max()) + 1)
                target = rng.integers(0, files, len(chunk))
                drawn = rng.random(len(chunk))
                target[drawn < test_share + validation_share] = -2
                target[drawn < test_share] = -1
                for number, name in held_out.items():
                    about[f"n_{name}"] += int((target == number).sum())
                about["n_train"] += int((target >= 0).sum())
                total += float(chunk["rating"].to_numpy()[target >= 0].sum(dtype="float64"))
                for number, rows in chunk.groupby(target):
                    if number not in writers:
                        name = f"{held_out[number]}-00000" if number < 0 else f"train-{number:05}"
                        writer = pq.ParquetWriter(part / f"{name}.parquet", SCHEMA)
                        writers[number] = stack.enter_context(writer)
                    writers[number].write_table(pa.Table.from_pandas(rows, SCHEMA, preserve_index=False))
        if not about["n_train"]:
            raise ValueError("There are no training ratings to write.")
        about["mean"] = total / about["n_train"]
        Path(part, "about.json").write_text(json.dumps(about), encoding="utf-8")
        os.replace(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return about


def about_ratings(folder: str | Path) -> dict:
    """Return n_users, n_items, n_train, n_validation, n_test and mean of what ``write_ratings`` wrote.

    Raises:
        FileNotFoundError: when it is no such folder.
    """
    path = Path(folder, "about.json")
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no about.json: write the ratings with write_ratings first.")
    return json.loads(path.read_text(encoding="utf-8"))


# --- Reading --------------------------------------------------------------------------------------


def read_files(
    folder: str | Path, part: str = "train", *, seed: int | None = None, epoch: int = 0, first_row: int = 0
) -> Iterator[dict[str, np.ndarray]]:
    """Read one Parquet file after the other, in a random order and with mixed rows when there is a seed.

    Args:
        folder: what ``write_ratings`` wrote.
        part: "train", "validation" or "test".
        seed: of the order; None keeps that of the files.
        epoch: number of the epoch, from 0. Each has an order of its own.
        first_row: leave out this many ratings of that order. Files that are left out are not read.

    Yields:
        user_id (int32), movie_id (int32) and rating (float32), each of shape (n,).

    Raises:
        FileNotFoundError: when there are no such files.
    """
    paths = sorted(Path(folder).glob(f"{part}-*.parquet"))
    if not paths:
        raise FileNotFoundError(
            f"{folder} holds no {part}-*.parquet: write the ratings with write_ratings first."
        )
    if seed is not None:
        paths = [paths[place] for place in np.random.default_rng([seed, epoch]).permutation(len(paths))]
    for number, path in enumerate(paths):
        size = pq.read_metadata(path).num_rows
        if first_row >= size:
            first_row -= size
            continue
        table = pq.read_table(path, columns=SCHEMA.names[:3])
        order = np.arange(size)
        if seed is not None:
            order = np.random.default_rng([seed, epoch, number]).permutation(size)
        order, first_row = order[first_row:], 0
        yield {name: table[name].to_numpy()[order] for name in table.column_names}


def rating_batches(
    folder: str | Path,
    batch_size: int,
    *,
    seed: int = 0,
    epochs: int = 1,
    skip: int = 0,
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Cut the shuffled training ratings into batches. The rest of an epoch that fills no batch is left out.

    Args:
        folder: what ``write_ratings`` wrote.
        batch_size: ratings in a batch.
        seed: of the order. The same seed gives the same batches.
        epochs: how many times to go through all ratings.
        skip: leave out so many batches at the beginning without reading them: where a training goes on.

    Yields:
        ``({"user_id": (batch, 1), "movie_id": (batch, 1)}, rating (batch, 1))``, what ``model.fit`` takes.

    Raises:
        ValueError: when there are fewer training ratings than one batch takes.
    """
    per_epoch = batches_per_epoch(folder, batch_size)
    for epoch in range(skip // per_epoch, epochs):
        done = skip - epoch * per_epoch if epoch == skip // per_epoch else 0
        rest = None
        for rows in read_files(folder, seed=seed, epoch=epoch, first_row=done * batch_size):
            if rest is not None:
                rows = {name: np.concatenate([rest[name], rows[name]]) for name in rows}
            full = len(rows["rating"]) // batch_size * batch_size
            for start in range(0, full, batch_size):
                cut = {name: values[start : start + batch_size, None] for name, values in rows.items()}
                stars = cut.pop("rating")
                yield cut, stars
            rest = {name: values[full:] for name, values in rows.items()}


def batches_per_epoch(folder: str | Path, batch_size: int) -> int:
    """Return how many full batches an epoch has; ValueError when there is not even one."""
    n_train = about_ratings(folder)["n_train"]
    if not 1 <= batch_size <= n_train:
        raise ValueError(f"batch_size must lie between 1 and the {n_train:,} ratings, but it is {batch_size}.")
    return n_train // batch_size


def rating_dataset(folder: str | Path, batch_size: int, *, seed: int = 0, epochs: int = 1, skip: int = 0):
    """Return ``rating_batches`` as a ``tf.data.Dataset`` that reads the next batches while the network learns.

    Args:
        folder, batch_size, seed, epochs, skip: as for ``rating_batches``.
    """
    import tensorflow as tf  # here, so that the rest works without TensorFlow's 300 MB of memory

    ids = tf.TensorSpec((batch_size, 1), tf.int32)
    dataset = tf.data.Dataset.from_generator(
        lambda: rating_batches(folder, batch_size, seed=seed, epochs=epochs, skip=skip),
        output_signature=({"user_id": ids, "movie_id": ids}, tf.TensorSpec((batch_size, 1), tf.float32)),
    )
    left = max(0, epochs * batches_per_epoch(folder, batch_size) - skip)
    return dataset.apply(tf.data.experimental.assert_cardinality(left)).prefetch(8)


def streamed_biases(
    folder: str | Path, damping: float = 5.0, rounds: int = 5
) -> tuple[float, np.ndarray, np.ndarray]:
    """Fit rating = mu + b_u + b_i like ``metrics.bias_baseline``, one file at a time.

    Args:
        folder: what ``write_ratings`` wrote.
        damping: how many zeros to add to each mean.
        rounds: how many turns; each reads all ratings twice.

    Returns:
        mu in stars, b_u of shape (n_users,), b_i of shape (n_items,).
    """
    about = about_ratings(folder)
    mu, sizes = about["mean"], {"user_id": about["n_users"], "movie_id": about["n_items"]}
    biases = {name: np.zeros(size) for name, size in sizes.items()}
    counts = {name: np.zeros(size) for name, size in sizes.items()}
    for turn in range(rounds):
        for name, other in (("movie_id", "user_id"), ("user_id", "movie_id")):
            left = np.zeros(sizes[name])
            for rows in read_files(folder):
                rest = rows["rating"] - mu - biases[other][rows[other]]
                left += np.bincount(rows[name], rest, minlength=sizes[name])
                if turn == 0:
                    counts[name] += np.bincount(rows[name], minlength=sizes[name])
            biases[name] = left / np.maximum(counts[name] + damping, 1e-12)
    return mu, biases["user_id"], biases["movie_id"]
