"""Made-up submissions are graded, and code that means harm does none. The solution notebook is made up, too."""

import copy
import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

from tools.course import ROOT
from tools.grading import grade, intake, release, reports, sandbox
from tools.patience import patience

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

pytestmark = pytest.mark.slow
SECRET = "the answer is eleven"
CELL_SECONDS = patience(0.2)  # two submissions are endless, so this test waits for it
MARK = {"schema_version": 3, "task": False}
NAME = "02_test"
RIGHT = {"a": "a = 5 + 6", "n": "def n(k):\n    return 2 * k"}


def code(source, grade_id, **mark):
    full = MARK | {"grade": False, "solution": False, "locked": True, "grade_id": grade_id} | mark
    return new_code_cell(source, metadata={"nbgrader": full})


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A folder with solutions/02_test.ipynb: two exercises with 2 and 3 points."""
    folder = tmp_path_factory.mktemp("course")
    write = {"solution": True, "locked": False}
    cells = [
        new_markdown_cell("# Exercises 02"),
        code("import math\n\n\ndef helper():\n    return math.pi", "start"),
        code(f"a = None\n### BEGIN SOLUTION\n# {SECRET}\na = 11\n### END SOLUTION", "a", **write),
        code(
            "assert a is not None, 'a is None: write your code.'\nassert a == 11, f'a is {a}.'",
            "check_a",
            grade=True,
            points=2,
        ),
        code("def n(k):\n    ### BEGIN SOLUTION\n    return 2 * k\n    ### END SOLUTION", "n", **write),
        code("assert n(4) == 8, f'n(4) is {n(4)}; double it.'", "check_n", grade=True, points=3),
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    (folder / "solutions").mkdir()
    nbformat.write(new_notebook(cells=cells, metadata=metadata), folder / "solutions" / f"{NAME}.ipynb")
    patch = pytest.MonkeyPatch()
    patch.setattr(release, "SOLUTIONS", folder / "solutions")
    yield folder
    patch.undo()


@pytest.fixture(scope="module")
def exercise(course):
    return intake.exercise(course / "solutions" / f"{NAME}.ipynb")


def locked_in():
    try:
        sandbox.check(hidden=Path("/nowhere"))
    except sandbox.SandboxError as problem:
        return str(problem)
    return ""


REASON = locked_in()
needs_room = pytest.mark.skipif(bool(REASON), reason=REASON or "bubblewrap works")

# Nothing here writes to what it opens: only whether it opens is asked.
EVIL = """
from pathlib import Path
import mmap, os, socket, subprocess
done = []
def attempt(what, do):
    try:
        do()
        done.append(what)
    except Exception as problem:
        pass
def opens(path):
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
def fill():
    for number in range(100):
        Path(str(number)).write_bytes(bytes(10_000_000))
def fork():
    for number in range({threads}):
        if os.fork() == 0:
            os.pause() if hasattr(os, "pause") else __import__("signal").pause()
outside, solutions, others = {outside!r}, {solutions!r}, {submissions!r}
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger", "/dev/mem",
             "/dev/sda", "/dev/vda", "/dev/kmsg", "/sys/power/state"):
    attempt("open " + path, lambda: opens(path))
attempt("list /sys", lambda: os.listdir("/sys"))
attempt("become root", lambda: os.setuid(0))
attempt("write outside", lambda: Path(outside, "harm").write_text("harm"))
attempt("overwrite", lambda: Path(outside, "precious").write_text("harm"))
attempt("change rights", lambda: os.chmod(Path(outside, "precious"), 0o777))
attempt("delete", lambda: os.remove(Path(outside, "precious")))
attempt("write into the root", lambda: os.mkdir("/harm"))
attempt("write into /dev", lambda: os.mkdir("/dev/harm"))
attempt("write into the course", lambda: Path("/course/course_utils/harm").write_text("harm"))
attempt("write into the data", lambda: Path({data!r}, "harm").write_text("harm"))
attempt("read solutions", lambda: next(Path(solutions).glob("*.ipynb")).read_text())
attempt("read a neighbor", lambda: next(Path(others).glob("*/*.ipynb")).read_text())
attempt("follow a link", lambda: (os.symlink(solutions, "link"), os.listdir("link")))
attempt("see this test's process", lambda: os.kill({pid}, 0))
attempt("reach the network", lambda: socket.create_connection(("127.0.0.1", {port}), timeout=2))
attempt("look into what runs the cells", lambda: os.listdir(f"/proc/{{os.getppid()}}/fd"))
attempt("fill the disk", fill)
attempt("take 30 GB", lambda: bytearray(30_000_000_000))
words = ["grep", "-rlE", "the answer is elev[e]n", "/", "--include=*.ipynb", "--include=*.db"]
words += [f"--exclude-dir={{name}}" for name in ("proc", "sys", "usr", ".venv", "site-packages", "lib")]
found = subprocess.run(words, capture_output=True, text=True).stdout
if found.strip():
    done.append("found " + found)
