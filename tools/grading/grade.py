"""Grade submissions: ``python -m tools.grading.grade FOLDER``, or ``make grade SUBMISSIONS=FOLDER``.

``FOLDER`` holds a folder for each student, with exercise notebooks under their own names, for example
``FOLDER/ada/02_one_hot.ipynb``. nbgrader puts our checks back in place of whatever became of them, runs
each notebook in a fresh kernel and counts the points. Each kernel is locked in (``sandbox``). Nothing in
``FOLDER`` is changed.

Two tables are written: ``points.csv`` (a row for each student) and ``points_details.csv`` (a row for each
check, with what it said).
"""

import argparse
import contextlib
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from course_utils.fetch import data_dir
from tools import ROOT
from tools.grading import release, sandbox

import nbformat
from nbgrader.utils import determine_grade

CELL_SECONDS = 60
NOTEBOOK_SECONDS = 600
BIGGEST_SUBMISSION = 20_000_000  # bytes of one notebook
BIGGEST_FILE = 200_000_000  # bytes that code may write into one file
MEMORY = 16_000_000_000  # bytes of address space; TensorFlow reserves gigabytes that it never uses
DETAILS = ("student", "notebook", "check", "points", "of", "note")
STUDENT = re.compile(r"[\w.@+-]+( [\w.@+-]+)*")  # also names with blanks, but no path separators


class Skipped(Exception):
    """A notebook could not be run to its end. The message says why."""


def grade(
    submissions: Path,
    only: str | None = None,
    cell_seconds: int = CELL_SECONDS,
    notebook_seconds: int = NOTEBOOK_SECONDS,
) -> list[dict]:
    """Grade every notebook of every student, one after the other.

    Args:
        submissions: the folder with a folder for each student.
        only: the name of one notebook, such as "02_one_hot"; all of them unless given.
        cell_seconds: the time limit of one cell.
        notebook_seconds: the time limit of one notebook.

    Returns:
        One dictionary with the keys of ``DETAILS`` for each check of each solution notebook, students in the
        order of their names. A notebook that is missing or could not be graded has 0 points and a note.

    Raises:
        ValueError: when ``submissions`` holds no folder of a student, or there is no notebook ``only``.
        sandbox.SandboxError: when this machine can't lock code in.
        RuntimeError: when nbgrader can't use our own solution notebooks.
    """
    students = _students(submissions)
    sources = [path for path in release.solution_notebooks() if only in (None, path.stem)]
    if not sources:
        known = ", ".join(path.stem for path in release.solution_notebooks())
        raise ValueError(f"There is no solution notebook {only!r}. Choose one of: {known}.")
    rows = []
    with tempfile.TemporaryDirectory(prefix="grade-") as temporary:
        course = Path(temporary).resolve()
        sandbox.check(course, hidden=release.SOLUTIONS)
        _prepare(course, sources)
        for student in students:
            for path in sources:
                note, points, notes = "", {}, {}
                try:
                    _run(course, submissions / student / path.name, student, cell_seconds, notebook_seconds)
                    points, notes = _results(course, student, path.stem)
                except Skipped as reason:
                    note = str(reason)
                checks = _checks(nbformat.read(path, as_version=4))
                for check, of in checks:
                    values = (student, path.stem, check, points.get(check, 0), of, notes.get(check, note))
                    rows.append(dict(zip(DETAILS, values, strict=True)))
                total = sum(points.values()), sum(of for _, of in checks)
                print(f"{student}  {path.stem}  {total[0]} of {total[1]}  {note}".rstrip(), flush=True)
    return rows


def _students(submissions: Path) -> list[str]:
    """Return the names of the students' folders."""
    example = "Expected a folder for each student, as in SUBMISSIONS/ada/02_one_hot.ipynb."
    if not submissions.is_dir():
        raise ValueError(f"{submissions} is no folder. {example}")
    names = sorted(path.name for path in submissions.iterdir() if path.is_dir() and path.name[0] != ".")
    if not names:
        raise ValueError(f"{submissions} holds no folders. {example}")
    bad = [name for name in names if not STUDENT.fullmatch(name) or (submissions / name).is_symlink()]
    if bad:
        raise ValueError(
            f"Rename {bad}: a student's folder is no link, and its name has letters, digits, . _ @ + -"
        )
    return names


