"""What the course claims, held against what it shows: experiments, causes, Checks and quizzes.

``python -m tools.ledger [notebook ...]`` prints what is missing, one sentence a finding. The ledger is in
``tests/ledger/``: ``bands.csv`` (tools.seeds), ``numbers.toml`` (tools.prose_numbers), ``checks.csv`` (how many
asserts each Check makes; ``--count`` writes it) and ``causes.toml``: every sentence that names a cause, and the
ground that it stands on.
"""

import ast
import csv
import re
import sys
import tomllib
from pathlib import Path

from tools import seeds
from tools.course import NOTEBOOKS, ROOT, course_notebooks, sections

import nbformat
import numpy as np

FOLDER = ROOT / "tests" / "ledger"
# The notebooks whose causes and quizzes are held to account: all.
EXPLAINED = ("00", "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11")
BANDED = EXPLAINED[:8]  # whose bounds come from a table of seeds; those of 08 to 11 are to follow
CAUSE = re.compile(
    r"\b(?:because|therefore|hence|that is why|this is why|the reason (?:is|for|why)|due to|thanks to|"
    r"caused? by|is caused|causes|explains (?:why|the|this|it)|leads? to)\b|(?:^|[.:;] )So,? ",
    re.IGNORECASE,
)
SENTENCE = re.compile(r"(?<=[.!?:])\s+(?=[A-Z*_$\[(\"“])|\n\s*\n|\n(?=\s*[-*|\d])")
GROUNDS = ("arithmetic", "source", "experiment", "definition", "unexplained")
QUESTION = re.compile(r"^\*\*Question (\d+)\.\*\* \S", re.MULTILINE)
OPTION = re.compile(r"^- \*\*([A-E])\*\* (.+)$", re.MULTILINE)
RIGHT = re.compile(r"<summary>Answer</summary>\s*\*\*([A-E])\.\*\*")
PREDICT = "**Predict before you run.**"


# --- Experiments ----------------------------------------------------------------------------------


def experiment_problems(notebook: nbformat.NotebookNode) -> list[str]:
    """Whether every experiment asks for a prediction before it, and a Check follows in its section."""
    found = []
    for title, cells in sections(notebook):
        asked, waiting = False, []
        for cell in cells:
            tags = cell.metadata.get("tags", [])
            if cell.cell_type == "markdown":
                asked |= PREDICT in cell.source
            elif "experiment" in tags:
                if not asked:
                    found.append(
                        f"{title!r}: the experiment {cell.id} asks for no prediction before it ({PREDICT})"
                    )
                waiting.append(cell.id)
            elif "check" in tags:
                waiting, asked = [], False
        found += [f"{title!r}: no Check follows the experiment {name}" for name in waiting]
    return found


# --- Causes ---------------------------------------------------------------------------------------


def causal_sentences(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    """Return (cell id, sentence) of every sentence in the Markdown that names a cause.

    The first cell, with the objectives, and the quizzes are left out.
    """
    found = []
    for cell in notebook.cells[1:]:
        if cell.cell_type != "markdown" or QUESTION.search(cell.source):
            continue
        text = re.sub(r"```.*?```", " ", cell.source, flags=re.DOTALL)
        for sentence in SENTENCE.split(text):
            if sentence and CAUSE.search(sentence.strip()):
                found.append((cell.id, " ".join(sentence.split())))
    return found


def read_causes() -> list[dict[str, str]]:
    """Return the entries of causes.toml, none when there is no file yet."""
    path = FOLDER / "causes.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")).get("cause", []) if path.exists() else []


