"""README.md says what is true: its table, its figure, its links, its commands."""

import csv
import math
import re

from benchmarks.table import results_table, splits_table
from tools.course import ROOT, course_notebooks

import nbformat
import pytest

README = (ROOT / "README.md").read_text(encoding="utf-8")


def readme_scores(text):
    """Return {model: RMSE as printed} of the table with the column "test RMSE (stars)"."""
    table = text.partition("| model | test RMSE (stars)")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| ([^|]+?) \| (\d\.\d{3}) \|", table, re.MULTILINE))


def stored_scores():
    """Return {model: RMSE as printed} of the last tables of notebooks 05 and 07."""
    found = {}
    for name in ("05_deep_model", "07_better_models"):
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        texts = [
            output["data"]["text/plain"]
            for cell in notebook.cells
            if cell.cell_type == "code"
            for output in cell.outputs
            if "test RMSE" in output.get("data", {}).get("text/plain", "")
        ]
        found |= dict(re.findall(r"^(.+?)\s+(\d\.\d{3})$", texts[-1], re.MULTILINE))
    return found


def test_table_is_that_of_the_notebooks():
    assert len(stored_scores()) == 11
    assert readme_scores(README) == stored_scores()


def test_a_wrong_table_is_found():
    assert readme_scores(README.replace("0.897", "0.855")) != stored_scores()


def test_figure_shows_the_same_numbers():
    drawing = (ROOT / "notebooks" / "figures" / "results.svg").read_text(encoding="utf-8")
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", drawing)
    shown = {
        name: value for name, value in zip(texts, texts[1:], strict=False) if re.fullmatch(r"\d\.\d{3}", value)
    }
    assert shown == stored_scores()
    alternative = re.search(r"!\[(A dot[^\]]*)\]", README)[1]
    assert re.findall(r"\d\.\d{3}", alternative) == list(stored_scores().values())


def test_course_map_lists_every_notebook_in_both_places():
    welcome = nbformat.read(ROOT / "notebooks" / "00_welcome.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in welcome.cells)
    for path in course_notebooks(ROOT / "notebooks"):
        row = re.search(rf"^\| \[[^\]]+\]\(notebooks/{path.name}\) (\|.*)$", README, re.MULTILINE)
        assert row, f"{path.name} is not in the course map of README.md"
        assert row[1] in text, f"{path.name}: README.md and 00_welcome differ"


def test_course_map_says_how_much_memory_was_measured():
    """Rounded up to a tenth of a GB, from what `python -m tools.memory` wrote. 00 to 05 stay below 2 GB."""
    with open(ROOT / "tests" / "ledger" / "memory.csv", encoding="utf-8", newline="") as file:
        measured = {row["notebook"]: int(row["mb"]) for row in csv.DictReader(file)}
    assert set(measured) == {path.stem for path in course_notebooks(ROOT / "notebooks")}
    for name, mb in measured.items():
        row = re.search(
            rf"^\| \[[^\]]+\]\(notebooks/{name}\.ipynb\) .*\| ([\d.]+) GB \|$", README, re.MULTILINE
        )
        assert row and float(row[1]) == math.ceil(mb / 100) / 10, name
        assert mb < 2000 or name[:2] > "05", name


@pytest.mark.parametrize(("mark", "make"), [("benchmark", results_table), ("splits", splits_table)])
def test_benchmark_tables_are_those_of_the_results(mark, make):
    shown = README.partition(f"<!-- {mark} -->")[2].partition(f"<!-- end of {mark} -->")[0]
    assert shown.strip() == make(), "Run `python -m benchmarks table` and copy what it prints."


def test_commands_are_the_first_thing():
    start = README.partition("```")[2].partition("```")[0]
    assert "make lab" in start and "make test" in start
    assert README.index("```") < 700
