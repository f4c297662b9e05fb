"""Every untouched student version and every typical wrong answer gets a message that helps.

That the solutions pass their own checks and print what they stored is nbval's part: ``pytest solutions``.
"""

import copy
import re
import tomllib
from pathlib import Path

from course_utils.checks import short_messages
from tools.course import ROOT, course_notebooks
from tools.exercise_rules import BEGIN, END, exercise_problems
from tools.grading import release
from tools.patience import patience

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

SOLUTIONS = release.solution_notebooks()


def named(paths):
    return {"argvalues": paths, "ids": [path.stem for path in paths]}


def test_every_course_notebook_has_exercises():
    course = [path.name for path in course_notebooks(ROOT / "notebooks") if path.name[:2] >= "01"]
    assert [path.name for path in SOLUTIONS] == course


@pytest.mark.parametrize("path", **named(SOLUTIONS))
def test_solution_obeys_the_rules(path):
    found = exercise_problems(path)
    assert not found, "\n".join(f"{path.name} {sentence}" for sentence in found)


@pytest.mark.parametrize("path", **named(SOLUTIONS))
def test_student_version_is_fresh(path):
    written = release.EXERCISES / path.name
    assert written.is_file() and nbformat.read(written, 4) == nbformat.from_dict(
        release.student_version(path)
    ), f"exercises/{path.name} is not what solutions/{path.name} gives: run `make exercises`"


def test_no_student_version_without_a_solution():
    assert {path.name for path in release.EXERCISES.glob("*.ipynb")} == {path.name for path in SOLUTIONS}


@pytest.mark.parametrize("path", **named(SOLUTIONS))
def test_student_version_gives_nothing_away(path):
    text = "\n".join(cell.source for cell in nbformat.read(release.EXERCISES / path.name, 4).cells)
    assert BEGIN not in text and END not in text
    for cell in nbformat.read(path, 4).cells:
        for region in re.findall(rf"{BEGIN}\n(.*?){END}", cell.source, re.DOTALL):
            code = [line.strip() for line in region.splitlines() if len(line.strip()) > 15]
            assert not any(line in text for line in code), f"the student version still holds {code}"


@pytest.mark.parametrize("path", **named(SOLUTIONS))
def test_checks_are_folded_and_let_run_all_go_on(path):
    cells = nbformat.read(release.EXERCISES / path.name, 4).cells
    checks = [cell for cell in cells if cell.metadata.get("nbgrader", {}).get("grade")]
    assert checks and all(cell.metadata.jupyter.source_hidden for cell in checks)
    assert all({"check", "raises-exception"} <= set(cell.metadata.tags) for cell in checks)
    first = next(cell for cell in cells if cell.cell_type == "code")
    assert "short_messages()" in first.source and first.metadata.jupyter.source_hidden
    shown = [cell for cell in cells if cell.cell_type == "code" and "jupyter" not in cell.metadata]
    assert len(shown) == sum(cell.cell_type == "code" for cell in cells) - len(checks) - 1


@pytest.mark.parametrize(
    "code, shown",
    [
        ("assert 1 == 2, 'One is not two.'", "Not yet: One is not two."),
        ("x = 1\nfor y in (1, 2):\n    assert x == y, 'One is not two.'", "Not yet: One is not two."),
        ("assert 1 == 2", "Traceback"),
        ("def f():\n    assert 1 == 2, 'One is not two.'\nf()", "Not yet: One is not two."),
        ("import numpy as np\nnp.testing.assert_equal(1, 2)", "Traceback"),
        ("1 / 0", "Traceback"),
    ],
)
def test_only_an_assert_of_the_notebook_is_short(code, shown, monkeypatch):
    shell = InteractiveShell()
    said = []
    monkeypatch.setattr(shell, "_showtraceback", lambda kind, error, lines: said.append("\n".join(lines)))
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    short_messages()
    result = shell.run_cell(code)
    assert not result.success and len(said) == 1
    assert said[0] == shown if shown.startswith("Not yet") else shown in said[0]


