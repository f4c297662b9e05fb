"""The explorer of notebook 08 without a browser: its arithmetic by hand, and what its controls do."""

import re

from course_utils.explorer import explorer, lists_of, matches, why

import numpy as np
import pandas as pd
import pytest

MOVIES = pd.DataFrame(
    {
        "title": ["Star Wars", "Star Trek", "Lone Star", "Misérables, Les", "A <b>& B", "Stardust", "unknown"],
        "year": pd.array([1977, 1979, 1996, 1995, 1990, 1980, None], dtype="Int64"),
    },
    index=pd.Index([1, 2, 3, 4, 5, 6, 7], name="movie_id"),
)
# Row j: what a rating of film j adds to each film, for each star above 3.
WEIGHTS = np.zeros((8, 8))
WEIGHTS[1, [2, 6]] = 0.5, 0.25
WEIGHTS[2, 6] = 0.1
WEIGHTS[4, [5, 6]] = 1, -2
WEIGHTS[6, 7] = 1


def popular(profile):
    """The same scores for everybody: 7, 6, 5, ..."""
    return np.array([99, 7, 6, 5, 4, 3, 2, 1])


def personal(profile):
    scores = np.arange(8) / 1000
    for movie_id, stars in profile.items():
        scores = scores + (stars - 3) * WEIGHTS[movie_id]
    return scores


MODELS = {"popular": popular, "personal": personal}


def test_lists_side_by_side_without_what_is_rated():
    lists = lists_of(MODELS, {1: 5, 4: 4}, n=3)
    assert list(lists) == ["popular", "personal"]
    assert lists["popular"].tolist() == [2, 3, 5]
    # 2 stars above 3 for film 1, 1 for film 4: film 2 gets 1.002, film 5 1.005, film 6 0.5 - 2.
    assert lists["personal"].tolist() == [5, 2, 7]


def test_nobody_in_particular_gets_lists():
    assert {name: ids.tolist() for name, ids in lists_of(MODELS, {}, n=2).items()} == {
        "popular": [1, 2],
        "personal": [7, 6],
    }
    assert len(lists_of({"eight": lambda profile: np.arange(20)}, {})["eight"]) == 8


def test_only_allowed_films_are_listed_and_lists_get_shorter():
    allowed = np.isin(np.arange(8), [0, 2, 3, 5])
    assert lists_of(MODELS, {2: 1}, 4, allowed)["popular"].tolist() == [3, 5], "Row 0 is never listed."
    assert lists_of(MODELS, {2: 1, 3: 2, 5: 3}, 4, allowed)["popular"].tolist() == []


def test_a_model_cannot_change_the_profile():
    profile = {1: 5}
    lists_of({"rude": lambda mine: [mine.clear(), np.arange(8)][1]}, profile, 3)
    why(lambda mine: [mine.clear(), np.arange(8)][1], profile, 2)
    assert profile == {1: 5}


def test_why_leaves_one_film_out():
    adds = why(personal, {4: 4, 2: 3, 1: 5}, movie_id=6)
    assert adds.index.tolist() == [1, 2, 4] and adds.index.name == "movie_id"
    assert adds.tolist() == pytest.approx([0.5, 0, -2])
    assert why(personal, {4: 1}, 5).to_dict() == pytest.approx({4: -2}), "Few stars pull down."


def test_why_of_a_model_where_films_stand_in_for_each_other():
    best = {1: 0.4, 2: 0.9, 3: 0.9}
    adds = why(lambda mine: np.full(8, max([0, *(best[i] for i in mine)])), {1: 5, 2: 5, 3: 5}, 7)
    assert adds.tolist() == [0, 0, 0], "Each of the two best films is enough."
    assert adds.index.tolist() == [1, 2, 3], "Equal ones keep the order of the profile."