os.remove("0")
Path("own.txt").write_text("allowed")
subprocess.Popen(["/bin/sh", "-c", "sleep 3; echo harm > {outside}/late"], start_new_session=True)
attempt("start many processes", fork)
raise RuntimeError("DONE: " + repr(done))
"""
# Clean-up met its limit of recursion here, and all that was handed in went without a grade.
DEEP = """
import os
for number in range(3000):
    os.mkdir("d")
    os.chdir("d")
a = 11
"""
# Standard output, the streams under it and every pipe that is open.
FLOOD = """
import os, stat, sys
sys.stdout.write("x" * 30_000_000)
for number in range(1, 80):
    try:
        if stat.S_ISFIFO(os.fstat(number).st_mode) or number < 3:
            os.set_blocking(number, False)
            for _ in range(20):
                os.write(number, bytes(1_000_000))
    except OSError:
        pass
a = 11
"""
MEMORY = """
import os, time
for number in range(4):
    if os.fork() == 0:
        block = b"x" * 400_000_000
        time.sleep(1000)
time.sleep(1000)
"""
STDERR = """
import sys, warnings
def n(k):
    warnings.warn("this is only a warning")
    print("10%|#", file=sys.stderr)
    return 2 * k
"""


def notebook_with(exercise_version, answers=None, change=None):
    """A student's notebook."""
    notebook = nbformat.reads(nbformat.writes(exercise_version), as_version=4)
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        if answers and name in answers:
            cell.source = answers[name]
    if change:
        change(notebook)
    return notebook


def spoil_checks(notebook):
    """Every trick with the metadata: other points, a tag that skips the cell, no assert."""
    for cell in notebook.cells:
        cell.metadata["tags"] = ["skip-execution", "raises-exception"]
        if cell.metadata.get("nbgrader", {}).get("grade"):
            cell.source = "pass"
            cell.metadata.nbgrader.points = 1000


def copy_cells(notebook):
    """What copying and pasting each cell leaves: every id twice, except those of Jupyter itself."""
    for position in range(len(notebook.cells) - 1, -1, -1):
        double = copy.deepcopy(notebook.cells[position])
        double.id = f"copy{position}"
        notebook.cells.insert(position, double)


class Class:
    """The graded class: its tables, by student."""

    def __init__(self, out, submissions, outside, said):
        self.out, self.submissions, self.outside, self.said = out, submissions, outside, said
        read = {"newline": "", "encoding": "utf-8-sig"}
        self.points = {row["student"]: row for row in csv.DictReader(out.open(**read))}
        self.details = list(csv.DictReader(out.with_name("points_details.csv").open(**read)))

    def rows(self, student):
        return [row for row in self.details if row["student"] == student]


