"""Made ratings: the practice table, and as many ratings as one likes."""

import os

from course_utils import data, made

import numpy as np
import pandas as pd
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


# --- The core -------------------------------------------------------------------------------------


def test_factors_have_the_spread_that_is_asked_for():
    drawn = made.factors(np.random.default_rng(0), 20_000, (2.0, 0.5, 0.0))
    assert drawn.shape == (20_000, 3)
    assert drawn.std(axis=0) == pytest.approx([2, 0.5, 0], abs=0.03)
    assert made.falling(4) == pytest.approx([1, 2**-0.5, 3**-0.5, 0.5])


@pytest.mark.parametrize(("half_stars", "scale"), [(False, (1, 2, 3, 4, 5)), (True, np.arange(1, 11) / 2)])
def test_stars_are_the_signal_rounded_and_cut_to_the_scale(half_stars, scale):
    signal = np.linspace(-2, 8, 1001, dtype="float32")
    stars = made._stars(np.random.default_rng(0), signal, 0.0, half_stars)
    step = scale[1] - scale[0]
    assert sorted(set(stars)) == list(scale) and stars.dtype == "float32"
    inside = (signal >= scale[0]) & (signal <= 5)
    assert np.abs(stars - signal)[inside].max() <= step / 2 + 1e-6
    noisy = made._stars(np.random.default_rng(0), np.full(50_000, 3.0), 0.6, half_stars=True)
    assert noisy.mean() == pytest.approx(3, abs=0.02) and noisy.std() == pytest.approx(0.6, abs=0.05)


def test_a_movie_is_drawn_by_its_popularity():
    class Drawn:
        """A generator whose numbers are known: just the edges of the intervals."""

        def random(self, n):
            return np.array([0.0, 0.5, 0.25, 0.75][:n])

    # Movie 0 is never drawn; movie 1 owns [0, 0.5), movie 2 [0.5, 0.75), movie 3 the rest.
    user, movie = made._distinct_movies(Drawn(), np.array([2, 2]), np.array([0.0, 0.5, 0.75, 1.0]))
    assert user.tolist() == [0, 0, 1, 1] and movie.tolist() == [1, 2, 1, 3]


def _top_share(table, n_items, top):
    counts = np.sort(np.bincount(table["movie_id"], minlength=n_items))[::-1]
    return counts[:top].sum() / counts.sum()


def test_chosen_ratings_differ_in_the_choice_alone():
    per_user = np.array([0] + [30] * 200)
    worlds = {choice: made.chosen_ratings(choice, per_user, 301) for choice in made.CHOICES}
    for learn, hidden in worlds.values():
        assert len(learn) == 200 * 30 and len(hidden) == 200 * 10
        both = pd.concat([learn, hidden])
        assert not both.duplicated(["user_id", "movie_id"]).any() and both["movie_id"].between(1, 300).all()
        assert set(both["rating"]) <= {1, 2, 3, 4, 5}
    means = {choice: learn["rating"].mean() for choice, (learn, _) in worlds.items()}
    # Who chooses by taste likes what was chosen; fame says nothing about taste.
    assert means["by taste"] > means["at random"] + 0.3 > means["by fame"] + 0.1
    shares = {choice: _top_share(learn, 301, 30) for choice, (learn, _) in worlds.items()}
    assert shares["by fame"] > 2 * shares["at random"]
    # The same pair has the same stars in every world: only the choice differs.
    pair = ["user_id", "movie_id"]
    shared = worlds["by fame"][0].merge(worlds["at random"][0], on=pair)
    assert len(shared) > 100 and (shared["rating_x"] == shared["rating_y"]).all()


def test_chosen_ratings_refuse_what_they_do_not_know():
    with pytest.raises(ValueError, match="at random, by taste, by fame"):
        made.chosen_ratings("by luck", [0, 5], 30)
    with pytest.raises(ValueError, match="there are 20 films"):
        made.chosen_ratings("by fame", [0, 15], 21)


def test_a_chart_that_counts_its_own_choices_makes_bigger_hits():
    runs = {feedback: made.watch_lists(feedback, seed=0, rounds=6) for feedback in (True, False)}
    for chosen in runs.values():
        assert chosen.shape == (1683,) and chosen[0] == 0 and chosen.sum() == 6 * 943
        assert chosen.max() <= 943, "Nobody watches a film twice."
    share = {feedback: np.sort(chosen)[-50:].sum() / chosen.sum() for feedback, chosen in runs.items()}
    assert share[True] > share[False]
    # Everybody without the chart: it makes no difference what it counts.
    apart = [made.watch_lists(feedback, seed=1, rounds=3, alone=1.0) for feedback in (True, False)]
    assert np.array_equal(*apart)