def _prepare(course: Path, sources: list[Path]) -> None:
    """Build nbgrader's folder, with every solution notebook as an assignment of its own."""
    _configure(course, CELL_SECONDS)
    for path in sources:
        folder = course / "source" / path.stem
        folder.mkdir(parents=True)
        shutil.copy(path, folder)
        try:
            _nbgrader(course, ["generate_assignment", path.stem, "--create", "--force"], NOTEBOOK_SECONDS)
        except Skipped as reason:
            raise RuntimeError(f"solutions/{path.name}: {reason}") from reason


def _configure(course: Path, cell_seconds: int) -> None:
    """Write nbgrader's settings."""
    stopped = f"this cell ran longer than {cell_seconds} s and was stopped"
    timeout = {"ename": "Timeout", "evalue": stopped, "traceback": [stopped]}
    # The room has no network: nbgrader and the kernel talk through files in it.
    (course / "nbgrader_config.py").write_text(
        f"""c = get_config()
c.ClearSolutions.code_stub = {{"python": {release.STUB!r}}}
c.Execute.kernel_name = "graded"
c.Execute.timeout = {cell_seconds}
c.Execute.error_on_timeout = {timeout!r}
c.KernelManager.transport = "ipc"
c.KernelManager.connection_file = {str(course / "room" / "kernel.json")!r}
"""
    )


def _run(course: Path, submission: Path, student: str, cell_seconds: int, notebook_seconds: int) -> None:
    """Run one submission; ``course / "autograded"`` holds the result then.

    Raises:
        Skipped: when there is nothing to run, or it did not run to its end.
    """
    if not os.path.lexists(submission):
        raise Skipped("not handed in")
    if submission.is_symlink() or not submission.is_file():
        raise Skipped("no file of its own: links are not followed")
    if submission.stat().st_size > BIGGEST_SUBMISSION:
        raise Skipped(f"larger than {BIGGEST_SUBMISSION / 1e6:.0f} MB: clear its outputs and hand it in again")
    try:
        nbformat.validate(nbformat.read(submission, as_version=4))
    except Exception as problem:  # a broken file can cause anything
        raise Skipped(f"no notebook: {type(problem).__name__}") from problem
    target = course / "submitted" / student / submission.stem
    target.mkdir(parents=True)
    shutil.copyfile(submission, target / submission.name)
    _configure(course, cell_seconds)
    with _room(course):
        words = ["autograde", submission.stem, "--student", student, "--create", "--force"]
        _nbgrader(course, words, notebook_seconds)