@pytest.fixture(scope="module")
def graded(course, tmp_path_factory):
    """Grade a class with one command; every test below looks at what came out."""
    if REASON:
        pytest.skip(REASON)
    submissions, outside = tmp_path_factory.mktemp("submissions"), tmp_path_factory.mktemp("outside")
    (outside / "precious").write_text("keep me")
    student = release.student_version(course / "solutions" / f"{NAME}.ipynb")
    server = socket.create_server(("127.0.0.1", 0))

    def hand_in(name, answers=None, change=None, file=f"{NAME}.ipynb"):
        (submissions / name).mkdir()
        nbformat.write(notebook_with(student, answers, change), submissions / name / file)

    hand_in("perfect", RIGHT)
    hand_in("half", RIGHT | {"a": "a = 12"})
    hand_in("O'Brien", file=f"{NAME} (1).ipynb")
    hand_in("--help", RIGHT | {"a": "a = 1 / 0"})
    hand_in("dead", {"n": "import os\nos._exit(1)", "a": RIGHT["a"]})
    hand_in("endless", RIGHT | {"a": "while True:\n    pass"})
    hand_in("cheater", {"n": RIGHT["n"]}, spoil_checks)
    hand_in("copies", RIGHT, copy_cells)
    hand_in("warns", RIGHT | {"n": STDERR}, lambda n: n.metadata.kernelspec.update(name="conda-env-x"))
    hand_in("=1+1", RIGHT | {"a": "def f():\n    return f()\nf()"})
    hand_in(unicodedata.normalize("NFD", "Zoë 김"), RIGHT | {"a": FLOOD})
    hand_in("Müller, Anna_4711_assignsubmission_file", RIGHT | {"a": DEEP})
    hand_in("evil", RIGHT | {"a": EVIL.format(
        outside=str(outside), solutions=str(course / "solutions"), submissions=str(submissions),
        data=str(grade.data_dir()), port=server.getsockname()[1], pid=os.getpid(),
        threads=sandbox.Limits.threads,
    )})  # fmt: skip
    hand_in("greedy", {"n": MEMORY, "a": RIGHT["a"]})
    wide = notebook_with(student, RIGHT)
    wide.cells[1].outputs = [nbformat.v4.new_output("stream", text="x" * 25_000_000)]
    nbformat.write(wide, submissions / "kimminsu_LATE_12_345_02_test.ipynb")
    for name, content in (("broken", b"{not json"), ("deep", b"[" * 200_000), ("nothing", b"")):
        (submissions / name).mkdir()
        (submissions / name / f"{NAME}.ipynb").write_bytes(content)
    (submissions / "link").mkdir()
    (submissions / "link" / f"{NAME}.ipynb").symlink_to(course / "solutions" / f"{NAME}.ipynb")
    (submissions / "pipe").mkdir()
    os.mkfifo(submissions / "pipe" / f"{NAME}.ipynb")
    (submissions / "missing").mkdir()
    (submissions / "a link").symlink_to(submissions / "perfect")
    (submissions / "__MACOSX").mkdir()
    before = contents(submissions)
    out = tmp_path_factory.mktemp("out") / "points.csv"
    patch = pytest.MonkeyPatch()
    limits = {"memory": 1_000_000_000, "disk": 60_000_000}
    patch.setattr(sandbox.Limits.__init__, "__defaults__", tuple(
        limits.get(field, default) for field, default in
        zip(sandbox.Limits.__dataclass_fields__, sandbox.Limits.__init__.__defaults__, strict=True)
    ))  # fmt: skip
    said = []
    patch.setattr("tqdm.tqdm.write", lambda line, file: said.append(line))
    words = ["--cell-seconds", str(CELL_SECONDS), "--notebook-seconds", str(patience(10)), "--jobs", "2"]
    assert grade.main([str(submissions), "--out", str(out), *words]) == 0
    patch.undo()
    server.close()
    assert contents(submissions) == before, "grading must leave what was handed in as it was"
    return Class(out, submissions, outside, said)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@needs_room
@pytest.mark.parametrize(
    "student, points, note",
    [
        ("perfect", (2, 3), ""),
        ("half", (0, 3), "a is 12."),
        ("O'Brien", (0, 0), "the answer cell a is still as it was handed out | a is None: write your code."),
        ("'--help", (0, 3), "ZeroDivisionError: division by zero"),
        ("dead", (2, 0), ""),
        ("endless", (0, 3), f"this cell ran longer than {CELL_SECONDS} s and was stopped"),
        ("cheater", (0, 3), "the check check_a was changed; ours was used"),
        ("copies", (2, 3), ""),
        ("warns", (2, 3), ""),
        ("'=1+1", (0, 3), "RecursionError: maximum recursion depth exceeded"),
        ("Zoë 김", (2, 3), ""),
        ("Müller, Anna", (2, 3), ""),
        ("kimminsu", (2, 3), ""),
        ("greedy", (2, 0), ""),
        ("broken", (0, 0), "no notebook: JSONDecodeError"),
        ("deep", (0, 0), "nested without end"),
        ("nothing", (0, 0), "the file is empty"),
        ("link", (0, 0), "links are not followed"),
        ("pipe", (0, 0), "only regular files are read"),
        ("a link", (0, 0), "the student's folder is a link"),
        ("missing", (0, 0), "not handed in"),
        ("evil", (0, 3), "DONE: []"),
    ],
)
def test_points_and_note(graded, student, points, note):
    rows = graded.rows(student)
    assert [row["check"] for row in rows] == ["check_a", "check_n"]
    assert tuple(int(row["points"]) for row in rows) == points, rows
    assert note in rows[0]["note"] and bool(note) == bool(rows[0]["note"]), rows
    assert graded.points[student][NAME] == str(sum(points))