def test_short_messages_need_no_notebook():
    short_messages()


@pytest.mark.slow
@pytest.mark.parametrize("path", **named(SOLUTIONS))
def test_untouched_and_wrong_answers_get_a_helpful_message(path):
    """One kernel for all of it: the untouched version, then each wrong answer amid the right ones."""
    student = nbformat.read(release.EXERCISES / path.name, 4)
    solution = nbformat.read(path, 4)
    wrong = tomllib.loads((Path(__file__).parent / "wrong_answers" / f"{path.stem}.toml").read_text("utf-8"))
    assert len(wrong["wrong"]) >= 3, "three typical wrong answers per notebook"
    known = {cell.metadata.nbgrader.grade_id: cell for cell in solution.cells if cell.cell_type == "code"}
    cells, expected = [], []

    def add(cell, message=None):
        cell = copy.deepcopy(cell)
        if cell.cell_type == "code":
            cells.append(cell)
            expected.append(message)

    for cell in student.cells:
        graded = cell.cell_type == "code" and cell.metadata.nbgrader.grade
        add(cell, "untouched" if graded else None)
    add(new_code_cell("%reset -f"))
    for cell in solution.cells:
        is_code = cell.cell_type == "code"
        answers = [one for one in wrong["wrong"] if is_code and one["check"] == cell.metadata.nbgrader.grade_id]
        for number, answer in enumerate(answers):
            add(new_code_cell(answer["code"]))
            add(cell, answer["says"])
            if [one["cell"] for one in answers[number + 1 : number + 2]] != [answer["cell"]]:
                add(known[answer["cell"]])  # the right answer again, once for all wrong ones: some train
        add(cell)
    assert {answer["check"] for answer in wrong["wrong"]} <= set(known)

    done = run(cells)
    for cell, message in zip(done.cells, expected, strict=True):
        errors = [output for output in cell.outputs if output.output_type == "error"]
        if message is None:
            assert not errors, f"{cell.source}\n{errors[0].ename}: {errors[0].evalue}"
            continue
        assert errors, f"nothing fails here:\n{cell.source}"
        error = errors[0]
        assert error.ename == "AssertionError", f"{error.ename}: {error.evalue}\n{cell.source}"
        assert len(error.evalue) >= 20 and " " in error.evalue, f"too short to help: {error.evalue!r}"
        assert error.traceback == [f"Not yet: {error.evalue}"], "one sentence, no traceback"
        if message != "untouched":
            assert message in error.evalue, f"expected {message!r}, got {error.evalue!r}"


def run(cells):
    """Execute cells in a fresh kernel, going on after errors, and return the notebook."""
    for number, cell in enumerate(cells):
        cell.id = f"c{number}"
    notebook = new_notebook(cells=cells)
    where = {"metadata": {"path": str(release.EXERCISES)}}
    limits = {"timeout": patience(20), "startup_timeout": patience(10)}
    NotebookClient(notebook, kernel_name="python3", allow_errors=True, resources=where, **limits).execute()
    return notebook


def exercise(change=None):
    """A made-up solution notebook with three exercises that obeys the rules, changed by ``change``."""
    first = (
        "# Exercises 02 · A test\n[02](../notebooks/02_one_hot.ipynb) [C](../notebooks/00_welcome.ipynb)\n"
        "**Time:** 5 minutes **Points:** 3"
    )
    cells = [new_markdown_cell(first)]
    for number in (1, 2, 3):
        code = f"x = None\n{BEGIN}\nx = {number}\n{END}"
        check = f"assert x == {number}, 'Count again, please.'"
        cells += [
            new_markdown_cell(f"## {number} · Name (1 point)\n<details>hint</details>"),
            new_code_cell(code, metadata={"nbgrader": {"solution": True, "grade": False, "grade_id": "a"}}),
            new_code_cell(
                check,
                metadata={
                    "nbgrader": {"solution": False, "grade": True, "grade_id": "b", "points": 1},
                    "tags": ["check"],
                },
            ),
        ]
    notebook = new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "P"}})
    for count, cell in enumerate((cell for cell in cells if cell.cell_type == "code"), start=1):
        cell.execution_count = count
    if change:
        change(notebook)
    return notebook


