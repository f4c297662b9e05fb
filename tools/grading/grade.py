"""Grade submissions: ``python -m tools.grading.grade FOLDER``, or ``make grade SUBMISSIONS=FOLDER``.

``FOLDER`` holds a folder for each student, with exercise notebooks in it, for example
``FOLDER/ada/02_one_hot.ipynb``, or what Moodle or Canvas exported. The student's answers are put into a
fresh copy of our exercise (``intake``) and run in a closed room (``sandbox``), several at once. Nothing in
``FOLDER`` is changed. What is known is kept at once: after Ctrl-C or a crash the same command goes on.

Written: ``points.csv`` (a row for each student), ``points_details.csv`` (a row for each check, with what it
said), a page for each student in ``feedback/``, and tables for Moodle or Canvas when the folder came from
there.
"""

import argparse
import contextlib
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from course_utils.fetch import data_dir
from tools import ROOT
from tools.grading import intake, release, reports, sandbox

import psutil
from tqdm import tqdm

CELL_SECONDS = 60
NOTEBOOK_SECONDS = 600
ROOM_MEMORY = 3_000_000_000  # bytes that one room seldom uses up; this many must be free for each
WORDS = 300  # characters of one error in a note
RULES = 1  # raise it when the same submission may get other points: what was graded before is graded again
_stop = threading.Event()


@dataclass
class Outcome:
    """What became of one notebook of one student."""

    who: intake.Student
    notebook: str
    rows: list[dict]  # for each check: check, points, of, note
    look: list[str] = field(default_factory=list)
    code: list[intake.Step] = field(default_factory=list)
    key: str = ""  # of the file and our exercise; empty when it must be graded again
    kept: bool = False  # it was graded in an earlier run

    @property
    def points(self) -> int:
        return sum(row["points"] for row in self.rows)

    @property
    def of(self) -> int:
        return sum(row["of"] for row in self.rows)


def grade(
    submissions: Path,
    only: str | None = None,
    cell_seconds: int = CELL_SECONDS,
    notebook_seconds: int = NOTEBOOK_SECONDS,
    jobs: int | None = None,
    progress: Path | None = None,
    each: Callable[[list[Outcome]], None] = lambda known: None,
) -> list[Outcome]:
    """Grade every notebook of every student.

    Args:
        submissions: the folder with what was handed in.
        only: the name of one notebook, such as "02_one_hot"; all of them unless given.
        cell_seconds: the time limit of one cell.
        notebook_seconds: the time limit of one notebook.
        jobs: how many notebooks at once; as many as cores and memory allow unless given.
        progress: the file in which finished notebooks are kept, and from which they are taken.
        each: is called with all that is known, after each notebook and at the end, also an early one.

    Returns:
        One outcome for each student and notebook, in the order of names. A notebook that is missing or could
        not be graded has 0 points and a note in each row.

    Raises:
        ValueError: when ``submissions`` holds no student, or there is no notebook ``only``.
        sandbox.SandboxError: when this machine can't lock code in.
        KeyboardInterrupt: after everything that is known was handed to ``each``.
    """
    people = intake.students(submissions)
    sources = [path for path in release.solution_notebooks() if only in (None, path.stem)]
    if not sources:
        known = ", ".join(path.stem for path in release.solution_notebooks())
        raise ValueError(f"There is no solution notebook {only!r}. Choose one of: {known}.")
    sandbox.check(hidden=release.SOLUTIONS)
    exercises = [intake.exercise(path) for path in sources]
    limits = sandbox.Limits(seconds=notebook_seconds)
    kept, outcomes = _kept(progress), []
    _stop.clear()

    def work(who: intake.Student, exercise: intake.Exercise, file: Path | None, remark: str) -> Outcome:
        try:
            return _one(who, exercise, file, remark, cell_seconds, limits, kept)
        except Exception as problem:  # one submission never stops the others
            sentence = f"could not be graded here, look at it by hand: {type(problem).__name__}: {problem}"
            return _nothing(who, exercise, sentence[:WORDS])

    with ThreadPoolExecutor(jobs or _jobs()) as pool:
        try:
            waiting = []
            for who in people:
                chosen = _choose(who, exercises)
                waiting += [pool.submit(work, who, one, *chosen[one.path.stem]) for one in exercises]
            bar = tqdm(
                as_completed(waiting), total=len(waiting), unit="notebook", disable=not sys.stderr.isatty()
            )
            for done in bar:
                outcome = done.result()
                outcomes.append(outcome)
                if progress and outcome.key and not outcome.kept:
                    _keep(progress, outcome)
                first = next((row["note"] for row in outcome.rows if row["note"]), "")
                words = f"{outcome.who.name}  {outcome.notebook}  {outcome.points} of {outcome.of}  {first}"
                tqdm.write(_shown(words)[:160].rstrip(), file=sys.stdout)
                sys.stdout.flush()
                each(outcomes)
        finally:
            _stop.set()  # ends what still runs, when this is an early end
            pool.shutdown(cancel_futures=True)
            outcomes.sort(key=lambda outcome: (people.index(outcome.who), outcome.notebook))
            each(outcomes)
    return outcomes