@needs_room
def test_nobody_is_lost_and_nobody_gets_less_without_a_sentence(graded):
    assert len(graded.points) == len(graded.said) == 22 and "__MACOSX" not in graded.points
    for row in graded.details:
        assert row["points"] == row["of"] or len(row["note"]) > 5, row
    assert "the kernel died" in graded.rows("dead")[1]["note"]
    assert "it used more than 1 GB of memory" in graded.rows("greedy")[1]["note"]


@needs_room
def test_evil_code_left_nothing_behind(graded):
    time.sleep(3.5)  # what it left running would write by now
    assert [path.name for path in graded.outside.iterdir()] == ["precious"]
    assert (graded.outside / "precious").read_text() == "keep me"
    assert (graded.outside / "precious").stat().st_mode & 0o777 != 0o777
    assert not (ROOT / "course_utils" / "harm").exists()


@needs_room
def test_what_deserves_a_look_is_named(graded):
    assert graded.points["perfect"]["look at this"] == ""
    assert "import socket" in graded.points["evil"]["look at this"]
    assert "socket" in graded.rows("evil")[0]["look at this"]


@needs_room
def test_tables_for_moodle_and_canvas(graded):
    """The headings that Moodle's grading worksheet and Canvas' gradebook ask for."""
    moodle = list(csv.DictReader(graded.out.with_name(f"points_moodle_{NAME}.csv").open(encoding="utf-8")))
    assert [(row["Identifier"], row["Grade"]) for row in moodle] == [("Participant 4711", "5")]
    assert {"Identifier", "Full name", "Grade", "Last modified (grade)", "Feedback comments"} <= set(moodle[0])
    canvas = list(csv.DictReader(graded.out.with_name("points_canvas.csv").open(encoding="utf-8")))
    assert list(canvas[0]) == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", NAME]
    assert canvas[0]["Student"].strip() == "Points Possible" and canvas[0][NAME] == "5"
    assert (canvas[1]["Student"], canvas[1]["ID"], canvas[1][NAME]) == ("kimminsu", "12", "5")


@needs_room
def test_a_page_for_each_student(graded):
    pages = {path.stem: path.read_text("utf-8") for path in (graded.out.parent / "feedback").iterdir()}
    assert len(pages) == len(graded.points)
    assert "4711_assignsubmission_file_feedback" in "".join(pages), "Moodle takes pages back by this name"
    assert "3 of 5" in pages["half"] and "a is 12." in pages["half"] and "a = 12" in pages["half"]
    assert SECRET not in "".join(page for name, page in pages.items() if name != "evil")


@needs_room
def test_the_same_command_goes_on(graded, capsys, monkeypatch):
    """Half a line, as a crash leaves it: that one is graded again, no other."""
    progress = graded.out.with_name("points_progress.jsonl")
    lines = progress.read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["student"] == "half"]
    assert len(kept) == 1 and len(lines) == 15
    others = [line for line in lines if line not in kept]
    progress.write_text("\n".join([*others, kept[0][:40]]))
    rooms = []
    real = sandbox.run
    monkeypatch.setattr(sandbox, "run", lambda job, *rest: rooms.append(job["do"]) or real(job, *rest))
    words = ["--cell-seconds", str(CELL_SECONDS), "--notebook-seconds", str(patience(10))]
    before = graded.out.read_text("utf-8-sig")
    assert grade.main([str(graded.submissions), "--out", str(graded.out), *words]) == 0
    assert rooms.count("execute") == 1
    assert graded.out.read_text("utf-8-sig") == before
    assert "22 notebooks, 14 of them before" in capsys.readouterr().out
    assert json.loads(progress.read_text().splitlines()[-1])["student"] == "half"


@needs_room
def test_an_early_end_keeps_what_is_known(graded, tmp_path, monkeypatch, capsys):
    """Ctrl-C after the first notebook: its points are in the tables, the endless one ends at once."""
    for name in ("half", "endless"):
        shutil.copytree(graded.submissions / name, tmp_path / "in" / name)
    monkeypatch.setattr("tqdm.tqdm.write", lambda line, file: (_ for _ in ()).throw(KeyboardInterrupt))
    out = tmp_path / "points.csv"
    start = time.monotonic()
    words = ["--out", str(out), "--jobs", "2", "--cell-seconds", "3000", "--notebook-seconds", "3000"]
    assert grade.main([str(tmp_path / "in"), *words]) == 130
    assert time.monotonic() - start < patience(10)
    assert "goes on" in capsys.readouterr().err
    assert out.read_text("utf-8-sig").splitlines()[1].startswith("half,3,3,5")
    assert "half" in out.with_name("points_progress.jsonl").read_text()


