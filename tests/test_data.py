"""Tests of course_utils.data: ratings, movies and users as tables, and how they are split.

Tests at the end that take the fixture ``ratings`` use the real data.
"""

import subprocess
import sys

from course_utils import data, fetch

import pandas as pd
import pytest
from made_up import MINE, put, use, write


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """An empty data folder that takes the made-up files for the real ones."""
    return use(monkeypatch, tmp_path / "data")


def test_importing_the_module_does_not_import_tensorflow():
    code = "import sys, course_utils.data; print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")


# --- Reading --------------------------------------------------------------------------------------


def test_load_ratings_in_file_order(made_up):
    put(made_up)
    table = data.load_ratings()
    assert table.columns.tolist() == ["user_id", "movie_id", "rating", "timestamp"]
    assert (table.dtypes == "int64").all()
    assert table.to_numpy().tolist() == [
        [1, 267, 3, 881250949],
        [2, 1, 5, 891717742],
        [2, 543, 1, 878887116],
    ]


@pytest.mark.parametrize("read", [data.load_ratings, data.load_movies, data.load_users])
def test_both_forms_give_the_same_tables(made_up, tmp_path, monkeypatch, read):
    put(made_up, fetch.OFFICIAL)
    official = read()
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / "wheel"))
    put(tmp_path / "wheel", fetch.WHEEL)
    pd.testing.assert_frame_equal(read(), official)


@pytest.mark.parametrize("names", [fetch.OFFICIAL, fetch.WHEEL])
def test_load_movies(made_up, names):
    put(made_up, names)
    movies = data.load_movies().set_index("movie_id")
    assert movies.columns.tolist() == ["title", "year", "genres"]
    assert (movies.index.dtype, movies["year"].dtype) == ("int64", "Int64")
    assert movies.loc[1].tolist() == ["Toy Story", 1995, "Animation|Children's|Comedy"]
    assert movies.loc[12, "title"] == "Usual Suspects, The"
    assert movies.loc[267, "title"] == "unknown" and pd.isna(movies.loc[267, "year"])
    assert movies.loc[267, "genres"] == "unknown"
    assert movies.loc[543, "title"] == "Misérables, Les"
    assert movies.loc[1201].tolist()[:2] == ["Marlene Dietrich: Shadow and Light", 1996]
    title = "Land Before Time III: The Time of the Great Giving"
    assert movies.loc[1412].tolist()[:2] == [title, 1995]
    assert movies.loc[1633].tolist()[:2] == ["Á köldum klaka (Cold Fever)", 1994]
    assert movies["genres"].str.get_dummies().loc[1].sum() == 3


@pytest.mark.parametrize("names", [fetch.OFFICIAL, fetch.WHEEL])
def test_load_users(made_up, names):
    put(made_up, names)
    users = data.load_users()
    assert users.columns.tolist() == ["user_id", "age", "gender", "occupation", "zip_code"]
    assert (users["user_id"].dtype, users["age"].dtype) == ("int64", "int64")
    assert users.to_numpy().tolist() == [
        [1, 24, "M", "technician", "05711"],
        [2, 53, "F", "other", "T8H1N"],
    ]


@pytest.mark.parametrize(
    "scale", [(-float("inf"), 5), (5, 1), (1, 1), (1,), (1, 2, 3), (0, float("inf")), (float("nan"), 5)]
)
def test_a_scale_that_is_none(tmp_path, scale):
    with pytest.raises(ValueError, match=r"such as \(1, 5\), but it is"):
        data.load_ratings(write(tmp_path, MINE), scale=scale)
    with pytest.raises(ValueError, match="give its path as well"):
        data.load_ratings(scale=(1, 5))


def test_names_of_columns_are_passed_on(tmp_path):
    path = write(tmp_path, "a,b,c,d\nAnn,Dune,4,7\n")
    table = data.load_ratings(path, user="a", item="b", rating="c", timestamp="d", scale=(1, 5))
    assert table.iloc[0].tolist() == [1, 1, 4, 7, "Ann", "Dune"]
    for name in ("user", "item", "rating", "timestamp"):
        with pytest.raises(ValueError, match="give its path as well"):
            data.load_ratings(**{name: "a"})


# --- Sizes ----------------------------------------------------------------------------------------


def test_sizes_are_the_rows_that_the_tables_need():
    table = pd.DataFrame({"user_id": [1, 7, 2], "movie_id": [3, 1, 20], "rating": [1, 2, 3]})
    assert data.sizes(table) == (8, 21)
    assert all(type(size) is int for size in data.sizes(table))  # Keras refuses NumPy's
    assert data.sizes(table[:1]) == (2, 4)
    with pytest.raises(ValueError, match="no ratings, so there are no ids to count"):
        data.sizes(table[:0])


