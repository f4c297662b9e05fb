"""Ratings in pieces: the generator's shape, the official formats, Parquet, batches that can go on anywhere."""

import json

from course_utils import reader, tables
from course_utils.checks import DataError
from course_utils.data import load_ratings
from course_utils.large import streaming
from course_utils.made import synthetic_ratings
from course_utils.metrics import baseline_scores, bias_baseline

import numpy as np
import pandas as pd
import pytest


def made(n=20_000, **options):
    return pd.concat(synthetic_ratings(n, n // 100, 2000, **options), ignore_index=True)


def folder_with(path, n=20_000, files=3, **options):
    streaming.write_ratings(synthetic_ratings(n, n // 100, 2000), path, files=files, **options)
    return path


# --- The generator --------------------------------------------------------------------------------


def test_made_ratings_have_the_shape_of_movielens(ratings):
    """At MovieLens 100K's size, the figures that a model feels are those of MovieLens 100K, within bands."""

    def shape(table):
        users, movies = (table[name].value_counts() for name in ("user_id", "movie_id"))
        rows = np.random.default_rng(0).permutation(len(table))
        scores = baseline_scores(table.iloc[rows[:80_000]], table.iloc[rows[80_000:]])
        return {
            "least active user": users.min(),
            "median user": users.median(),
            "most active user": users.max(),
            "top tenth of users": users.head(94).sum() / len(table),
            "median movie": movies.median(),
            "most rated movie": movies.max(),
            "top tenth of movies": movies.head(168).sum() / len(table),
            "mean": table["rating"].mean(),
            "sd": table["rating"].std(),
            "both biases": scores["both biases"],
        }

    real, synthetic = (shape(table) for table in (ratings, pd.concat(synthetic_ratings(100_000, 943, 1682))))
    allowed = {"least active user": 5, "median user": 15, "most active user": 150, "top tenth of users": 0.05}
    allowed |= {"median movie": 10, "most rated movie": 150, "top tenth of movies": 0.08}
    allowed |= {"mean": 0.1, "sd": 0.1, "both biases": 0.02}
    far = {
        name: (real[name], synthetic[name])
        for name in real
        if abs(real[name] - synthetic[name]) > allowed[name]
    }
    assert not far, f"real and synthetic differ: {far}"


def test_made_ratings_are_exact_in_number_distinct_and_repeatable():
    first, again, other = made(), made(), made(seed=1)
    assert len(first) == 20_000 and first["user_id"].nunique() == 200
    assert not first.duplicated(["user_id", "movie_id"]).any()
    assert first.dtypes.astype(str).to_dict() == {
        "user_id": "int32",
        "movie_id": "int32",
        "rating": "float32",
        "timestamp": "int64",
    }
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)
    assert first["timestamp"].between(10**9, 10**9 + 21 * 365 * 86_400).all()
    assert set(first["rating"]) == {1, 2, 3, 4, 5}
    assert set(made(half_stars=True)["rating"]) <= set(np.arange(1, 11) / 2)


def test_chunks_hold_whole_users_and_are_bounded():
    chunks = list(synthetic_ratings(20_000, 200, 2000, chunk=2_000))
    assert len(chunks) == 10 and max(map(len, chunks)) < 5_000
    users = [set(chunk["user_id"]) for chunk in chunks]
    assert sum(map(len, users)) == len(set.union(*users)) == 200


@pytest.mark.slow
def test_a_factor_model_can_find_the_signal():
    """Residuals of the biases are no pure noise: the same users agree on the same movies."""
    table = made(60_000)
    mu, b_u, b_i = bias_baseline(table)
    rest = np.zeros((600, 2000))
    left = table["rating"] - mu - table["user_id"].map(b_u) - table["movie_id"].map(b_i)
    rest[table["user_id"], table["movie_id"]] = left
    shuffled = np.zeros_like(rest)
    shuffled[table["user_id"], table["movie_id"]] = np.random.default_rng(0).permutation(left)
    strongest = [np.linalg.svd(matrix, compute_uv=False)[0] for matrix in (rest, shuffled)]
    assert strongest[0] > 1.2 * strongest[1]


@pytest.mark.parametrize(
    ("sizes", "words"),
    [((10, 20, 5), "one rating a user"), ((10, 0, 5), "0 users"), ((5_000, 10, 100), "more than two thirds")],
)
def test_impossible_sizes_are_refused(sizes, words):
    with pytest.raises(ValueError, match=words):
        next(synthetic_ratings(*sizes))


# --- The official formats -------------------------------------------------------------------------

LINES = [(1, 1193, "5", 978300760), (1, 661, "3", 978302109), (6040, 3952, "4", 956715569)]
HALVES = [(1, 122, "5", 838985046), (2, 185, "0.5", 838983525), (71567, 65133, "4.5", 1231165126)]
OFFICIAL = {  # file -> (text before, separator, ratings)
    "ml-100k/u.data": ("", "\t", LINES),
    "ml-1m/ratings.dat": ("", "::", LINES),
    "ml-10m/ratings.dat": ("", "::", HALVES),
    "ml-25m/ratings.csv": (
        "userId,movieId,rating,timestamp\n",
        ",",
        [(u, i, f"{float(r)}", t) for u, i, r, t in HALVES],
    ),
    "ml-32m/ratings.csv": (
        "userId,movieId,rating,timestamp\n",
        ",",
        [(u, i, f"{float(r)}", t) for u, i, r, t in HALVES],
    ),
}


def write_official(folder, name, line=None, newline="\n"):
    """Write a small file in an official format; put ``line`` in place of the second rating."""
    before, separator, rows = OFFICIAL[name]
    lines = [separator.join(map(str, row)) for row in rows]
    if line is not None:
        lines[1] = line
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((before + "\n".join(lines) + "\n").replace("\n", newline).encode())
    return path


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["unix", "windows"])
@pytest.mark.parametrize("name", OFFICIAL)
def test_official_formats_are_read(tmp_path, name, newline):
    table = pd.concat(streaming.movielens_ratings(write_official(tmp_path, name, newline=newline)))
    expected = [(u, i, float(r), t) for u, i, r, t in OFFICIAL[name][2]]
    assert list(table.itertuples(index=False, name=None)) == expected


@pytest.mark.parametrize("name", OFFICIAL)
@pytest.mark.parametrize(
    "bad",
    [
        "1|2|3|4",
        "1|2|3",
        "1|2|3|4|5",
        "x|2|3|4",
        "1||3|4",
        "1|2|6|4",
        "1|2|0|4",
        "1|2|3.7|4",
        "1|2|nan|4",
        "1|2|3|4.5",
        "1|2|3|-4",  # before 1970
    ]
    + ["-1|2|3|4", "0|2|3|4", "1|9999999999|3|4", "1|2|3|", "", "1;2;3;4", "NA|2|3|4"],
)
def test_a_bad_line_is_named(tmp_path, name, bad):
    separator = OFFICIAL[name][1]
    line = bad.replace("|", separator) if bad != "1|2|3|4" else "1|2|3|4"
    path = write_official(tmp_path, name, line)
    number = 3 if OFFICIAL[name][0] else 2
    with pytest.raises(DataError) as found:
        list(streaming.movielens_ratings(path))
    expected = "four whole numbers" if separator == "\t" else "userId"
    assert f"{path.name}, line {number} is {line!r}. Expected: {expected}" in str(found.value)


@pytest.mark.parametrize("name", OFFICIAL)
def test_load_ratings_reads_the_same(tmp_path, name):
    path = write_official(tmp_path, name)
    chunk, table = next(streaming.movielens_ratings(path)), load_ratings(path)
    assert chunk.dtypes.astype(str).tolist() == ["int32", "int32", "float32", "int64"]
    if path.suffix == ".csv":  # codes there, the ids beside them
        table = table.assign(user_id=table["user"].astype("int32"), movie_id=table["item"].astype("int32"))
    pd.testing.assert_frame_equal(table[list(chunk.columns)], chunk, check_dtype=False)


def test_a_table_of_your_own_is_read_and_imported(tmp_path, monkeypatch):
    path = tmp_path / "mine.csv"
    path.write_text(
        'user,book,stars\n민수,"Dune, 2",7\n007,Emma,8.5\n7,Emma,9\n7,"Dune, 2",1\n', encoding="utf-8"
    )
    monkeypatch.setattr(reader, "BLOCK", 40)
    chunks = list(streaming.movielens_ratings(path))
    table = pd.concat(chunks, ignore_index=True)
    assert len(chunks) > 1 and table["user_id"].tolist() == ["민수", "007", "7", "7"]
    assert table["rating"].tolist() == [7, 8.5, 9, 1] and table["timestamp"].tolist() == [0] * 4
    about = streaming.import_movielens(path, tmp_path / "parquet", test_share=0)
    assert (about["n_users"], about["n_items"], about["n_train"]) == (3, 2, 4)
    rows = next(streaming.read_files(tmp_path / "parquet"))
    users, items = (np.load(tmp_path / "parquet" / f"{kind}_ids.npy") for kind in ("user", "movie"))
    back = zip(users[rows["user_id"]], items[rows["movie_id"]], rows["rating"].tolist(), strict=True)
    assert sorted(back) == sorted(zip(table["user_id"], table["movie_id"], table["rating"], strict=True))


def test_other_spellings_of_a_rating_are_not_blamed(tmp_path):
    """A line that is fine, spelled in another way, must not be named in place of the bad one."""
    path = tmp_path / "ratings.csv"
    path.write_text(f"{tables.CSV_HEADER}\n1,2,3.50,4\n1, 3,5.,4\n1,4,oops,4\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 4 is '1,4,oops,4'"):
        list(streaming.movielens_ratings(path))


def test_a_comma_is_no_separator_in_a_dat_file(tmp_path):
    path = write_official(tmp_path, "ml-1m/ratings.dat", "1,661,3,978302109")
    with pytest.raises(DataError, match="line 2 is '1,661,3,978302109'"):
        list(streaming.movielens_ratings(path))


def test_line_numbers_go_on_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "BLOCK", 50)
    lines = [f"{n}::{n}::3::97830{n}" for n in range(100, 140)]
    path = tmp_path / "ratings.dat"
    path.write_text("\n".join(lines), encoding="utf-8")
    chunks = list(streaming.movielens_ratings(path))
    assert len(chunks) > 5 and pd.concat(chunks)["user_id"].tolist() == list(range(100, 140))
    path.write_text("\n".join([*lines, "oops"]), encoding="utf-8")
    with pytest.raises(DataError, match="line 41 is 'oops'"):
        list(streaming.movielens_ratings(path))


def test_files_that_are_none_are_refused(tmp_path):
    for name, text, words in (
        ("ratings.csv", "1,2,3,4\n", "line 1 is '1,2,3,4'. Expected: .* or another format of MovieLens."),
        ("ratings.dat", "", "line 1: there are no ratings"),
        ("ratings.zip", "", "is compressed. Unpack it"),
    ):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=words):
            list(streaming.movielens_ratings(path))
    with pytest.raises(FileNotFoundError):
        list(streaming.movielens_ratings(tmp_path / "none.csv"))