def cause_problems(name: str, notebook: nbformat.NotebookNode, causes: list[dict[str, str]]) -> list[str]:
    """Whether every sentence that names a cause has its ground in the list, and every entry its sentence.

    An entry: ``notebook``, ``sentence`` (a part of it, as it stands on the page), ``ground`` (one of
    ``GROUNDS``), ``why`` in words, and for an experiment ``cell``: the cell that changes the one thing.
    """
    entries = [entry for entry in causes if entry["notebook"] == name]
    sentences, found = causal_sentences(notebook), []
    tags = {cell.id: cell.metadata.get("tags", []) for cell in notebook.cells}
    text = {cell.id: " ".join(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown"}
    for cell, sentence in sentences:
        if not any(entry["sentence"] in sentence for entry in entries):
            found.append(f"names a cause without a ground in causes.toml ({cell}): {sentence[:120]}")
    for entry in entries:
        cells = [cell for cell in text if entry["sentence"] in text[cell]]
        if not cells:
            found.append(f"causes.toml lists a sentence that is gone: {entry['sentence'][:80]}")
        elif entry["ground"] not in GROUNDS:
            found.append(f"causes.toml has the ground {entry['ground']!r}; known: {', '.join(GROUNDS)}")
        elif len(entry.get("why", "")) < 10:
            found.append(f"causes.toml says not why: {entry['sentence'][:80]}")
        elif entry["ground"] == "experiment" and "experiment" not in tags.get(entry.get("cell", ""), []):
            found.append(f"causes.toml names no cell tagged 'experiment': {entry['sentence'][:80]}")
        elif entry["ground"] == "source" and not re.search(r"\b(19|20)\d\d\b|\]\(http", text[cells[0]]):
            found.append(f"cites no source beside its cause: {entry['sentence'][:80]}")
    return found


# --- Checks ---------------------------------------------------------------------------------------


def checks(notebook: nbformat.NotebookNode) -> list[tuple[str, int]]:
    """Return (cell id, number of asserts) of every Check."""
    return [
        (cell.id, sum(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(cell.source))))
        for cell in notebook.cells
        if cell.cell_type == "code" and "check" in cell.metadata.get("tags", [])
    ]


def empty_asserts(notebook: nbformat.NotebookNode) -> list[str]:
    """Return a sentence for each assert of a Check that asserts nothing, such as ``assert score``."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code" and "check" in cell.metadata.get("tags", []):
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.Assert) and isinstance(node.test, ast.Constant):
                    found.append(f"the Check {cell.id} asserts a constant: {ast.unparse(node.test)}")
                elif isinstance(node, ast.Assert) and node.msg is None:
                    found.append(
                        f"the Check {cell.id} has an assert without a message: {ast.unparse(node.test)}"
                    )
    return found


def write_checks() -> None:
    """Write checks.csv: notebook, Check, number of asserts."""
    with open(FOLDER / "checks.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("notebook", "check", "asserts"))
        for path in [*course_notebooks(), NOTEBOOKS / "project.ipynb"]:
            writer.writerows((path.stem, *one) for one in checks(nbformat.read(path, as_version=4)))


def check_problems(name: str, notebook: nbformat.NotebookNode) -> list[str]:
    """Whether the Checks are those of checks.csv: one that was removed or thinned out is noticed."""
    with open(FOLDER / "checks.csv", newline="", encoding="utf-8") as file:
        listed = [
            (row["check"], int(row["asserts"])) for row in csv.DictReader(file) if row["notebook"] == name
        ]
    if listed == checks(notebook):
        return []
    changed = sorted(dict(set(listed) ^ set(checks(notebook))))
    return [f"has other Checks than checks.csv lists, at {changed}. Meant? `python -m tools.ledger --count`"]


# --- Bands ----------------------------------------------------------------------------------------


def band_problems(name: str, notebook: nbformat.NotebookNode, table: list[dict[str, str]]) -> list[str]:
    """Whether bounds in Checks, the table of seeds and the stored outputs agree."""
    rows = [row for row in table if row["notebook"] == name]
    found, again = [], f"`python -m tools.seeds notebooks/{name}.ipynb`"
    cells = {cell.id: cell for cell in notebook.cells}
    shown = {
        (band.cell, band.expression, seeds.as_text(band.low), seeds.as_text(band.high))
        for band in seeds.bands(notebook)
    }
    measured = {(row["cell"], row["expression"], row["low"], row["high"]) for row in rows}
    for cell, expression, low, high in sorted(measured - shown):
        found.append(f"{cell} no longer has the bounds {low or '-'} .. {high or '-'} for {expression}: {again}")
    for cell, expression, low, high in sorted(shown - measured):
        found.append(
            f"{cell} bounds {expression} by {low or '-'} .. {high or '-'}, unknown to bands.csv: {again}"
        )
    for row in rows:
        found += _row_problems(row, cells)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", []) if cell.cell_type == "code" else []
        if "nbval-ignore-output" in tags and _prints(cell.source) and not cell.outputs:
            found.append(
                f"{cell.id} prints trained numbers, and its output is not stored: run `make notebooks`"
            )
    return found


def _row_problems(row: dict[str, str], cells: dict) -> list[str]:
    """What is wrong with a row of bands.csv: few seeds, a bound too near or too far, a printed number off."""
    found, name = [], f"{row['cell']}: {row['expression']}"
    low, high = float(row["low"] or -np.inf), float(row["high"] or np.inf)
    mean, sd, number = float(row["mean"]), float(row["sd"]), int(row["seeds"])
    if number < 3:
        found.append(f"{name} was measured over {number} seeds: three at least")
    if not low + 3 * sd <= mean <= high - 3 * sd:
        found.append(f"{name}: bounds {low:g} .. {high:g} leave no room for the seeds, {mean:g} (sd {sd:g})")
    if np.isfinite(high - low) and high - low > 2 * max(12 * sd, 0.01 * abs(mean), 0.003):
        found.append(f"{name}: the band {low:g} .. {high:g} is far wider than the seeds show, sd {sd:g}")
    if row["printed_in"]:
        cell, place = cells.get(row["printed_in"]), int(row["printed_place"])
        numbers = seeds.printed_numbers(cell) if cell else []
        if place >= len(numbers):
            found.append(f"{name} is printed in {row['printed_in']} no more")
        elif not low <= seeds.as_number(numbers[place]) <= high:
            found.append(f"{name}: the stored output shows {numbers[place]}, outside {low:g} .. {high:g}")
    return found


def _prints(source: str) -> bool:
    """Whether a cell shows something: it prints, or ends in an expression that is no call of fit."""
    code = ast.parse(source)
    if "print(" in source or "plt.show(" in source:
        return True
    last = code.body[-1] if code.body else None
    return isinstance(last, ast.Expr) and not (
        isinstance(last.value, ast.Call) and ast.unparse(last.value.func).split(".")[-1] in ("fit", "compile")
    )


# --- Quizzes --------------------------------------------------------------------------------------


def quiz_problems(notebook: nbformat.NotebookNode) -> list[str]:
    """Whether questions are numbered and have options, a right one, a word on each wrong one, right numbers."""
    found, numbers, before_quiz, in_quiz = [], [], 0, False
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            continue
        in_quiz |= cell.source.startswith("## Quiz")
        asked = {int(number) for number in QUESTION.findall(cell.source)}
        before_quiz += 0 if in_quiz else len(asked)
        numbers += sorted(asked)
        keys = {entry["question"]: entry for entry in cell.metadata.get("quiz", [])}
        if asked != set(keys):
            found.append(
                f"the quiz in {cell.id} has the questions {sorted(asked)}, its metadata {sorted(keys)}"
            )
            continue
        for part in re.split(r"(?=^\*\*Question \d+\.\*\*)", cell.source, flags=re.MULTILINE):
            if match := QUESTION.match(part):
                found += _question_problems(int(match[1]), part, keys[int(match[1])])
    if numbers != list(range(1, len(numbers) + 1)) or not 2 <= len(numbers) <= 4:
        found.append(f"has the questions {numbers}: two to four, numbered from 1, are wanted")
    if not before_quiz:
        found.append("asks no question before the section '## Quiz': one belongs in the middle")
    return found


def _question_problems(number: int, text: str, key: dict) -> list[str]:
    """What is wrong with one question."""
    found, name = [], f"question {number}"
    options, right = dict(OPTION.findall(text.partition("<details>")[0])), RIGHT.search(text)
    if len(options) < 3 or sorted(options) != list("ABCDE"[: len(options)]):
        found.append(f"{name} needs three to five options A, B, C, …, each on a line '- **A** …'")
    if not right or right[1] != key.get("right") or right[1] not in options:
        return [*found, f"{name}: the answer must begin with the letter that its metadata call right"]
    answer = text.partition("</summary>")[2]
    missing = [letter for letter in options if letter != right[1] and f"**{letter}**" not in answer]
    found += [f"{name} says nothing about the wrong answer {letter}" for letter in missing]
    numeric = {letter: seeds.NUMBER.findall(option) for letter, option in options.items()}
    if numeric[right[1]] and "expression" not in key:
        found.append(f"{name} has a number as its right answer, and no expression that computes it")
    if expression := key.get("expression"):
        value = float(eval(expression, {"np": np, "math": __import__("math")}))
        holding = [letter for letter, texts in numeric.items() if any(_is(value, one) for one in texts)]
        if holding != [right[1]]:
            found.append(f"{name}: {expression} is {value:g}, which stands in the options {holding}")
    return found


def _is(value: float, written: str) -> bool:
    """Whether a number, rounded as it is written, is that number."""
    return abs(value - seeds.as_number(written)) <= 0.5000001 * 10.0 ** -len(written.partition(".")[2])


def problems(path: Path) -> list[str]:
    """Return what one notebook claims without showing it, one sentence a finding."""
    notebook = nbformat.read(path, as_version=4)
    found = [
        *experiment_problems(notebook),
        *empty_asserts(notebook),
        *check_problems(path.stem, notebook),
    ]
    if path.name[:2] in EXPLAINED:
        if path.name[:2] in BANDED:
            found += band_problems(path.stem, notebook, seeds.read_table())
        found += cause_problems(path.stem, notebook, read_causes())
        found += quiz_problems(notebook)
    return found


def main(arguments: list[str]) -> int:
    """Print the findings; return 1 when there is one."""
    if arguments == ["--count"]:
        write_checks()
        return 0
    found = 0
    for path in map(Path, arguments) if arguments else course_notebooks():
        for sentence in problems(path):
            found += 1
            print(f"{path.stem}: {sentence}")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