def test_why_counts_rounding_as_nothing():
    def rounding(profile):
        return np.full(8, 300 + 1e-5 * len(profile))

    assert why(rounding, {1: 5, 2: 5}, 3).tolist() == [0, 0]
    assert why(lambda mine: 1e-9 * personal(mine), {1: 5}, 2).tolist() == pytest.approx([1e-9]), (
        "small, but not 0"
    )
    assert len(why(personal, {}, 2)) == 0
    never = why(lambda mine: np.array([np.nan, -np.inf, 1.0 * len(mine)]), {1: 5}, 2)
    assert never.tolist() == [1], "Row 0 and minus infinity do not disturb."


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("star", [6, 2, 1, 3]),
        ("STAR w", [1]),
        ("wars star", [1]),
        ("  Star\tWars ", [1]),
        ("miserables", [4]),
        ("les MISÉRABLES", [4]),
        ("19", [5, 6, 2, 1, 3, 4]),
        ("star 1977", [1]),
        ("<b>", [5]),
        ("unknown", [7]),
        ("nothing", []),
        ("", []),
        ("   ", []),
    ],
)
def test_matches(text, ids):
    assert sorted(matches(text, MOVIES)) == sorted(ids)


def test_matches_begin_with_the_text_and_are_short():
    assert matches("star", MOVIES) == [6, 2, 1, 3], "Stardust and Star Trek, Star Wars, then Lone Star."
    twice = pd.DataFrame({"title": ["Alien"] * 2, "year": [1979.0, np.nan]}, index=[9, 3])
    assert matches("alien", twice) == [3, 9]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda profile: np.zeros((2, 8)), "odd, asked for a profile, must return one number a movie"),
        (lambda profile: np.full(8, np.nan), "without NaN"),
        (lambda profile: 3, "one number a movie"),
        (lambda profile: profile[99], "odd, asked for a profile, failed with KeyError: 99"),
        (lambda profile: np.zeros(7), r"one score a movie, shape \(8,\), but its scores have the shape \(7,\)"),
    ],
)
def test_lists_of_refuses_models(model, words):
    with pytest.raises(ValueError, match=words):
        lists_of({"odd": model}, {1: 5}, 2, np.ones(8, dtype=bool))


def test_unknown_films_are_refused():
    with pytest.raises(ValueError, match="Unknown movie 8"):
        lists_of(MODELS, {8: 5}, 2)
    with pytest.raises(ValueError, match="Unknown movie 0"):
        why(personal, {1: 5}, 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"models": {}}, "^models must be name -> function, at least one"),
        ({"models": {"scores": np.arange(8)}}, "^models must be name -> function"),
        ({"movies": MOVIES[["title"]]}, "^movies has no column 'year'"),
        ({"movies": None}, "^movies has no column 'title'"),
        ({"movies": MOVIES.set_index("title", drop=False)}, "indexed by movie_id"),
        ({"movies": pd.concat([MOVIES, MOVIES])}, "indexed by movie_id, each once"),
        ({"movies": MOVIES[:0]}, "indexed by movie_id"),
        ({"allowed": np.ones(7, dtype=bool)}, r"allowed must be .* shape \(8,\).* it has the shape \(7,\)"),
        ({"allowed": np.ones(8)}, "the type float64"),
        ({"start": {9: 5}}, "start has movie 9, which is not in the index of movies"),
        ({"start": {1: 3.5}}, "start has 3.5 stars for movie 1: use 1, 2, 3, 4 or 5"),
        ({"start": {1: 0}}, "start has 0 stars"),
        ({"n": 0}, "^n must be at least 1"),
        ({"n": 8}, "n=8 is more than the catalogue has: 7 movies"),
        (
            {"models": {"strict": lambda mine: 1 / len(mine)}},
            "strict, asked for an empty profile, failed with Zero",
        ),
        ({"models": {"short": lambda mine: np.zeros(7)}}, r"'short' must give one score a movie, shape \(8,\)"),
    ],
)
def test_the_explorer_refuses(arguments, words):
    with pytest.raises(ValueError, match=words):
        explorer(**({"models": MODELS, "movies": MOVIES, "start": {1: 5}, "n": 3} | arguments))


# --- The controls, moved from Python as the browser moves them ---------------------------------------


def made(start, **options):
    return explorer(MODELS, MOVIES, start, **({"n": 3} | options))