def test_ids_are_numbered_and_found_again():
    numbers = streaming.RowNumbers()
    assert numbers.number(np.array([50, 7, 50])).tolist() == [0, 1, 0]
    again = numbers.number(np.array([9, 7]))
    assert again.tolist() == [2, 1] and again.dtype == "int32"
    assert numbers.number(np.array([], "int64")).tolist() == []
    assert len(numbers) == 3 and numbers.original(np.array([0, 1, 2])).tolist() == [50, 7, 9]


@pytest.mark.parametrize("name", ["ml-1m/ratings.dat", "ml-32m/ratings.csv"])
def test_import_can_be_undone(tmp_path, name):
    folder = tmp_path / "parquet"
    about = streaming.import_movielens(write_official(tmp_path, name), folder, test_share=0)
    rows = next(streaming.read_files(folder))
    users, movies = (np.load(folder / f"{kind}_ids.npy") for kind in ("user", "movie"))
    back = zip(users[rows["user_id"]], movies[rows["movie_id"]], rows["rating"], strict=True)
    assert sorted(back) == sorted((u, i, float(r)) for u, i, r, _ in OFFICIAL[name][2])
    assert about["n_users"] == len(users) and about["n_items"] == 3 and about["n_train"] == 3


def test_a_bad_line_leaves_no_folder_behind(tmp_path):
    path = write_official(tmp_path, "ml-1m/ratings.dat", "oops")
    with pytest.raises(DataError):
        streaming.import_movielens(path, tmp_path / "parquet")
    assert sorted(found.name for found in tmp_path.iterdir()) == ["ml-1m"]