def _choose(who: intake.Student, exercises: list[intake.Exercise]) -> dict[str, tuple[Path | None, str]]:
    try:
        return intake.choose(who, exercises)
    except Exception as problem:  # as above
        sentence = f"could not be read here, look at it by hand: {type(problem).__name__}: {problem}"
        return {one.path.stem: (None, sentence[:WORDS]) for one in exercises}


def _jobs() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, int(psutil.virtual_memory().available / ROOM_MEMORY)))


def _shown(text: str) -> str:
    """Return text that the terminal can show, on one line."""
    coding = sys.stdout.encoding or "utf-8"
    return " ".join(text.split()).encode(coding, "replace").decode(coding)


def _one(
    who: intake.Student,
    exercise: intake.Exercise,
    file: Path | None,
    remark: str,
    cell_seconds: int,
    limits: sandbox.Limits,
    kept: dict[str, dict],
) -> Outcome:
    """Grade one notebook of one student."""
    if file is None:
        return _nothing(who, exercise, remark)
    try:
        cells, content = intake.read(file)
    except intake.Refused as reason:
        return _nothing(who, exercise, " | ".join(filter(None, [str(reason), remark])))
    graded = intake.compose(exercise, cells)
    if remark:
        graded.remarks[""].append(remark)
    ours = [cell.source for cell in exercise.cells]
    stamp = [content, RULES, exercise.path.stem, ours, exercise.checks, cell_seconds, limits.seconds, remark]
    key = hashlib.sha256(json.dumps(stamp).encode()).hexdigest()
    outcome = Outcome(who, exercise.path.stem, [], graded.look, graded.code, key)
    if key in kept:
        outcome.rows, outcome.kept = kept[key]["rows"], True
        return outcome
    data = data_dir().resolve()
    job = {
        "do": "execute",
        "cells": [step.source for step in graded.steps],
        "cell_seconds": cell_seconds,
        "environment": {"COURSE_DATA_DIR": str(data), "PYTHONPATH": "/course"},
    }
    # Python would find our own course_utils by listing the repository; here it finds nothing else.
    readable = {data: data, ROOT / "course_utils": "/course/course_utils"}
    result = sandbox.run(job, readable, limits, _stop)
    outcome.rows = score(exercise, graded, result)
    if result.again:
        outcome.key = ""
    return outcome


def _nothing(who: intake.Student, exercise: intake.Exercise, reason: str) -> Outcome:
    rows = [{"check": name, "points": 0, "of": of, "note": reason} for name, of in exercise.checks]
    return Outcome(who, exercise.path.stem, rows)