@needs_room
def test_a_notebook_has_a_time_limit(exercise):
    """Code that no interrupt stops: the room ends, and what was done before counts."""
    stuck = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\nwhile True: pass"
    job = {"do": "execute", "cells": [stuck], "cell_seconds": 100, "environment": {}}
    start = time.monotonic()
    result = sandbox.run(job, {}, sandbox.Limits(seconds=3))
    assert 3 <= time.monotonic() - start < patience(3)
    assert result.stopped == "it ran longer than 3 s in all"
    result.lines = [json.dumps({"cell": number, "errors": []}) for number in range(4)]
    rows = grade.score(exercise, composed(exercise, RIGHT), result)
    assert [(row["points"], row["note"]) for row in rows] == [(2, ""), (0, f"stopped: {result.stopped}")]


@needs_room
def test_command_line_with_a_real_notebook(tmp_path):
    """What the instructor guide says, on the solution of notebook 01."""
    (tmp_path / "in" / "ada").mkdir(parents=True)
    shutil.copy(ROOT / "solutions" / "01_ratings.ipynb", tmp_path / "in" / "ada")
    command = [sys.executable, "-m", "tools.grading.grade", "in", "--only", "01_ratings"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "points.csv").read_text("utf-8-sig")
    assert table == "student,01_ratings,total,of,look at this\nada,10,10,10,\n"


# What a submission gives


def composed(exercise, answers=None, change=None):
    student = release.student_version(exercise.path)
    notebook = notebook_with(student, answers, change)
    return intake.compose(exercise, intake._cells(json.loads(nbformat.writes(notebook))))


def runs(graded):
    return [(step.kind, step.name, step.source) for step in graded.steps]


def at(notebook, name):
    """The position of one of our cells."""
    return next(n for n, cell in enumerate(notebook.cells) if intake.mark(cell).get("grade_id") == name)


def moved(notebook):
    notebook.cells.append(notebook.cells.pop(at(notebook, "a")))


def split(notebook):
    """JupyterLab gives both parts the metadata of the cell."""
    place = at(notebook, "a")
    first, second = (copy.deepcopy(notebook.cells[place]) for _ in range(2))
    first.source, second.source, second.id = "b = 5", "a = b + 6", "second"
    notebook.cells[place : place + 1] = [first, second]


def stripped(notebook):
    for position, cell in enumerate(notebook.cells):
        cell.metadata, cell.id = nbformat.NotebookNode(), f"new{position}"


def as_markdown(notebook):
    notebook.cells[at(notebook, "a")].cell_type = "markdown"


def doubled(notebook):
    """The answer cell once more, as it was handed out."""
    stub = copy.deepcopy(notebook.cells[at(notebook, "a")])
    stub.source, stub.id = "a = None\n# YOUR CODE HERE", "stub"
    notebook.cells.insert(at(notebook, "a") + 1, stub)


def deleted_checks(notebook):
    notebook.cells = [cell for cell in notebook.cells if not intake.mark(cell).get("grade")]


def answered_below(notebook):
    """The answer cell left alone, the answer in a cell of one's own, after the check."""
    notebook.cells[at(notebook, "a")].source = "a = None\n# YOUR CODE HERE"
    notebook.cells.insert(at(notebook, "check_a") + 1, new_code_cell("a = 5 + 6"))


def answered_in_the_check(notebook):
    notebook.cells[at(notebook, "a")].source = "a = None\n# YOUR CODE HERE"
    check = notebook.cells[at(notebook, "check_a")]
    check.source = "a = 5 + 6\n" + check.source


@pytest.mark.parametrize(
    "change, remark",
    [
        (None, ""),
        (spoil_checks, "was changed; ours was used"),
        (moved, ""),
        (split, "2 cells a ran one after the other"),
        (stripped, "a was found in a cell of the student's own"),
        (as_markdown, "a was a markdown cell; it ran as code"),
        (doubled, ""),
        (copy_cells, ""),
        (deleted_checks, ""),
        (answered_below, "a was found in a cell of the student's own"),
        (answered_in_the_check, "a was found in a cell of the student's own"),
    ],
)
def test_an_honest_answer_is_found_whatever_happened_to_its_cell(exercise, change, remark):
    found = composed(exercise, RIGHT, change)
    names, checks = {}, 0
    for step in found.steps:  # what the room does, without a room
        exec(step.source, names)
        checks += step.kind == "check"
    assert checks == 2
    assert [step.source for step in found.steps if step.kind == "check"] == [
        cell.source for cell in exercise.cells if intake.mark(cell)["grade"]
    ]
    said = " | ".join(sentence for sentences in found.remarks.values() for sentence in sentences)
    assert remark in said and bool(remark) == bool(said), said