# --- Parquet and batches --------------------------------------------------------------------------


def test_nothing_is_lost_and_the_test_part_is_held_out(tmp_path):
    folder = folder_with(tmp_path / "r", test_share=0.1)
    parts = {
        part: [pd.DataFrame(rows) for rows in streaming.read_files(folder, part)] for part in ("train", "test")
    }
    assert len(parts["train"]) == 3
    everything = pd.concat(parts["train"] + parts["test"])
    columns = ["user_id", "movie_id", "rating"]
    pd.testing.assert_frame_equal(
        everything.sort_values(columns, ignore_index=True),
        made()[columns].sort_values(columns, ignore_index=True),
    )
    about = json.loads((folder / "about.json").read_text())
    train = pd.concat(parts["train"])
    assert about["n_train"] == len(train) and about["n_test"] == 20_000 - len(train)
    assert 0.08 < about["n_test"] / 20_000 < 0.12
    assert about["mean"] == pytest.approx(train["rating"].mean()) and about["n_users"] == 200


def test_a_validation_part_is_held_out_and_leaves_the_test_part_as_it_was(tmp_path):
    columns = ["user_id", "movie_id", "rating"]
    test, parts = {}, []
    for name, options in (("without", {}), ("with", {"validation_share": 0.2})):
        folder = folder_with(tmp_path / name, test_share=0.1, **options)
        test[name] = pd.concat(map(pd.DataFrame, streaming.read_files(folder, "test")), ignore_index=True)
    pd.testing.assert_frame_equal(test["with"], test["without"])
    for part in ("train", "validation", "test"):
        parts.append(pd.concat(map(pd.DataFrame, streaming.read_files(folder, part))))
    pd.testing.assert_frame_equal(
        pd.concat(parts).sort_values(columns, ignore_index=True),
        made()[columns].sort_values(columns, ignore_index=True),
    )
    about = streaming.about_ratings(folder)
    assert [about["n_train"], about["n_validation"], about["n_test"]] == [len(part) for part in parts]
    assert 0.18 < len(parts[1]) / 20_000 < 0.22 and about["mean"] == pytest.approx(parts[0]["rating"].mean())
    assert not list((tmp_path / "without").glob("validation*"))