def score(exercise: intake.Exercise, graded: intake.Graded, result: sandbox.Result) -> list[dict]:
    """Return a row for each check: its points, and in words why they are missing."""
    done, died, started = {}, False, False
    for line in result.lines:
        try:
            report = json.loads(line)
            started, died = started or "started" in report, died or "died" in report
            if "cell" in report:
                done[int(report["cell"])] = [(str(one["name"]), str(one["says"])) for one in report["errors"]]
        except (ValueError, TypeError, KeyError):
            continue  # half a line, because the room came down
    if result.stopped:
        reason = f"stopped: {result.stopped}"
    elif died or started:
        reason = "the kernel died: the code ended its own process, or used too much memory"
    else:
        result.again = True
        reason = f"could not be run here, grade it again: {result.errors.strip()[-WORDS:] or 'no reason given'}"
    worth, rows, before = dict(exercise.checks), [], list(graded.remarks.get("", []))
    for number, step in enumerate(graded.steps):
        errors = done.get(number)
        if step.kind == "answer":
            before += [sentence for sentence in graded.remarks.pop(step.name, []) if sentence not in before]
        if step.kind != "check":
            name = step.name or "a cell of the student's own"
            before += [f"{name}: {_sentence(*error)}" for error in errors or []]
            continue
        before += graded.remarks.pop(step.name, [])
        said = [reason] if errors is None else [_sentence(*error) for error in errors]
        points = worth[step.name] if errors == [] else 0
        rows.append(
            {"check": step.name, "points": points, "of": worth[step.name], "note": " | ".join(before + said)}
        )
        before = []
    return rows


def _sentence(name: str, says: str) -> str:
    """Return what an error says in words; never nothing."""
    says = " ".join(says.split())[:WORDS]
    if name in ("AssertionError", "Timeout") and says:
        return says
    return f"{name}: {says}" if says else f"{name} without a message"


def _kept(progress: Path | None) -> dict[str, dict]:
    """Return {key: what is known} from an earlier run."""
    found = {}
    if progress and progress.exists():
        for line in progress.read_text("utf-8", "replace").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # the last line may be half written
                known = json.loads(line)
                found[known["key"]] = known
    return found


def _keep(progress: Path, outcome: Outcome) -> None:
    """Add what is known about one notebook to the file, and see that it is on the disk."""
    known = {
        "key": outcome.key,
        "student": outcome.who.name,
        "notebook": outcome.notebook,
        "rows": outcome.rows,
    }
    with open(progress, "a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a line that a crash cut off
                file.write(b"\n")
        file.write(json.dumps(known).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def main(arguments: list[str]) -> int:
    """Grade what the command line names; return 2 when that is impossible, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tools.grading.grade", description=__doc__.splitlines()[0])
    parser.add_argument("submissions", type=Path, help="the folder with a folder for each student")
    parser.add_argument("--only", help="grade one notebook, for example 02_one_hot")
    parser.add_argument("--out", type=Path, default=Path("points.csv"), help="the table to write (points.csv)")
    parser.add_argument(
        "--jobs", type=int, help="how many notebooks at once (as many as cores and memory allow)"
    )
    parser.add_argument("--fresh", action="store_true", help="grade again what was graded before")
    parser.add_argument(
        "--cell-seconds", type=int, default=CELL_SECONDS, help="time limit of a cell (%(default)s)"
    )
    parser.add_argument(
        "--notebook-seconds", type=int, default=NOTEBOOK_SECONDS, help="time limit of a notebook (%(default)s)"
    )
    chosen = parser.parse_args(arguments)
    progress = chosen.out.with_name(f"{chosen.out.stem}_progress.jsonl")
    known, last = [], time.monotonic()

    def each(now: list[Outcome]) -> None:
        nonlocal last
        known[:] = now
        if time.monotonic() > last + 5:
            with contextlib.suppress(OSError):  # a spreadsheet may hold the table open; the end tells
                reports.tables(known, chosen.out)
            last = time.monotonic()

    try:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        if chosen.fresh:
            progress.unlink(missing_ok=True)
        start = time.monotonic()
        options = (chosen.only, chosen.cell_seconds, chosen.notebook_seconds, chosen.jobs, progress)
        grade(chosen.submissions, *options, each)
        written = reports.write(known, chosen.out)
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            reports.write(known, chosen.out)
        print("\nStopped. Nothing is lost: the same command goes on from here.", file=sys.stderr)
        return 130
    except (ValueError, OSError, RuntimeError) as problem:
        print(problem, file=sys.stderr)
        if known:
            print("Nothing is lost: run the same command again.", file=sys.stderr)
        return 2
    before = sum(outcome.kept for outcome in known)
    kept = f", {before} of them before" if before else ""
    print(f"{len(known)} notebooks{kept}, {time.monotonic() - start:.0f} s. Written:", *written)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