def test_a_copy_after_the_check_is_an_experiment(exercise):
    """Run All checked the first one, and so does grading."""

    def change(notebook):
        copied = copy.deepcopy(notebook.cells[at(notebook, "a")])
        copied.source, copied.id = "a = 'what if?'", "copied"
        notebook.cells.insert(at(notebook, "check_a") + 1, copied)

    found = composed(exercise, RIGHT, change)
    assert [step.source for step in found.steps if step.name == "a"] == [RIGHT["a"]]
    kinds = [kind for kind, _, _ in runs(found)]
    assert kinds == ["given", "given", "answer", "check", "own", "answer", "check"]


def test_cells_of_the_student_run_where_they_stood(exercise):
    def change(notebook):
        notebook.cells.insert(at(notebook, "a"), new_code_cell("b = 5"))
        notebook.cells.append(new_code_cell("a = 'only a try'"))

    kinds = [kind for kind, _, _ in runs(composed(exercise, RIGHT | {"a": "a = b + 6"}, change))]
    assert kinds == ["given", "given", "own", "answer", "check", "answer", "check", "own"]


def test_what_is_missing_is_named(exercise):
    found = composed(exercise, RIGHT, lambda n: n.cells.pop(at(n, "a")))
    assert found.remarks["a"] == ["the answer cell a is missing in the notebook"]
    other = intake.compose(exercise, [{"cell_type": "code", "source": "x = 1", "metadata": {}, "id": "x"}])
    assert "is it another notebook?" in other.remarks[""][0]


@pytest.mark.parametrize(
    "source, flag",
    [
        ("a = 11", ""),
        ("import numpy as np\nimport keras\na = np.ones(3)\nself = keras.Model()\nself.x = 1", ""),
        ("get_ipython().input_transformers_cleanup.append(f)", "get_ipython"),
        ("import builtins", "import builtins"),
        ("from inspect import stack", "import inspect"),
        ("import os, sys as s\nprint(sys.path)", "import sys"),
        ("import numpy as np\nnp.isclose = lambda *a: True", "np.isclose ="),
        ("np.allclose = f", "np.allclose ="),
        ("def helper():\n    return 1", "helper ="),
        ("len = f", "len ="),
        ("%%capture\na = 11", "%%capture"),
        ("!rm -rf x", "!rm"),
        ("a = (\nget_ipython()", "get_ipython"),
        ("def AssertionError(*x): pass", "AssertionError ="),
    ],
)
def test_a_look_at_this(exercise, source, flag):
    found = composed(exercise, {"a": source}).look
    assert found == ([flag] if flag else []), found


# Names and files


def folder_with(tmp_path, *paths):
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("{}")
    return tmp_path


@pytest.mark.skipif(sys.platform != "linux", reason="Other systems refuse some of these names.")
def test_names_of_students(tmp_path):
    folder_with(
        tmp_path,
        "O'Brien/x", "Kim (2)/x", "Müller, Anna_123_assignsubmission_file_/x", "김민수/x", ".hidden/x",
        "__MACOSX/x", "Ann Lee_7_assignsubmission_file_02_one_hot.ipynb", "leeann_22_333_02_one_hot-1.ipynb",
        "leeann_LATE_22_334_03_embeddings.ipynb", "Ann Lee_8_assignsubmission_file/x", "readme.txt",
        unicodedata.normalize("NFD", "Zoë") + "/x", "a\nb/x", "-rf/x", "=2+3/x", "Zoe\x1b[31m/x",
    )  # fmt: skip
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")
    found = {who.name: who for who in intake.students(tmp_path)}
    assert set(found) == {
        "O'Brien", "Kim (2)", "Müller, Anna", "김민수", "Ann Lee (7)", "Ann Lee (8)", "leeann", "Zoë", "a�b",
        "-rf", "=2+3", "Zoe�[31m", "�",
    }  # fmt: skip
    assert (found["Müller, Anna"].source, found["Müller, Anna"].number) == ("moodle", "123")
    assert found["leeann"].number == "22" and len(found["leeann"].files) == 2


