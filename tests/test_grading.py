"""Made-up submissions are graded, and code that means harm does none. The solution notebook is made up, too."""

import csv
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from tools.course import ROOT
from tools.grading import grade, release, sandbox
from tools.patience import patience

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

pytestmark = pytest.mark.slow
SECRET = "the answer is eleven"
CELL_SECONDS = patience(0.3)  # one submission is endless, so this test waits for it once
MARK = {"schema_version": 3, "task": False}
NAME = "02_test"


def code(source, grade_id, **mark):
    full = MARK | {"grade": False, "solution": False, "locked": True, "grade_id": grade_id} | mark
    return new_code_cell(source, metadata={"nbgrader": full})


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A folder with solutions/02_test.ipynb: two exercises with 2 and 3 points, on the real data."""
    folder = tmp_path_factory.mktemp("course")
    write = {"solution": True, "locked": False}
    cells = [
        code("from course_utils.data import load_ratings\nratings = load_ratings()", "start"),
        code(f"a = None\n### BEGIN SOLUTION\n# {SECRET}\na = 11\n### END SOLUTION", "a", **write),
        code(
            "assert a is not None, 'a is None: write your code.'\nassert a == 11, f'a is {a}.'",
            "check_a",
            grade=True,
            points=2,
        ),
        code("n = None\n### BEGIN SOLUTION\nn = len(ratings)\n### END SOLUTION", "n", **write),
        code("assert n == 100_000, f'n is {n}; count the rows.'", "check_n", grade=True, points=3),
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    (folder / "solutions").mkdir()
    nbformat.write(new_notebook(cells=cells, metadata=metadata), folder / "solutions" / f"{NAME}.ipynb")
    return folder


def locked_in():
    try:
        sandbox.check(Path(sys.prefix), hidden=Path("/nowhere"))
    except sandbox.SandboxError as problem:
        return str(problem)
    return ""


REASON = locked_in()
needs_room = pytest.mark.skipif(bool(REASON), reason=REASON or "bubblewrap works")

EVIL = """
from pathlib import Path
import os, socket, subprocess
done = []
def attempt(what, do):
    try:
        do()
        done.append(what)
    except Exception as problem:
        pass
outside, solutions, others = {outside!r}, {solutions!r}, {submissions!r}
attempt("write outside", lambda: Path(outside, "harm").write_text("harm"))
attempt("overwrite", lambda: Path(outside, "precious").write_text("harm"))
attempt("change rights", lambda: os.chmod(Path(outside, "precious"), 0o777))
attempt("delete", lambda: os.remove(Path(outside, "precious")))
attempt("write into the course", lambda: Path({package!r}, "harm").write_text("harm"))
attempt("write into the data", lambda: Path({data!r}, "harm").write_text("harm"))
attempt("read solutions", lambda: next(Path(solutions).glob("*.ipynb")).read_text())
attempt("read a neighbor", lambda: next(Path(others).glob("*/*.ipynb")).read_text())
attempt("follow a link", lambda: (os.symlink(solutions, "link"), os.listdir("link")))
attempt("see this test's process", lambda: os.kill({pid}, 0))
attempt("reach the network", lambda: socket.create_connection(("127.0.0.1", {port}), timeout=2))
words = ["grep", "-rlE", "the answer is elev[e]n", "/", "--include=*.ipynb", "--include=*.db"]
words += [f"--exclude-dir={{name}}" for name in ("proc", "sys", "usr", ".venv")]
found = subprocess.run(words, capture_output=True, text=True).stdout
if found.strip():
    done.append("found " + found)
