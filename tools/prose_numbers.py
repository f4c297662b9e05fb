"""Numbers in sentences are bound: each stands in an output, in code, in results, or in a list with its source.

``python -m tools.prose_numbers`` prints every number in the Markdown of the notebooks, in the guides and in the
drawings that stands nowhere else; ``tests/test_ledger.py`` fails when there is one. What counts as a source:

- for a notebook: its stored outputs and its code; those of a notebook that the same cell names (by a link, or
  as "notebook 04"); the committed results that it names (`benchmarks/choices.csv`); its rows in
  ``tests/ledger/bands.csv``; arithmetic that is written out ("2 x 50 = 100"),
- for a guide or a drawing: the stored outputs and the code of all notebooks, and the committed results in
  ``benchmarks/``, ``data/published/`` and ``tests/ledger/bands.csv``,
- ``tests/ledger/numbers.toml``: a short list of numbers, each with its source in words.

Only numbers with a decimal point, or of three digits and more, count. Years and citations do not.
"""

import ast
import csv
import functools
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from tools import seeds
from tools.course import NOTEBOOKS, ROOT, course_notebooks

import nbformat

LIST = ROOT / "tests" / "ledger" / "numbers.toml"
GUIDES = ("README.md", "INSTRUCTORS.md", "CONTRIBUTING.md", "data/README.md", "benchmarks/README.md")
RESULTS = ("benchmarks/*.csv", "data/published/*.csv", "tests/ledger/bands.csv")
NUMBER = re.compile(r"(?<![\w.,#/-])[-−+]?(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.\d+|\d{3,})(?![\w]|[.,]\d|\.\w)")
# What is no number of ours: code, links, formulas' subscripts, citations, comments, versions.
LEFT_OUT = (
    re.compile(r"```.*?```", re.DOTALL),
    re.compile(r"`[^`]*`"),
    # Tables that are made from results: a test of their own compares them.
    re.compile(r"<!-- ([\w-]+) -->.*?<!-- end of \1 -->", re.DOTALL),
    re.compile(r"<!--.*?-->", re.DOTALL),
    re.compile(r"(?<=\])\([^)\s]*\)"),  # the target of a link
    re.compile(r"https?://\S+"),
    # A citation: a title in quotation marks and what follows it up to the year.
    re.compile(r"[\"“][^\"”]{8,200}[\"”],?[^\"“\n]{0,160}?\b(?:19|20)\d\d\b(?:-\d\d-\d\d)?"),
    re.compile(r"\barXiv[ :]\d+\.\d+"),
    re.compile(
        r"\b(?:Python|Keras|TensorFlow|pytest|nbval|version|Spark|Java|MovieLens|issue) \d+(?:\.\d+)*\w?\b"
    ),
    re.compile(r"\bCC BY 4\.0\b"),
    re.compile(r"\b\d+(?:\.\d+){2,}\b"),  # 127.0.0.1, 2.21.0
    re.compile(r"\b(?:1[89]|20)\d\d\b"),  # a year
)
NAMED = re.compile(r"(?:notebooks?|\()\s*(\d\d)\b|\b(\d\d)_\w+\.ipynb|\*\*(\d\d) ")
SUM = re.compile(
    r"((?:[\d.,]+\s*(?:[-+x×·*/−–]|\()\s*\(?)+[\d.,]+\)?)\s*(?:=|≈|is about|, about)\s*([-−]?[\d.,]*\d)"
)
IN_TEXT = re.compile(r"(?<![\w.])[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?")


def value_of(text: str) -> float:
    """Return a number as written ("1,878,172", "−0.5") as a float."""
    return float(text.replace(",", "").replace("−", "-").lstrip("+"))


def prose(text: str) -> str:
    """Return a text without what is no prose: code, links' targets, citations, years."""
    for pattern in LEFT_OUT:
        text = pattern.sub(" ", text)
    return text


def numbers_in(text: str) -> list[str]:
    """Return the numbers of a text that must be bound, as they are written."""
    return [match[1] for match in NUMBER.finditer(prose(text))]


class Known:
    """A collection of numbers that a rounded number can be looked up in."""

    def __init__(self, values: Iterable[float] = ()):
        self.values = {abs(value) for value in values if value == value}

    def has(self, written: str) -> bool:
        """Return whether some number of the collection, rounded as ``written`` is, is that number.

        A share may be written in percent, thousands and millions may be written out or not.
        """
        wanted, decimals = abs(value_of(written)), len(written.partition(".")[2])
        half = 0.5000001 * 10.0**-decimals
        return any(abs(value * scale - wanted) <= half for scale in (1, 100) for value in self.values)


def numbers_of_text(text: str) -> list[float]:
    """Return all numbers in a plain text, whatever their size."""
    return [value_of(found) for found in IN_TEXT.findall(text)]