@pytest.mark.parametrize(
    "files, chosen, remark",
    [
        (["02_test.ipynb"], "02_test.ipynb", ""),
        (["02_test (1).ipynb"], "02_test (1).ipynb", ""),
        (["exercises/02_test-Copy1.IPYNB"], "exercises/02_test-Copy1.IPYNB", ""),
        (["kim_02_test.ipynb", ".ipynb_checkpoints/02_test-checkpoint.ipynb"], "kim_02_test.ipynb", ""),
        (["02_test.ipynb", "02_test (1).ipynb"], "02_test (1).ipynb", "of 2 files the newest"),
        (["homework.ipynb"], "homework.ipynb", "handed in as homework.ipynb"),
        (["102_test.ipynb", "empty.ipynb"], None, "not handed in under this name (there is: 102_test"),
        (["._02_test.ipynb", "__MACOSX/02_test.ipynb"], None, "not handed in"),
        ([], None, "not handed in"),
    ],
)
def test_which_file(exercise, tmp_path, files, chosen, remark):
    student = nbformat.writes(release.student_version(exercise.path))
    for number, name in enumerate(files):
        folder_with(tmp_path, f"ada/{name}")
        (tmp_path / "ada" / name).write_text("{}" if name.startswith(("102", "empty")) else student)
        os.utime(tmp_path / "ada" / name, (number, number))
    (tmp_path / "ada").mkdir(exist_ok=True)
    (who,) = intake.students(tmp_path)
    path, said = intake.choose(who, [exercise])[NAME]
    assert path == (tmp_path / "ada" / chosen if chosen else None)
    assert remark in said and bool(remark) == bool(said)


@pytest.mark.parametrize(
    "content, sentence",
    [
        ('{"cells": 3}', "it has no cells"),
        ("[1, 2]", "the file holds something else"),
        ('{"cells": [{"cell_type": "code", "source": "%s"}]}' % ("x" * 1_000_001), "look at it by hand"),
        ('{"cells": ["text"]}', "no notebook"),
        ("\ufeff", "no notebook"),
    ],
)
def test_what_is_no_notebook(tmp_path, content, sentence):
    (tmp_path / "x.ipynb").write_text(content, "utf-8")
    with pytest.raises(intake.Refused, match=sentence):
        intake.read(tmp_path / "x.ipynb")


