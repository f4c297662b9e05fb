"""Made ratings: the practice table, and as many ratings as one likes."""

import os

from course_utils import data, made

import pytest
from made_up import no_space, write

# --- The example ----------------------------------------------------------------------------------


def test_the_example_follows_from_its_seed(tmp_path):
    first, again, other = (
        made.write_example(tmp_path / name, seed).read_bytes() for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == again != other
    assert first.startswith(b"reader,book,stars,time\n") and b"\r" not in first


def test_the_example_is_what_its_docstring_says(tmp_path):
    table = data.load_ratings(made.write_example(tmp_path / "deep" / "er" / "books.csv"))
    assert 9_000 < len(table) < 11_000 and table["timestamp"].is_monotonic_increasing
    assert set(table["rating"]) == {half / 2 for half in range(1, 11)}
    assert table["user"].astype(str).str.fullmatch("[0-9]{4}").all()
    assert table["user"].astype(str).str.startswith("0").any()
    assert table["item"].astype(str).str.contains(",").any()  # so the file needs quotation marks
    per_reader = table.groupby("user_id").size()
    assert len(per_reader) == 250 and per_reader.min() >= 20 and per_reader.max() <= 60
    assert table["movie_id"].nunique() == 200


def test_the_example_overwrites_nothing(tmp_path):
    path = write(tmp_path, "mine")
    with pytest.raises(FileExistsError, match="mine.csv exists. Move it away"):
        made.write_example(path)
    assert path.read_text() == "mine" and list(tmp_path.iterdir()) == [path]


def test_the_example_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        made.write_example(tmp_path / "books.csv")
    assert list(tmp_path.iterdir()) == []