def text_of(html):
    """The words of a piece of HTML, cell by cell."""
    return [part for part in re.split(r"<[^>]*>", html) if part.strip()]


def test_a_table_is_shown_where_there_is_no_kernel():
    shown = made({1: 5, 4: 4})._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert text_of(shown["text/html"]) == [
        "For somebody who rated: Star Wars (1977) 5 of 5, Misérables, Les (1995) 4 of 5",
        *("place", "popular", "personal"),
        *("1", "Star Trek (1979)", "A &lt;b&gt;&amp; B (1990)"),
        *("2", "Lone Star (1996)", "Star Trek (1979)"),
        *("3", "A &lt;b&gt;&amp; B (1990)", "unknown"),
    ]
    for words in ('<th scope="col"', '<th scope="row"', "<caption"):
        assert words in shown["text/html"]


def offered(box):
    """The buttons of the search that are shown."""
    return [button.description for button in box.found if button.layout.display != "none"]


def add(box, text):
    """Search for a film and add the first that is found."""
    box.search.value = text
    box.found[0].click()


def rate(box, row, stars):
    box.films.children[row].children[1].value = stars


def remove(box, row):
    box.films.children[row].children[3].click()


def test_search_add_rate_and_remove():
    box = made({})
    assert text_of(box.films.children[0].value) == ["You have rated no film yet."]
    assert "For nobody in particular" in box.shown.value and offered(box) == []
    box.search.value = "star"
    assert offered(box) == ["Stardust (1980)", "Star Trek (1979)", "Star Wars (1977)", "Lone Star (1996)"]
    assert text_of(box.counted.value) == ["4 films"] and box.found[2].tooltip == "Add Star Wars (1977)"
    box.found[2].click()
    box.found[2].click()  # a second click finds nothing to add
    assert box.search.value == "" and offered(box) == [] and text_of(box.counted.value) == []
    assert text_of(box.said.value) == [
        "Star Wars (1977) has ★★★★★ 5 of 5. New in the lists: popular 1, personal 1."
    ]
    assert box.shown.value.count("new</strong>") == 2 and ">For you</caption>" in box.shown.value
    (row,) = box.films.children
    name, rating, stars, button = row.children
    assert (name.value, rating.value, stars.value) == ("Star Wars (1977)", 5, "★★★★★ 5 of 5")
    assert rating.tooltips[3] == "Star Wars (1977): ★★★★☆ 4 of 5"
    assert (button.description, button.tooltip) == ("Remove", "Remove Star Wars (1977)")
    rating.value = 1
    assert stars.value == "★☆☆☆☆ 1 of 5"
    assert text_of(box.said.value) == ["Star Wars (1977) has ★☆☆☆☆ 1 of 5. New in the lists: personal 2."]
    button.click()
    assert box.said.value.count("Star Wars (1977) is removed. New in the lists: ") == 1
    assert "For nobody in particular" in box.shown.value


def test_a_film_that_is_added_again_gets_five_stars():
    box = made({1: 5, 2: 3.0})
    assert [row.children[0].value for row in box.films.children] == [
        "Star Wars (1977)",
        "Star Trek (1979)",
    ]
    add(box, "trek")
    assert [row.children[0].value for row in box.films.children] == [
        "Star Trek (1979)",
        "Star Wars (1977)",
    ]
    assert [row.children[1].value for row in box.films.children] == [5, 5], "The newest is on top."


def test_what_changes_no_list_says_so():
    box = made({1: 5})
    rate(box, 0, 4)
    assert text_of(box.said.value) == ["Star Wars (1977) has ★★★★☆ 4 of 5. No list has a new film."]
    assert "new</strong>" not in box.shown.value