def test_old_and_odd_notebooks_are_read(tmp_path):
    cell = {"cell_type": "code", "input": ["a = 1\n", "b = 2"], "outputs": [], "language": "python"}
    old = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {},
        "worksheets": [{"cells": [cell], "metadata": {}}],
    }
    (tmp_path / "old.ipynb").write_text(json.dumps(old))
    new = {"cells": [{"cell_type": "code", "source": ["a = 1\n", "b = 2"], "metadata": 7}]}
    (tmp_path / "new.ipynb").write_bytes(b"\xef\xbb\xbf" + json.dumps(new).encode())
    for name in ("old", "new"):
        assert [cell["source"] for cell in intake.read(tmp_path / f"{name}.ipynb")[0]] == ["a = 1\nb = 2"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@A1+2", "\t=1"])
def test_no_formula_enters_a_table(tmp_path, text):
    who = intake.Student(text)
    row = {"check": text, "points": -1, "of": 2, "note": text}
    reports.tables([grade.Outcome(who, NAME, [row], [text])], tmp_path / "points.csv")
    for path in tmp_path.glob("*.csv"):
        with open(path, newline="", encoding="utf-8-sig") as file:
            for cell in [cell for line in csv.reader(file) for cell in line]:
                assert not cell.startswith(reports.FORMULA) or cell == "-1", "points stay numbers"


@pytest.mark.parametrize(
    "name, file", [("a/b", "a_b"), ("con", "_con"), ("-rf", "_-rf"), ("..", "student"), ("x" * 300, "x" * 180)]
)
def test_names_of_pages(name, file):
    assert reports.file_name(intake.Student(name)) == file


def test_two_pages_of_one_name_and_no_markup_from_students(tmp_path):
    row = {"check": "c", "points": 0, "of": 2, "note": "<script>alert(1)</script>"}
    step = intake.Step("</pre><script>alert(2)</script>", "answer", "a")
    people = [grade.Outcome(intake.Student(name), NAME, [row], code=[step]) for name in ("a/b", "A:B")]
    folder = reports.pages(people, tmp_path / "feedback")
    assert sorted(path.name for path in folder.iterdir()) == ["A_B 2.html", "a_b.html"]
    assert "<script>" not in (folder / "a_b.html").read_text()


def test_one_submission_never_stops_the_others(course, tmp_path, monkeypatch):
    """A fault of our own: a sentence for this student, and the next is graded."""
    monkeypatch.setattr(sandbox, "check", lambda hidden: None)
    answers = [ValueError("a fault"), sandbox.Result([], errors="bwrap: no room")]

    def run(*rest):
        answer = answers.pop()
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(sandbox, "run", run)
    real = intake.choose

    def choose(who, exercises):
        if who.name == "dan":
            raise PermissionError("no entry")
        return real(who, exercises)

    monkeypatch.setattr(intake, "choose", choose)
    for name in ("ann", "bob", "cy", "dan"):
        (tmp_path / "in" / name).mkdir(parents=True)
        shutil.copy(course / "solutions" / f"{NAME}.ipynb", tmp_path / "in" / name)
    answers.append(sandbox.Result(['{"started": true}', '{"cell": 0, "errors": []}', "7", '{"cell"']))
    found = grade.grade(tmp_path / "in", jobs=1, progress=tmp_path / "progress")
    notes = [outcome.rows[0]["note"] for outcome in found]
    assert "the kernel died" in notes[0]
    assert "bwrap: no room" in notes[1] and "grade it again" in notes[1]
    assert "look at it by hand: ValueError: a fault" in notes[2]
    assert "look at it by hand: PermissionError: no entry" in notes[3]
    assert len((tmp_path / "progress").read_text().splitlines()) == 1, "faults of this machine are not kept"


@pytest.mark.parametrize(
    "build, sentence",
    [
        (lambda folder: None, "is no folder"),
        (lambda folder: folder.mkdir(), "holds no folders"),
    ],
)
def test_what_is_no_folder_of_submissions(tmp_path, build, sentence, capsys):
    build(tmp_path / "in")
    assert grade.main([str(tmp_path / "in"), "--out", str(tmp_path / "points.csv")]) == 2
    assert sentence in capsys.readouterr().err


def test_unknown_notebook(course, tmp_path, capsys):
    (tmp_path / "ada").mkdir()
    assert grade.main([str(tmp_path), "--only", "99_nothing", "--out", str(tmp_path / "points.csv")]) == 2
    assert "Choose one of: 02_" in capsys.readouterr().err


# The room


def test_without_bubblewrap(tmp_path, monkeypatch, capsys):
    (tmp_path / "ada").mkdir()
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    assert grade.main([str(tmp_path), "--out", str(tmp_path / "points.csv")]) == 2
    assert "apt install bubblewrap" in capsys.readouterr().err


@needs_room
def test_room_that_would_show_the_solutions():
    with pytest.raises(sandbox.SandboxError, match="Move the course"):
        sandbox.check(hidden=Path("/usr/bin"))


@needs_room
def test_room_that_can_not_be_built(monkeypatch):
    monkeypatch.setattr(sandbox, "SYSTEM", ())
    monkeypatch.setattr(sandbox.sys, "base_prefix", "/nowhere")
    with pytest.raises(sandbox.SandboxError, match="can't lock anything in"):
        sandbox.check(hidden=Path("/nowhere"))


@needs_room
@pytest.mark.parametrize(
    "option, names",
    [
        (["--remount-ro", "/dev"], "write to /dev"),
        (["--ro-bind", "/proc/sys", "/proc/sys"], "write to /proc/sys/kernel/core_pattern"),
    ],
)
def test_a_room_that_is_not_safe_is_refused(monkeypatch, option, names):
    """Without one of its options, and without giving up the rights of root. Nothing is written."""
    if "/proc/sys" in option and os.geteuid():
        pytest.skip("Only root could write to /proc/sys.")
    real = sandbox.command

    def open_room(*rest):
        words = real(*rest)
        place = next(n for n in range(len(words)) if words[n : n + len(option)] == option)
        return words[:place] + words[place + len(option) :]

    monkeypatch.setattr(sandbox, "command", open_room)
    monkeypatch.setattr(sandbox, "IDS", (os.geteuid(), 1))
    with pytest.raises(sandbox.SandboxError, match=f"is not safe here: code in it could {names}"):
        sandbox.check(hidden=Path("/nowhere"))