@contextlib.contextmanager
def _room(course: Path) -> Iterator[None]:
    """Make a fresh folder for one kernel, and describe the kernel "graded", which is locked into it."""
    room, data = course / "room", data_dir().resolve()
    shutil.rmtree(room, ignore_errors=True)
    (room / "lib").mkdir(parents=True)
    # Python would find our own course_utils by listing the repository; a copy shows nothing else.
    shutil.copytree(ROOT / "course_utils", room / "lib" / "course_utils")
    program = ["/usr/bin/env", f"COURSE_DATA_DIR={data}", f"PYTHONPATH={room / 'lib'}"]
    program += [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel = {
        "argv": sandbox.command(room, [data], program),
        "display_name": "graded",
        "language": "python",
        "interrupt_mode": "message",  # a signal would end bubblewrap; a message reaches the kernel in it
    }
    folder = course / "kernels" / "graded"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernel.json").write_text(json.dumps(kernel))
    try:
        yield
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _nbgrader(course: Path, words: list[str], seconds: int) -> None:
    """Run a command of nbgrader in ``course``, with an environment that holds nothing of ours.

    Raises:
        Skipped: when it fails or takes longer than ``seconds``.
    """
    # nbgrader calls alembic, its database's tool, by name.
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "LANG": "C.UTF-8"}
    environment |= {"HOME": str(course), "JUPYTER_PATH": str(course)}
    process = subprocess.Popen(
        [sys.executable, "-m", "nbgrader", *words],
        cwd=course,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=_limit,
    )
    try:
        _, log = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Skipped(f"stopped: it ran longer than {seconds} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):  # bubblewrap and all in it end with their parent
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode and "DeadKernelError" in log:
        raise Skipped("the kernel died: the code ended its own process, or used too much memory")
    if process.returncode:
        errors = re.findall(r"^\s*([\w.]+Error: .*)$", log, re.MULTILINE) or ["no reason given"]
        raise Skipped(f"nbgrader failed: {errors[-1][:200]}")


def _limit() -> None:
    import resource  # only where bubblewrap is: Windows has no such module

    resource.setrlimit(resource.RLIMIT_FSIZE, (BIGGEST_FILE, BIGGEST_FILE))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _checks(notebook: nbformat.NotebookNode) -> list[tuple[str, int]]:
    """Return (name, points) of every check of a solution notebook."""
    marks = [cell.metadata.get("nbgrader", {}) for cell in notebook.cells]
    return [(mark["grade_id"], mark["points"]) for mark in marks if mark.get("grade")]


def _results(course: Path, student: str, name: str) -> tuple[dict[str, int], dict[str, str]]:
    """Return the points of every check, and for those that failed what they and the code before them said."""
    points, notes, before = {}, {}, []
    notebook = nbformat.read(course / "autograded" / student / name / f"{name}.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        mark = cell.metadata.get("nbgrader", {"grade": False, "grade_id": "a cell of their own"})
        errors = [output for output in cell.outputs if output.output_type == "error"]
        said = [f"{mark['grade_id']}: {error.ename}: {error.evalue}"[:300] for error in errors]
        if mark["grade"]:
            points[mark["grade_id"]] = round(determine_grade(cell)[0])
            notes[mark["grade_id"]] = " | ".join([*before, *said]) if said else ""
            before = []
        else:
            before += said
    return points, notes


def write(rows: list[dict], out: Path) -> tuple[Path, Path]:
    """Write both tables, each whole or not at all: ``out`` and, beside it, the one with every check."""
    names = list(dict.fromkeys(row["notebook"] for row in rows))
    summary = []
    for student in dict.fromkeys(row["student"] for row in rows):
        mine = [row for row in rows if row["student"] == student]
        points = {name: sum(row["points"] for row in mine if row["notebook"] == name) for name in names}
        total = {"total": sum(points.values()), "of": sum(row["of"] for row in mine)}
        summary.append({"student": student} | points | total)
    details = out.with_name(f"{out.stem}_details.csv")
    for path, table, columns in (
        (details, rows, DETAILS),
        (out, summary, ("student", *names, "total", "of")),
    ):
        beside = path.with_suffix(".part")
        with open(beside, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(table)
        os.replace(beside, path)
    return out, details


def main(arguments: list[str]) -> int:
    """Grade what the command line names; return 2 when that is impossible."""
    parser = argparse.ArgumentParser(prog="python -m tools.grading.grade", description=__doc__.splitlines()[0])
    parser.add_argument("submissions", type=Path, help="the folder with a folder for each student")
    parser.add_argument("--only", help="grade one notebook, for example 02_one_hot")
    parser.add_argument("--out", type=Path, default=Path("points.csv"), help="the table to write (points.csv)")
    parser.add_argument(
        "--cell-seconds", type=int, default=CELL_SECONDS, help="time limit of a cell (%(default)s)"
    )
    parser.add_argument(
        "--notebook-seconds", type=int, default=NOTEBOOK_SECONDS, help="time limit of a notebook (%(default)s)"
    )
    chosen = parser.parse_args(arguments)
    try:
        rows = grade(chosen.submissions, chosen.only, chosen.cell_seconds, chosen.notebook_seconds)
        written = write(rows, chosen.out)
    except (ValueError, OSError, RuntimeError) as problem:
        print(problem, file=sys.stderr)
        return 2
    print("Written:", *written)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