def problems_of(notebook, tmp_path):
    folder = tmp_path / "solutions"
    folder.mkdir()
    (tmp_path / "notebooks").mkdir()
    for name in ("00_welcome", "02_one_hot"):
        (tmp_path / "notebooks" / f"{name}.ipynb").write_text("{}")
    nbformat.write(notebook, folder / "02_one_hot.ipynb")
    return exercise_problems(folder / "02_one_hot.ipynb")


def test_rules_accept_what_obeys_them(tmp_path):
    assert problems_of(exercise(), tmp_path) == []


def _title(notebook):
    notebook.cells[0].source = notebook.cells[0].source.replace("Exercises 02", "Exercises")


def _contents(notebook):
    notebook.cells[0].source = notebook.cells[0].source.replace("../notebooks/00_welcome.ipynb", "")


def _minutes(notebook):
    notebook.cells[0].source = notebook.cells[0].source.replace("5 minutes", "soon")


def _total(notebook):
    notebook.cells[0].source = notebook.cells[0].source.replace("**Points:** 3", "**Points:** 9")


def _two_only(notebook):
    del notebook.cells[-3:]


def _name(notebook):
    notebook.cells[1].source = notebook.cells[1].source.replace("## 1", "## 7")


def _promise(notebook):
    notebook.cells[1].source = notebook.cells[1].source.replace("1 point", "5 points")


def _nothing_to_write(notebook):
    del notebook.cells[2]


def _no_hint(notebook):
    notebook.cells[1].source = notebook.cells[1].source.replace("<details>", "")


def _unknown(notebook):
    del notebook.cells[2].metadata["nbgrader"]


def _no_markers(notebook):
    notebook.cells[2].source = "x = 1"


def _untagged(notebook):
    del notebook.cells[3].metadata["tags"]


@pytest.mark.parametrize(
    "change, sentence",
    [
        (_title, "must start with the title"),
        (_contents, "must link to ../notebooks/00_welcome.ipynb"),
        (_minutes, "must say its minutes"),
        (_total, "must say its points"),
        (_two_only, "three to six are wanted"),
        (_name, "must be called '## 1"),
        (_promise, "promises 5 points, and its checks give 1"),
        (_nothing_to_write, "has no cell to write in"),
        (_no_hint, "has no hint"),
        (_unknown, "that nbgrader does not know"),
        (_no_markers, "has the two markers"),
        (_untagged, "has the tag 'check'"),
    ],
)
def test_every_rule_can_fail(change, sentence, tmp_path):
    assert any(sentence in found for found in problems_of(exercise(change), tmp_path))


def test_markers_without_partner_are_refused(tmp_path):
    notebook = exercise(lambda n: n.cells[2].update(source=f"x = 1\n{BEGIN}"))
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.metadata.nbgrader |= {
                "schema_version": 3,
                "locked": True,
                "task": False,
                "grade_id": f"c{number}",
            }
    nbformat.write(notebook, tmp_path / "02_one_hot.ipynb")
    with pytest.raises(RuntimeError, match="(?i)solution"):
        release.write_student_version(tmp_path / "02_one_hot.ipynb", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_main_removes_what_has_no_solution(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "exercises"
    folder.mkdir()
    (folder / "99_old.ipynb").write_text("{}")
    monkeypatch.setattr(release, "EXERCISES", folder)
    assert release.main() == 0
    assert "99_old.ipynb removed" in capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == {path.name for path in SOLUTIONS}