def test_why_in_words():
    box = made({1: 5, 2: 4, 4: 4})
    assert (box.model.value, box.film.value) == ("popular", 3)
    assert "none of them adds to it" in box.answer.value
    box.model.value = "personal"
    assert box.film.label == "3. Lone Star (1996)", "It is in this list, too, so it stays."
    box.film.value = 5
    assert text_of(box.answer.value)[1:] == ["Misérables, Les (1995), 4 of 5, adds 1"]
    rate(box, 2, 1)
    assert box.film.value == 6 and text_of(box.answer.value)[1:] == [
        "Misérables, Les (1995), 1 of 5, adds 4",
        "Star Wars (1977), 5 of 5, adds 0.5",
        "Star Trek (1979), 4 of 5, adds 0.1",
    ]
    for _ in range(3):
        remove(box, 0)
    assert "nobody in particular" in box.answer.value


def test_why_says_what_takes_away():
    box = made({1: 5, 4: 4}, allowed=np.arange(8) == 6)
    box.model.value = "personal"
    assert text_of(box.answer.value)[1:] == [
        "Star Wars (1977), 5 of 5, adds 0.5",
        "Misérables, Les (1995), 4 of 5, takes away 2",
    ]
    remove(box, 0)
    assert "None of your films adds to this score." in box.answer.value
    assert text_of(box.answer.value)[1:] == ["Misérables, Les (1995), 4 of 5, takes away 2"]


def test_a_chosen_film_stays_chosen_while_it_is_listed():
    box = made({4: 4})
    box.film.value = 3
    add(box, "trek")
    assert (box.film.value, box.film.label) == (3, "2. Lone Star (1996)")
    add(box, "lone")
    assert box.film.value == 1, "It is rated now, so it is in no list."


def test_a_list_may_be_empty():
    box = made({1: 5}, allowed=np.arange(8) == 1)
    assert box.film.value is None and "This list is empty" in box.answer.value
    assert text_of(box.shown.value)[1:] == ["place", "popular", "personal"]
    remove(box, 0)
    assert box.film.value == 1


def test_a_film_without_a_row_in_movies_is_never_listed():
    box = explorer(MODELS, MOVIES.drop(index=[1, 2]), {}, n=2)
    assert box.lists["popular"].tolist() == [3, 4]


def test_many_matches_are_cut_and_counted():
    many = pd.DataFrame({"title": [f"Part {i}" for i in range(1, 61)], "year": None}, index=range(1, 61))
    box = explorer({"any": lambda profile: np.arange(61)}, many, {})
    box.search.value = "part"
    assert len(offered(box)) == 6 and text_of(box.counted.value) == ["6 of 60 films: type more"]
    box.search.value = "part 42"
    assert offered(box) == ["Part 42"] and text_of(box.counted.value) == ["1 film"]
    box.search.value = "part 420"
    assert offered(box) == [] and text_of(box.counted.value) == ["0 films"]


def test_a_model_that_fails_later_is_reported_and_not_silent():
    def moody(profile):
        if profile.get(1) == 2:
            raise RuntimeError("no such mood")
        return np.arange(8)

    box = explorer({"moody": moody}, MOVIES, {1: 5, 2: 5}, n=3)
    before = box.shown.value
    rate(box, 0, 2)
    assert "moody, asked for a profile, failed with RuntimeError: no such mood" in box.said.value
    assert box.shown.value == before
    rate(box, 0, 3)
    assert "No list has a new film" in box.said.value


def test_why_reports_a_model_that_fails_without_a_film():
    def stubborn(profile):
        if profile and 1 not in profile:
            raise RuntimeError("where is film 1?")
        return np.arange(8)

    box = explorer({"stubborn": stubborn}, MOVIES, {1: 5, 2: 5}, n=3)
    assert "where is film 1?" in box.answer.value


def test_enter_in_the_search_goes_to_the_films(monkeypatch):
    box = made({})
    went = []
    monkeypatch.setattr(type(box.search), "focus", lambda self: went.append("search"))
    monkeypatch.setattr(type(box.found[0]), "focus", lambda self: went.append(self.description))
    box._enter(box.search, {"event": "submit"}, [])
    box.search.value = "wars"
    box._enter(box.search, {"event": "other"}, [])
    assert went == [], "Nothing was found yet, and another key was pressed."
    box._enter(box.search, {"event": "submit"}, [])
    box.found[0].click()
    remove(box, 0)
    assert went == ["Star Wars (1977)", "search", "search"]