Path("own.txt").write_text("allowed")
subprocess.Popen(["/bin/sh", "-c", "sleep 3; echo harm > {outside}/late"], start_new_session=True)
raise RuntimeError("DONE: " + repr(done))
"""


@pytest.fixture(scope="module")
def graded(course, tmp_path_factory):
    """Grade ten submissions at once; return the rows, the folder of submissions and a folder outside."""
    if REASON:
        pytest.skip(REASON)
    patch = pytest.MonkeyPatch()
    patch.setattr(release, "SOLUTIONS", course / "solutions")
    submissions, outside = tmp_path_factory.mktemp("submissions"), tmp_path_factory.mktemp("outside")
    (outside / "precious").write_text("keep me")
    student = release.student_version(course / "solutions" / f"{NAME}.ipynb")
    server = socket.create_server(("127.0.0.1", 0))

    def hand_in(name, change=None, answers=None):
        notebook = nbformat.from_dict(student)
        notebook = nbformat.reads(nbformat.writes(notebook), as_version=4)
        for cell in notebook.cells:
            if answers and cell.metadata.nbgrader.grade_id in answers:
                cell.source = answers[cell.metadata.nbgrader.grade_id]
        if change:
            change(notebook)
        (submissions / name).mkdir()
        nbformat.write(notebook, submissions / name / f"{NAME}.ipynb")

    right = {"a": "a = 5 + 6", "n": "n = ratings.shape[0]"}
    hand_in("perfect", answers=right)
    hand_in("half", answers={"a": "a = 12", "n": right["n"]})
    hand_in("empty")
    hand_in("crashing", answers={"a": "a = 1 / 0", "n": right["n"]})
    hand_in("dead", answers={"a": "import os; os._exit(1)", "n": right["n"]})
    hand_in("endless", answers={"a": "while True:\n    pass", "n": right["n"]})
    hand_in("cheater", lambda n: [c.update(source="pass") for c in n.cells if c.metadata.nbgrader.grade])
    hand_in("foreign", lambda n: n.metadata.kernelspec.update(name="conda-env-x"), right)
    evil = EVIL.format(
        outside=str(outside),
        solutions=str(course / "solutions"),
        submissions=str(submissions),
        package=str(ROOT / "course_utils"),
        data=str(grade.data_dir()),
        port=server.getsockname()[1],
        pid=os.getpid(),
    )
    hand_in("evil", answers={"a": evil, "n": right["n"]})
    (submissions / "broken").mkdir()
    (submissions / "broken" / f"{NAME}.ipynb").write_text("{not json")
    (submissions / "link").mkdir()
    (submissions / "link" / f"{NAME}.ipynb").symlink_to(course / "solutions" / f"{NAME}.ipynb")
    (submissions / "missing").mkdir()
    before = contents(submissions)
    rows = grade.grade(submissions, cell_seconds=CELL_SECONDS, notebook_seconds=patience(15))
    patch.undo()
    server.close()
    assert contents(submissions) == before, "grading must leave what was handed in as it was"
    return rows, submissions, outside


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@needs_room
@pytest.mark.parametrize(
    "student, points, note",
    [
        ("perfect", (2, 3), ""),
        ("half", (0, 3), "a is 12."),
        ("empty", (0, 0), "a is None: write your code."),
        ("crashing", (0, 3), "ZeroDivisionError"),
        ("dead", (0, 0), "the kernel died"),
        ("endless", (0, 3), f"this cell ran longer than {CELL_SECONDS} s and was stopped"),
        ("cheater", (0, 0), "a is None"),
        ("foreign", (2, 3), ""),
        ("broken", (0, 0), "no notebook"),
        ("link", (0, 0), "links are not followed"),
        ("missing", (0, 0), "not handed in"),
        ("evil", (0, 3), "DONE: []"),
    ],
)
def test_points_and_note(graded, student, points, note):
    rows = [row for row in graded[0] if row["student"] == student]
    assert [row["check"] for row in rows] == ["check_a", "check_n"]
    assert tuple(row["points"] for row in rows) == points, rows
    assert note in rows[0]["note"] and bool(note) == bool(rows[0]["note"]), rows


@needs_room
def test_evil_code_left_nothing_behind(graded):
    time.sleep(4)  # what it left running would write by now
    outside = graded[2]
    assert [path.name for path in outside.iterdir()] == ["precious"]
    assert (outside / "precious").read_text() == "keep me" and (
        outside / "precious"
    ).stat().st_mode & 0o777 != 0o777
    assert not (ROOT / "course_utils" / "harm").exists()


@needs_room
def test_tables(graded, tmp_path):
    out, details = grade.write(graded[0], tmp_path / "points.csv")
    summary = {row["student"]: row for row in csv.DictReader(out.open())}
    assert summary["half"] == {"student": "half", NAME: "3", "total": "3", "of": "5"}
    assert len(list(csv.DictReader(details.open()))) == len(graded[0])
    assert not list(tmp_path.glob("*.part"))


@needs_room
def test_a_notebook_has_a_time_limit(course, tmp_path, monkeypatch):
    """Code that no interrupt stops: the whole notebook is given up, and the next student is graded."""
    monkeypatch.setattr(release, "SOLUTIONS", course / "solutions")
    solution = nbformat.read(course / "solutions" / f"{NAME}.ipynb", as_version=4)
    for student in ("ann", "bob"):
        (tmp_path / student).mkdir()
        nbformat.write(solution, tmp_path / student / f"{NAME}.ipynb")
    solution.cells[
        1
    ].source = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\nwhile True: pass"
    nbformat.write(solution, tmp_path / "ann" / f"{NAME}.ipynb")
    seconds = patience(1)  # not more, because this test waits for it once
    rows = grade.grade(tmp_path, cell_seconds=2 * seconds, notebook_seconds=seconds)
    assert [row["points"] for row in rows] == [0, 0, 2, 3]
    assert f"ran longer than {seconds} s" in rows[0]["note"]


@needs_room
def test_command_line_with_a_real_notebook(tmp_path):
    """What the instructor guide says, on the solution of notebook 02."""
    (tmp_path / "in" / "ada").mkdir(parents=True)
    shutil.copy(release.SOLUTIONS / "02_one_hot.ipynb", tmp_path / "in" / "ada")
    command = [sys.executable, "-m", "tools.grading.grade", "in", "--only", "02_one_hot", "--out", "points.csv"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "points.csv").read_text() == "student,02_one_hot,total,of\nada,10,10,10\n"


@pytest.mark.parametrize(
    "build, sentence",
    [
        (lambda folder: None, "is no folder"),
        (lambda folder: folder.mkdir(), "holds no folders"),
        (lambda folder: (folder / "a;b").mkdir(parents=True), "Rename"),
    ],
)
def test_what_is_no_folder_of_submissions(tmp_path, build, sentence, capsys):
    build(tmp_path / "in")
    assert grade.main([str(tmp_path / "in")]) == 2
    assert sentence in capsys.readouterr().err


def test_unknown_notebook(tmp_path, capsys):
    (tmp_path / "ada").mkdir()
    assert grade.main([str(tmp_path), "--only", "99_nothing"]) == 2
    assert "02_one_hot" in capsys.readouterr().err


def test_without_bubblewrap(tmp_path, monkeypatch, capsys):
    (tmp_path / "ada").mkdir()
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    assert grade.main([str(tmp_path)]) == 2
    assert "apt install bubblewrap" in capsys.readouterr().err


@needs_room
def test_room_that_would_show_the_solutions(tmp_path):
    with pytest.raises(sandbox.SandboxError, match="Move the course"):
        sandbox.check(tmp_path, hidden=Path("/usr/bin"))


@needs_room
def test_room_that_can_not_be_built(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "SYSTEM", ())
    monkeypatch.setattr(sandbox.sys, "base_prefix", "/nowhere")
    with pytest.raises(sandbox.SandboxError, match="can't lock anything in"):
        sandbox.check(tmp_path, hidden=Path("/nowhere"))