def test_sizes_of_a_table_of_your_own(tmp_path):
    table = data.load_ratings(write(tmp_path, MINE))
    assert data.sizes(table) == (4, 3)  # three users and two items, and a row 0 each that stays unused


def test_sizes_of_the_real_ratings(ratings):
    assert data.sizes(ratings) == (944, 1683)


# --- Splitting ------------------------------------------------------------------------------------


def test_split_options():
    table = pd.DataFrame({"rating": range(10)}, index=range(100, 110))
    train, test = data.split_ratings(table, test_size=0.3, seed=1)
    assert (len(train), len(test)) == (7, 3)
    assert sorted([*train.index, *test.index]) == list(range(100, 110))
    assert not data.split_ratings(table, test_size=0.3, seed=2)[1].equals(test)
    assert data.split_ratings(table, test_size=0.3, seed=1)[1].equals(test)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_official_fold(k):
    table = pd.DataFrame({"row": range(100_000)})
    train, test = data.official_fold(table, k)
    rows = list(range((k - 1) * 20_000, k * 20_000))
    assert test["row"].tolist() == rows == test.index.tolist()
    assert train["row"].tolist() == sorted(set(range(100_000)) - set(rows))


@pytest.mark.parametrize("k", [0, 6, -1, 1.5, "u1"])
def test_official_fold_refuses_other_numbers(k):
    with pytest.raises(ValueError, match="k must be 1, 2, 3, 4 or 5, not"):
        data.official_fold(pd.DataFrame({"row": range(100_000)}), k)


def test_official_fold_needs_all_ratings():
    with pytest.raises(ValueError, match="this table has 99,999 rows"):
        data.official_fold(pd.DataFrame({"row": range(99_999)}), 1)


# --- The real data --------------------------------------------------------------------------------


def test_the_real_ratings(ratings):
    assert ratings.shape == (100_000, 4)
    assert (ratings.dtypes == "int64").all()
    assert ratings.loc[0].tolist() == [196, 242, 3, 881250949]
    assert ratings.loc[99_999].tolist() == [12, 203, 3, 879959583]
    assert (ratings["user_id"].nunique(), ratings["movie_id"].nunique()) == (943, 1682)


def test_the_split_is_the_one_of_the_source(ratings):
    # Six rows of the test set that the course's source prints: index, user, movie, rating, time.
    published = [
        [23307, 468, 51, 3, 875293386],
        [36679, 92, 780, 3, 875660494],
        [36626, 555, 489, 5, 879975455],
        [83753, 940, 69, 2, 885921265],
        [52604, 181, 1350, 1, 878962120],
        [49877, 320, 195, 5, 884749255],
    ]
    train, test = data.split_ratings(ratings)
    assert (len(train), len(test)) == (80_000, 20_000)
    assert test.loc[[row[0] for row in published]].reset_index().to_numpy().tolist() == published
    assert test.index[:6].tolist() == [row[0] for row in published]
    assert train["rating"].mean() == pytest.approx(3.5294625, abs=1e-12)


def test_the_folds_cover_the_real_ratings(ratings):
    tests = [data.official_fold(ratings, k)[1] for k in range(1, 6)]
    pd.testing.assert_frame_equal(pd.concat(tests), ratings)


@pytest.mark.usefixtures("ratings")  # so that the data are there
def test_the_real_movies_and_users():
    movies = data.load_movies().set_index("movie_id")
    assert movies.index.tolist() == list(range(1, 1683))
    assert movies["year"].isna().sum() == 1 and movies["year"].isna().loc[267]
    assert (movies["year"].min(), movies["year"].max()) == (1922, 1998)
    assert set(movies["genres"].str.get_dummies().columns) == set(data.GENRES)
    assert movies.loc[543, "title"] == "Misérables, Les"
    title = "Land Before Time III: The Time of the Great Giving"
    assert movies.loc[1412].tolist() == [title, 1995, "Animation|Children's"]
    assert not movies["title"].str.fullmatch(r".*\([0-9]{4}\).*|\s.*|.*\s").any()
    users = data.load_users()
    assert users.shape == (943, 5)
    assert users["user_id"].tolist() == list(range(1, 944))
    assert set(users["gender"]) == {"F", "M"}
    assert users["zip_code"].str.len().eq(5).all()