def test_every_batch_mixes_users(tmp_path):
    """The ratings are made user by user; batches must not be."""
    folder = folder_with(tmp_path / "r")
    counts = [len(np.unique(inputs["user_id"])) for inputs, _ in streaming.rating_batches(folder, 256)]
    assert min(counts) > 80  # of 200; 256 unshuffled ratings belong to about three


def test_an_epoch_has_every_rating_once_and_another_order_each_time(tmp_path):
    folder = folder_with(tmp_path / "r", test_share=0)
    batches = list(streaming.rating_batches(folder, 1000, epochs=2))
    assert len(batches) == 40 and batches[0][0]["user_id"].shape == (1000, 1)

    def pairs(part):
        keys = [inputs["user_id"] * 2000 + inputs["movie_id"] for inputs, _ in part]
        return np.concatenate(keys).ravel()

    first, second = pairs(batches[:20]), pairs(batches[20:])
    assert len(np.unique(first)) == 20_000 and np.array_equal(np.sort(first), np.sort(second))
    assert not np.array_equal(first, second)


def test_files_have_another_order_each_epoch(tmp_path, monkeypatch):
    folder, read = folder_with(tmp_path / "r", files=8), []
    real = streaming.pq.read_table
    monkeypatch.setattr(
        streaming.pq, "read_table", lambda path, **k: (read.append(path.name), real(path, **k))[1]
    )
    for epoch in range(3):
        list(streaming.read_files(folder, seed=0, epoch=epoch))
    orders = [read[:8], read[8:16], read[16:]]
    assert all(sorted(order) == sorted(read[:8]) and len(set(order)) == 8 for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_what_is_read_has_small_types(tmp_path):
    """Twelve bytes a rating: a larger type would need more memory than the notebook says."""
    rows = next(streaming.read_files(folder_with(tmp_path / "r"), seed=0))
    types = {name: str(values.dtype) for name, values in rows.items()}
    assert types == {"user_id": "int32", "movie_id": "int32", "rating": "float32"}
    inputs, stars = next(streaming.rating_batches(tmp_path / "r", 100))
    assert {str(values.dtype) for values in inputs.values()} == {"int32"} and stars.dtype == "float32"


@pytest.mark.parametrize("skip", [0, 1, 7, 18, 19, 20, 37, 38])
def test_batches_go_on_exactly_where_they_stopped(tmp_path, skip, monkeypatch):
    folder = folder_with(tmp_path / "r")
    whole = list(streaming.rating_batches(folder, 1000, epochs=2))
    assert len(whole) == 38  # 19 full ones an epoch: the rest that fills no batch is left out
    rest = list(streaming.rating_batches(folder, 1000, epochs=2, skip=skip))
    assert len(rest) == 38 - skip
    for (one, stars), (other, other_stars) in zip(whole[skip:], rest, strict=True):
        assert np.array_equal(one["user_id"], other["user_id"]) and np.array_equal(stars, other_stars)


def test_skipped_files_are_not_read(tmp_path, monkeypatch):
    folder, read = folder_with(tmp_path / "r"), []
    real = streaming.pq.read_table
    monkeypatch.setattr(streaming.pq, "read_table", lambda path, **k: (read.append(path), real(path, **k))[1])
    next(streaming.rating_batches(folder, 1000, skip=15))
    assert len(read) == 1


def test_streamed_biases_are_those_of_the_baseline(tmp_path):
    folder = folder_with(tmp_path / "r")
    train = pd.concat([pd.DataFrame(rows) for rows in streaming.read_files(folder)])
    mu, b_u, b_i = bias_baseline(train, rounds=3)
    found = streaming.streamed_biases(folder, rounds=3)
    assert found[0] == pytest.approx(mu)
    np.testing.assert_allclose(found[1][b_u.index], b_u, atol=1e-5)
    np.testing.assert_allclose(found[2][b_i.index], b_i, atol=1e-5)


def test_dataset_gives_the_same_batches_and_knows_its_length(tmp_path):
    folder = folder_with(tmp_path / "r")
    dataset = streaming.rating_dataset(folder, 1000, epochs=2, skip=30)
    assert int(dataset.cardinality()) == 8
    for (inputs, stars), (other, other_stars) in zip(
        dataset, streaming.rating_batches(folder, 1000, epochs=2, skip=30), strict=True
    ):
        assert np.array_equal(inputs["movie_id"], other["movie_id"]) and np.array_equal(stars, other_stars)


def test_bad_folders_and_shares_are_refused(tmp_path):
    folder = folder_with(tmp_path / "r")
    with pytest.raises(FileExistsError, match="nothing is overwritten"):
        folder_with(folder)
    with pytest.raises(ValueError, match="test_share < 1"):
        folder_with(tmp_path / "x", test_share=1)
    with pytest.raises(ValueError, match="validation_share < 1 - test_share"):
        folder_with(tmp_path / "x", test_share=0.5, validation_share=0.5)
    with pytest.raises(ValueError, match="files >= 1"):
        folder_with(tmp_path / "x", files=0)
    with pytest.raises(ValueError, match="no training ratings"):
        streaming.write_ratings([], tmp_path / "x", files=1)
    with pytest.raises(ValueError, match="0 or more"):
        streaming.write_ratings([made().assign(user_id=-1)], tmp_path / "x", files=1)
    with pytest.raises(FileNotFoundError, match="no about.json"):
        streaming.about_ratings(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no train"):
        next(streaming.read_files(tmp_path))
    with pytest.raises(ValueError, match="batch_size must lie between 1 and"):
        next(streaming.rating_batches(folder, 10**6))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r"]
