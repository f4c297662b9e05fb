"""What the home page shows, read from the course itself, so that no result stands in it by hand."""

import ast
import re
from html import unescape

from tools.course import ROOT

import nbformat

EXAMPLE = ROOT / "notebooks" / "04_matrix_factorization.ipynb"
LONG = 5


class HomeError(ValueError):
    """The course no longer has what the home page shows."""


def course_map(readme: str) -> list[dict[str, str]]:
    """Return page, title, idea and time of each notebook, from the table in README.md.

    >>> course_map("| [02 One-hot](notebooks/02_one_hot.ipynb) | zeros and a one | 45 min | 45 s |")
    [{'page': 'notebooks/02_one_hot', 'title': '02 One-hot', 'idea': 'zeros and a one', 'time': '45 min'}]
    """
    row = r"^\| \[(?P<title>\d\d [^]]+)\]\((?P<page>[^)]+)\.ipynb\) \| (?P<idea>[^|]+) \| (?P<time>[^|]+) \|"
    return [match.groupdict() for match in re.finditer(row, readme, re.MULTILINE)]


def results_alt(readme: str) -> str:
    """Return what README.md says about the picture of the results, for those who do not see it."""
    match = re.search(r"!\[([^]]+)\]\((?:\.\./)?notebooks/figures/results\.svg\)", readme)
    if not match:
        raise HomeError("README.md no longer shows notebooks/figures/results.svg: the home page does, too.")
    return match[1]


def example(notebook: nbformat.NotebookNode) -> dict:
    """Return the five rated films of notebook 04 and the beginning of the list that it stores for them.

    Args:
        notebook: with a cell that begins ``my_stars = {movie: stars, ...}  # title, title, ...`` and shows
            a table with the column "for you".

    Raises:
        HomeError: when there is no such cell, or it has no such output.
    """
    for cell in notebook.cells:
        match = re.match(r"my_stars = (\{[^}]*\})  # (.*)", cell.source)
        if cell.cell_type != "code" or not match:
            continue
        stars, titles = list(ast.literal_eval(match[1]).values()), match[2].split(", ")
        tables = [output.get("data", {}).get("text/html", "") for output in cell.outputs]
        rows = re.findall(r"<tr>\s*<th>\d+</th>\s*<td>(.*?)</td>", "".join(tables))
        if len(stars) != len(titles) or len(rows) < LONG:
            raise HomeError(
                f"The cell with my_stars should name {len(stars)} films and store a list of {LONG} or more, "
                f"but it names {len(titles)} and stores {len(rows)}. Run `make notebooks`, or adapt tools/site."
            )
        films = [re.sub(r"^(.*), (The|An?)$", r"\2 \1", unescape(row)) for row in rows[:LONG]]
        return {"rated": list(zip(titles, stars, strict=True)), "list": films}
    raise HomeError(f"{EXAMPLE.name} has no cell that begins with my_stars = {{...}}: the home page shows it.")
