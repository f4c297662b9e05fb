"""Rate films yourself, and see what each model would show you (notebook 08).

A model is here a function: a profile (movie id -> stars) goes in, one score a movie comes out. ``lists_of``,
``why`` and ``matches`` are plain functions; ``explorer`` puts controls of ipywidgets in front of them. They are
buttons and a text field only: JupyterLab 4 takes the arrow keys away from a list, to go to another cell.
"""

import unicodedata
from collections.abc import Callable, Mapping
from html import escape

from course_utils.checks import known_id, whole_number
from course_utils.ranking import top_n

import ipywidgets as widgets
import numpy as np
import pandas as pd

Model = Callable[[dict[int, float]], np.ndarray]
STARS = {count: f"{'★' * count}{'☆' * (5 - count)} {count} of 5" for count in range(1, 6)}
MOST_MATCHES = 6
LEFT = 'style="text-align: left"'
TIGHT = 'style="margin: 0"'


def lists_of(
    models: Mapping[str, Model], profile: Mapping[int, float], n: int = 8, allowed: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Return the list of every model for one profile, without the films in it (notebook 08).

    >>> lists_of({"by number": lambda profile: np.arange(5)}, {4: 5}, n=2)
    {'by number': array([3, 2])}

    Args:
        models: name -> function from a profile to scores of shape (n_items,), entry i for movie i, entry 0
            for none.
        profile: movie id -> stars. It may be empty: the lists are then for nobody in particular.
        n: length of a list. It is shorter when fewer films are left.
        allowed: shape (n_items,), True for each film that may be listed; all may without it.

    Raises:
        ValueError: for a model that fails for this profile, gives no row of numbers or fewer films than
            ``allowed`` has, an unknown movie in the profile, and what ``top_n`` refuses.
    """
    lists = {}
    for name, model in models.items():
        scores = _scores(model, profile, name)
        if allowed is not None and np.shape(allowed) != scores.shape:
            raise ValueError(
                f"Model {name!r} must give one score a movie, shape {np.shape(allowed)}, "
                f"but its scores have the shape {scores.shape}."
            )
        open_scores = scores if allowed is None else np.where(allowed, scores, -np.inf)
        lists[name] = top_n(open_scores, seen=profile, n=n)
    return lists


def why(model: Model, profile: Mapping[int, float], movie_id: int) -> pd.Series:
    """Return what each rated film adds to one score: the score less the score without that film (notebook 08).

    It works for every model, since it only asks again, once for each rated film. What is below zero pulls the
    film down. The numbers need not sum to the score: two films that say the same stand in for each other.

    >>> why(lambda profile: np.full(4, sum(profile.values())), {1: 5, 3: 2}, movie_id=2).to_dict()
    {1: 5.0, 3: 2.0}

    Args:
        model: function from a profile to scores, see ``lists_of``.
        profile: movie id -> stars.
        movie_id: the film whose score is looked at.

    Returns:
        One number for each film of the profile, largest first; the index holds the movie ids.

    Raises:
        ValueError: for an unknown movie, and what ``lists_of`` refuses in a model.
    """
    scores = _scores(model, profile)
    row = known_id(movie_id, len(scores) - 1, "movie")
    adds = pd.Series(
        index=pd.Index(list(profile), name="movie_id", dtype="int64"), dtype="float64", name="adds"
    )
    for rated in profile:
        others = {other: stars for other, stars in profile.items() if other != rated}
        adds[rated] = scores[row] - _scores(model, others)[row]
    adds[adds.abs() <= 1e-6 * np.abs(scores[1:][np.isfinite(scores[1:])]).max(initial=0)] = 0
    return adds.sort_values(ascending=False, kind="stable")


def matches(text: str, movies: pd.DataFrame) -> list[int]:
    """Return the ids of the films whose title (and year) holds every word of a text (notebook 08).

    Capitals and accents make no difference. Titles that begin with the text come first, short ones before long
    ones: the text is more of them.

    Args:
        text: what somebody types, for example ``"star"``. Nothing, or only spaces, finds nothing.
        movies: indexed by movie id, with the columns ``title`` and ``year``.
    """
    words = _plain(text).split()
    titles = {movie_id: _plain(title) for movie_id, title in _titles(movies).items()} if words else {}
    found = [movie_id for movie_id, title in titles.items() if all(word in title for word in words)]
    start = " ".join(words)
    return sorted(found, key=lambda i: (not titles[i].startswith(start), len(titles[i]), titles[i]))


def explorer(
    models: Mapping[str, Model],
    movies: pd.DataFrame,
    start: Mapping[int, float],
    n: int = 8,
    allowed: np.ndarray | None = None,
) -> widgets.VBox:
    """Return controls to rate films, beside the lists of every model and what adds to them (notebook 08).

    The keyboard reaches everything. Where there is no kernel, as on GitHub and on paper, a table shows the
    lists for ``start``.

    Args:
        models: name -> function from a profile (movie id -> stars) to scores of shape (n_items,), entry i for
            movie i, row 0 unused. It also has to answer for an empty profile.
        movies: indexed by movie id, with the columns ``title`` and ``year``; a year may be missing.
        start: the profile to begin with, whole stars from 1 to 5. It may be empty.
        n: length of the lists.
        allowed: shape (n_items,), True for each film that may be listed, for instance those with 20 ratings or
            more; all may without it. Every film can be rated.

    Raises:
        ValueError: when one of these is something else, with what came and what was expected.
    """
    if not models or not all(callable(model) for model in models.values()):
        raise ValueError(f"models must be name -> function, at least one, but it is {models!r}.")
    if missing := {"title", "year"} - set(getattr(movies, "columns", [])):
        raise ValueError(f"movies has no column {min(missing)!r}: use load_movies().set_index('movie_id').")
    if not (len(movies) and movies.index.is_unique and pd.api.types.is_integer_dtype(movies.index)):
        raise ValueError(
            "movies must be indexed by movie_id, each once: use load_movies().set_index('movie_id')."
        )
    n_items = int(movies.index.max()) + 1
    allowed = np.ones(n_items, dtype=bool) if allowed is None else np.asarray(allowed)
    if allowed.shape != (n_items,) or allowed.dtype != bool:
        raise ValueError(
            f"allowed must be True or False for each movie, shape ({n_items},), the last id being "
            f"{n_items - 1}; it has the shape {allowed.shape} and the type {allowed.dtype}."
        )
    for movie_id, stars in start.items():
        if movie_id not in movies.index:
            raise ValueError(f"start has movie {movie_id!r}, which is not in the index of movies.")
        if stars not in (1, 2, 3, 4, 5):
            raise ValueError(f"start has {stars!r} stars for movie {movie_id}: use 1, 2, 3, 4 or 5.")
    whole_number(n, "n")
    listed = allowed & np.isin(np.arange(n_items), movies.index)
    lists_of(models, {}, n, listed)  # a model that can't answer for nobody should say so now, not at a click
    return _Explorer(models, movies, start, n, listed)


class _Explorer(widgets.VBox):
    """The controls of ``explorer``. The profile is what the dropdowns of the rated films show."""

    def __init__(self, models, movies, start, n, allowed):
        self.models, self.movies, self.n, self.allowed = dict(models), movies, n, allowed
        self.titles, self.rows, self.lists, self.ids = _titles(movies), {}, {}, []
        self.search = widgets.Text(placeholder="part of a title, such as: star", layout={"width": "260px"})
        self.counted, self.said, self.shown, self.answer = (widgets.HTML() for _ in range(4))
        self.found = [widgets.Button(layout={"width": "260px"}) for _ in range(MOST_MATCHES)]
        self.films = widgets.VBox(layout={"max_height": "230px", "overflow": "auto"})
        self.model = widgets.ToggleButtons(options=list(models), style={"button_width": "auto"})
        self.film = widgets.ToggleButtons(style={"button_width": "auto"})
        for movie_id, stars in reversed(start.items()):
            self._put(movie_id, stars)
        self.film.observe(self._explain, "value")
        self._search(None)
        self._refresh("")
        self.search.observe(self._search, "value")
        self.search.on_msg(self._enter)
        for button in self.found:
            button.on_click(self._add)
        self.model.observe(self._choose, "value")
        adding = [_heading("Add a film"), self.search, self.counted, *self.found]
        top = [
            widgets.VBox(adding, layout={"width": "272px"}),
            widgets.VBox([_heading("My films"), self.films]),
        ]
        lists = [self.said, self.shown, _heading("Why this film?"), self.model, self.film, self.answer]
        super().__init__([widgets.HBox(top, layout={"flex_flow": "row wrap"}), *lists])

    def _repr_mimebundle_(self, **kwargs):
        """Add the lists as a plain table, for readers who have no kernel."""
        return {**super()._repr_mimebundle_(**kwargs), "text/html": self._table({}, self._who())}

    def _who(self) -> str:
        """Say whom the lists are for."""
        rated = [f"{self.titles[movie_id]} {stars} of 5" for movie_id, stars in self._profile().items()]
        return f"For somebody who rated: {', '.join(rated)}" if rated else "For nobody in particular"

    def _profile(self) -> dict[int, float]:
        return {movie_id: row.children[1].value for movie_id, row in self.rows.items()}

    def _search(self, _) -> None:
        """Make a button of each film whose title holds what was typed."""
        ids = matches(self.search.value, self.movies)
        self.ids = ids[:MOST_MATCHES]
        for place, button in enumerate(self.found):
            button.layout.display = None if place < len(self.ids) else "none"
            button.description = self.titles[ids[place]] if place < len(self.ids) else ""
            button.tooltip = f"Add {button.description}"
        count = "1 film" if len(ids) == 1 else f"{len(ids)} films"
        if len(ids) > MOST_MATCHES:
            count = f"{MOST_MATCHES} of {count}: type more"
        self.counted.value = _status(count if self.search.value.strip() else "")

    def _enter(self, _, content, __) -> None:
        """Go on to the films that were found when somebody presses Enter in the search."""
        if content.get("event") == "submit" and self.ids:
            self.found[0].focus()

    def _add(self, button) -> None:
        """Give the chosen film five stars, to be changed in its row, and empty the search for the next one."""
        place = self.found.index(button)
        if place >= len(self.ids):  # a second click, before the browser has heard of the first
            return
        movie_id = self.ids[place]
        self._put(movie_id, 5)
        self.search.value = ""
        self.search.focus()
        self._refresh(f"{self.titles[movie_id]} has {STARS[5]}.")

    def _put(self, movie_id: int, stars: int) -> None:
        """Make a row for a rated film, above the others: its stars, and a button to remove it."""
        title = self.titles[movie_id]
        rating = widgets.ToggleButtons(
            options=list(STARS),
            value=int(stars),
            tooltips=[f"{title}: {text}" for text in STARS.values()],
            style={"button_width": "30px"},
            layout={"width": "178px"},
        )
        name = widgets.Label(title, tooltip=title, layout={"width": "180px"})
        shown = widgets.Label(STARS[rating.value], layout={"width": "100px"})
        remove = widgets.Button(description="Remove", tooltip=f"Remove {title}", layout={"width": "80px"})

        def change(_):
            shown.value = STARS[rating.value]
            self._refresh(f"{title} has {shown.value}.")

        rating.observe(change, "value")
        remove.on_click(lambda _: self._remove(movie_id))
        others = {other: row for other, row in self.rows.items() if other != movie_id}
        self.rows = {movie_id: widgets.HBox([name, rating, shown, remove], layout={"flex": "none"}), **others}

    def _remove(self, movie_id: int) -> None:
        """Take a film out of the profile."""
        del self.rows[movie_id]
        self.search.focus()  # the button that had the focus is gone
        self._refresh(f"{self.titles[movie_id]} is removed.")

    def _refresh(self, change: str) -> None:
        """Show the lists for the profile as it is now, and say in a sentence what has changed."""
        self.films.children = tuple(self.rows.values()) or (widgets.HTML("You have rated no film yet."),)
        try:
            lists = lists_of(self.models, self._profile(), self.n, self.allowed)
        except ValueError as problem:  # an error in a callback of a widget is shown nowhere
            self.said.value = _status(f"{change} {problem}")
            return
        new = {name: set(ids) - set(self.lists.get(name, ids)) for name, ids in lists.items()}
        self.lists = lists
        counts = ", ".join(f"{name} {len(ids)}" for name, ids in new.items() if ids)
        news = f"New in the lists: {counts}." if counts else "No list has a new film."
        self.said.value = _status(
            f"{change} {news}" if change else "Change the stars, add a film or remove one: the lists follow."
        )
        self.shown.value = self._table(new, "For you" if self.rows else self._who())
        self._choose(None)

    def _table(self, new: Mapping[str, set], caption: str) -> str:
        """Return the lists side by side as HTML, one column a model; films in ``new`` are marked."""
        head = "".join(f'<th scope="col" {LEFT}>{escape(str(name))}</th>' for name in self.lists)
        rows = ""
        for place in range(max(map(len, self.lists.values()))):
            rows += f'<tr><th scope="row">{place + 1}</th>'
            for name, ids in self.lists.items():
                title = escape(self.titles[ids[place]]) if place < len(ids) else ""
                mark = " <strong>new</strong>" if place < len(ids) and ids[place] in new.get(name, ()) else ""
                rows += f"<td {LEFT}>{title}{mark}</td>"
            rows += "</tr>"
        head = f'<thead><tr><th scope="col">place</th>{head}</tr></thead>'
        body = f"<caption {LEFT}>{escape(caption)}</caption>{head}<tbody>{rows}</tbody>"
        table = f'<table class="dataframe" {TIGHT}>{body}</table>'
        return f'<div class="jp-RenderedHTMLCommon">{table}</div>'

    def _choose(self, _) -> None:
        """Offer the films of the chosen model's list, and keep the chosen film if it is still there."""
        ids, before = self.lists[self.model.value].tolist(), self.film.value
        self.film.unobserve(self._explain, "value")
        self.film.options = [(f"{place}. {self.titles[i]}", i) for place, i in enumerate(ids, 1)]
        self.film.index = ids.index(before) if before in ids else 0 if ids else None
        self.film.observe(self._explain, "value")
        self._explain(None)

    def _explain(self, _) -> None:
        """Say which rated films add most to the chosen film, and which pull it down."""
        profile, film = self._profile(), self.film.value
        if film is None:
            self.answer.value = _status("This list is empty: there is nothing to explain.")
            return
        try:
            adds = why(self.models[self.model.value], profile, film)
        except ValueError as problem:
            self.answer.value = _status(str(problem))
            return
        words = [
            f"{self.titles[i]}, {profile[i]} of 5, {'adds' if value > 0 else 'takes away'} {_short(value)}"
            for i, value in pd.concat([adds[adds > 0][:3], adds[adds < 0][::-1][:3]]).items()
        ]
        if not profile:
            first = "You have rated no film: this list is for nobody in particular."
        elif not words:
            first = "Leave out any one of your films, and this score stays as it is: none of them adds to it."
        elif not (adds > 0).any():
            first = "None of your films adds to this score."
        else:
            first = "Leave out one of your films, and this score changes by what that film adds:"
        items = "".join(f"<li>{escape(text)}</li>" for text in words)
        self.answer.value = _status(first) + (f"<ul {TIGHT}>{items}</ul>" if items else "")


def _scores(model: Model, profile: Mapping[int, float], name: str = "") -> np.ndarray:
    """Ask a model, and refuse what is no row of numbers."""
    who = f"The model {name}, asked for {'a profile' if profile else 'an empty profile'},"
    try:
        scores = np.asarray(model(dict(profile)), dtype="float64")
    except Exception as problem:
        raise ValueError(f"{who} failed with {type(problem).__name__}: {problem}") from problem
    if scores.ndim != 1 or len(scores) < 2 or np.isnan(scores[1:]).any():
        raise ValueError(f"{who} must return one number a movie, shape (n_items,), without NaN.")
    return scores


def _titles(movies: pd.DataFrame) -> dict[int, str]:
    """Return movie id -> title with year, where there is one."""
    years = ["" if pd.isna(year) else f" ({int(year)})" for year in movies["year"]]
    return {
        int(i): f"{title}{year}" for i, title, year in zip(movies.index, movies["title"], years, strict=True)
    }


def _plain(text: str) -> str:
    """Return a text in lower case and without accents."""
    parts = unicodedata.normalize("NFKD", str(text).casefold())
    return "".join(letter for letter in parts if not unicodedata.combining(letter))


def _short(value: float) -> str:
    """Return the size of a number with two digits that count, without an exponent."""
    return np.format_float_positional(abs(value), precision=2, fractional=False, trim="-")


def _heading(text: str) -> widgets.HTML:
    return widgets.HTML(f"<strong>{escape(text)}</strong>")


def _status(text: str) -> str:
    """Return a sentence that a screen reader says when it changes."""
    return f'<div role="status" aria-live="polite">{escape(text.strip())}</div>'