@functools.cache
def _outputs(path: Path) -> tuple[float, ...]:
    """Return the numbers in the stored outputs of a notebook."""
    found = []
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            for text in (
                output.get("text"),
                data.get("text/plain"),
                output.get("evalue"),
                data.get("text/html"),
            ):
                found += numbers_of_text(re.sub(r"\x1b\[[\d;]*m|<[^>]*>", " ", text)) if text else []
    return tuple(found)


@functools.cache
def _code(path: Path) -> tuple[float, ...]:
    """Return the numbers that are written in the code of a notebook."""
    found = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            source = "\n".join(
                line for line in cell.source.splitlines() if not line.lstrip().startswith(("%", "!"))
            )
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
                    found.append(float(node.value))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found += numbers_of_text(node.value)
    return tuple(found)


def _bands(name: str) -> list[float]:
    """Return means and standard deviations of a notebook's trained numbers over seeds."""
    rows = [row for row in seeds.read_table() if row["notebook"] == name]
    return [float(row[column]) for row in rows for column in ("mean", "sd", "low", "high") if row[column]]


@functools.cache
def _results(pattern: str) -> tuple[float, ...]:
    """Return the numbers of committed results files."""
    found = []
    for path in sorted(ROOT.glob(pattern)):
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.reader(file):
                found += [value for field in row for value in numbers_of_text(field)]
    return tuple(found)


def _results_named(text: str) -> list[float]:
    """Return the numbers of the committed results files that a text names, such as `benchmarks/choices.csv`."""
    named = re.findall(r"`((?:benchmarks|data/published)/\w+\.csv)`", text)
    return [value for path in named for value in _results(path)]


def listed(where: str, path: Path = LIST) -> set[str]:
    """Return the numbers that the list allows in one file ("04_matrix_factorization", "README.md")."""
    if not path.exists():
        return set()
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("number", [])
    return {
        entry["value"]
        for entry in entries
        if where in (entry["where"], "everywhere") or entry["where"] == "everywhere"
    }


def written_out(text: str) -> set[str]:
    """Return the numbers of a text that stand in arithmetic which is written out there and is right."""
    found = set()
    for match in SUM.finditer(prose(text).replace("\\times", "x").replace("\\cdot", "x")):
        left = re.sub(r"[x×·]", "*", match[1].replace(",", "").replace("−", "-").replace("–", "-"))
        try:
            value = eval(compile(ast.parse(left, mode="eval"), "<sum>", "eval"), {"__builtins__": {}})
        except (SyntaxError, ZeroDivisionError, TypeError, NameError):
            continue
        if Known([value]).has(match[2]):
            found |= {number for number in numbers_in(f" {match[0]} ")} | {match[2]}
    return found


def unbound_in_notebook(path: Path) -> list[str]:
    """Return the numbers in the Markdown of a notebook that stand nowhere else, each with its cell."""
    own = Known([*_outputs(path), *_code(path), *_bands(path.stem)])
    allowed, missing = listed(path.stem), []
    order = {other.name[:2]: other for other in course_notebooks()}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "markdown":
            continue
        named = {number for match in NAMED.findall(cell.source) for number in match if number in order}
        others = Known(
            [value for number in named for value in (*_outputs(order[number]), *_code(order[number]))]
            + _results_named(cell.source)
        )
        arithmetic = written_out(cell.source)
        for number in numbers_in(cell.source):
            if not (number in allowed or number in arithmetic or own.has(number) or others.has(number)):
                missing.append(f"{path.stem}, cell {cell.id}: {number}")
    return missing


def unbound_in_text(path: Path, text: str | None = None) -> list[str]:
    """Return the numbers in a guide or a drawing that stand in no output, no code and no results file."""
    text = path.read_text(encoding="utf-8") if text is None else text
    name = path.relative_to(ROOT).as_posix()
    if path.suffix == ".svg":
        text = "\n".join(re.findall(r"<(?:text|tspan|title|desc)[^>]*>([^<]*)<", text))
    notebooks = [*course_notebooks(), NOTEBOOKS / "project.ipynb"]
    results = (value for pattern in RESULTS for value in _results(pattern))
    known = Known([*results, *(value for one in notebooks for value in (*_outputs(one), *_code(one)))])
    arithmetic, allowed = written_out(text), listed(name)
    return [
        f"{name}: {number}"
        for number in numbers_in(text)
        if not (number in allowed or number in arithmetic or known.has(number))
    ]


def unbound() -> list[str]:
    """Return every number of the course that is bound to nothing."""
    missing = []
    for path in [*course_notebooks(), NOTEBOOKS / "project.ipynb"]:
        missing += unbound_in_notebook(path)
    for name in GUIDES:
        missing += unbound_in_text(ROOT / name)
    missing += unbound_in_text(NOTEBOOKS / "glossary.md")
    for path in sorted((NOTEBOOKS / "figures").glob("*.svg")):
        missing += unbound_in_text(path)
    return missing


if __name__ == "__main__":
    missing = unbound()
    print("\n".join(missing) or "Every number is bound.")
    sys.exit(bool(missing))
