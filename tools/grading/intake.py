"""What students handed in: whose it is, which notebook it is, and what of it counts.

Folders come as an instructor collects them, or as Moodle and Canvas export them. Names may be any: they become
no path and no word of a command. Of a notebook only the student's own code counts. It is put into a fresh copy
of our exercise, so checks, tags and everything else that was handed in has no effect.
"""

import ast
import builtins
import hashlib
import json
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path

from tools.grading import release, sandbox

import nbformat

BIGGEST_READ = 20_000_000  # bytes; larger files are read in the closed room, where a limit of memory holds
BIGGEST_FILE = 400_000_000
# Windows has neither; nothing is graded there, but this file is tested.
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
BIGGEST_CODE = 1_000_000  # characters in all cells
MOST_FILES = 2_000  # of one student
DEEPEST = 5  # folders
# What Moodle and Canvas call the files that they export.
MOODLE = re.compile(r"(?P<name>.+?)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)_?(?P<rest>.*)", re.DOTALL)
DEFINES = re.compile(r"^(?:(?:async +)?def|class) +(\w+)|^(\w+) *=(?!=)", re.MULTILINE)
CANVAS = re.compile(r"(?P<name>[^_]+)(?:_LATE)?_(?P<id>\d+)_(?P<submission>\d+)_(?P<rest>.+)", re.DOTALL)


class Refused(Exception):
    """A file is no notebook that can be graded. The message says why."""


@dataclass
class Student:
    """One student, with the files that he or she handed in."""

    name: str
    source: str = ""  # "moodle", "canvas", or empty for a folder of one's own
    number: str = ""  # the id that Moodle or Canvas knows the student by
    files: list[Path] = field(default_factory=list)
    remark: str = ""  # why there are no files


@dataclass
class Exercise:
    """One of our notebooks as students got it, and which of its cells are whose."""

    path: Path
    cells: list  # the code cells of the student version
    names: dict[str, set[str]]  # {answer cell: names that it is there to define}

    @property
    def checks(self) -> list[tuple[str, int]]:
        """(name, points) of every check."""
        return [
            (mark(cell)["grade_id"], mark(cell)["points"]) for cell in self.cells if mark(cell).get("grade")
        ]


@dataclass
class Step:
    """One cell to execute."""

    source: str
    kind: str  # "given", "answer", "check" or "own" (a cell that the student added)
    name: str


@dataclass
class Graded:
    """What will be executed for one submission."""

    steps: list[Step]
    remarks: dict[str, list[str]]  # {answer cell or "": sentences}
    look: list[str]  # what somebody should look at

    @property
    def code(self) -> list[Step]:
        """What the student wrote."""
        return [step for step in self.steps if step.kind in ("answer", "own")]


def mark(cell) -> dict:
    """Return nbgrader's metadata of a cell, empty when it has none that can be read."""
    found = cell.get("metadata", {}).get("nbgrader")
    return found if isinstance(found, dict) and isinstance(found.get("grade_id"), str) else {}


def exercise(path: Path) -> Exercise:
    """Return the exercise that is made from the solution notebook ``path``."""
    cells = [cell for cell in release.student_version(path).cells if cell.cell_type == "code"]
    names = {mark(cell)["grade_id"]: bound(cell.source) for cell in cells if mark(cell).get("solution")}
    often = Counter(name for found in names.values() for name in found)
    return Exercise(path, cells, {key: {n for n in found if often[n] == 1} for key, found in names.items()})


# Whose is it


def plain(text: str) -> str:
    """Return a name from the disk as text that can be shown: composed (NFC), without control characters."""
    text = unicodedata.normalize("NFC", os.fsencode(text).decode("utf-8", "replace"))
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text).strip() or "?"


def students(submissions: Path) -> list[Student]:
    """Return everybody who handed in something, in the order of their names.

    Raises:
        ValueError: when ``submissions`` is no folder, or nobody is in it.
    """
    example = "Expected a folder for each student, as in SUBMISSIONS/ada/02_one_hot.ipynb."
    if not submissions.is_dir():
        raise ValueError(f"{submissions} is no folder. {example}")
    found: dict[tuple, Student] = {}

    def student(*whose: str) -> Student:
        return found.setdefault(whose, Student(*whose))

    for path in sorted(submissions.iterdir()):
        if path.name.startswith(".") or path.name == "__MACOSX":
            continue
        if path.is_dir():
            who = student(*_owner(path.name))
            if path.is_symlink():
                who.remark = "the student's folder is a link: links are not followed"
            else:
                who.files += _notebooks(path)
        elif path.suffix.lower() == ".ipynb":
            student(*_owner(path.name)).files.append(path)
    if not found:
        raise ValueError(f"{submissions} holds no folders. {example}")
    # Two people of one name stay two.
    times = Counter(who.name for who in found.values())
    seen: Counter = Counter()
    for who in found.values():
        if times[who.name] > 1:
            seen[who.name] += 1
            who.name = f"{who.name} ({who.number or seen[who.name]})"
    return sorted(found.values(), key=lambda who: (who.name.casefold(), who.name))


def _owner(name: str) -> tuple[str, str, str]:
    """Return (name, system, number) of the student to whom a folder or a file belongs."""
    for system, pattern in (("moodle", MOODLE), ("canvas", CANVAS)):
        if match := pattern.fullmatch(name):
            return plain(match["name"]), system, match["id"]
    return plain(name.removesuffix(".ipynb")), "", ""


def _notebooks(folder: Path) -> list[Path]:
    """Return the notebooks in a folder and those below it, without what editors and systems leave behind."""
    found, waiting = [], [(folder, 0)]
    while waiting and len(found) < MOST_FILES:
        place, depth = waiting.pop(0)
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)[:MOST_FILES]
        except OSError:
            continue
        for entry in entries:
            if entry.name in ("__MACOSX", ".ipynb_checkpoints") or entry.name.startswith("._"):
                continue
            if entry.is_dir(follow_symlinks=False):
                if depth < DEEPEST:
                    waiting.append((Path(entry.path), depth + 1))
            elif entry.name.lower().endswith(".ipynb"):
                found.append(Path(entry.path))
    return found


# Which notebook is it


def choose(who: Student, exercises: list[Exercise]) -> dict[str, tuple[Path | None, str]]:
    """Return {notebook: (file, remark)} of one student; without a file the remark says why."""
    chosen: dict[str, tuple[Path | None, str]] = {}
    stems = [exercise.path.stem for exercise in exercises]
    known = [path.stem for path in release.solution_notebooks()]
    nameless = [path for path in who.files if not any(_is(path, stem) for stem in known)]
    for stem in stems:
        fitting = [path for path in who.files if _is(path, stem)]
        if not fitting:
            chosen[stem] = None, who.remark or "not handed in"
            continue
        best = max(fitting, key=lambda path: (_time(path), path.name))
        remark = ""
        if len(fitting) > 1:
            others = ", ".join(plain(path.name) for path in fitting if path is not best)
            remark = f"of {len(fitting)} files the newest, {plain(best.name)}, was graded; not {others}"
        chosen[stem] = best, remark
    # A file under another name belongs to the notebook whose answer cells it has.
    for path in nameless:
        try:
            ids = {mark(cell)["grade_id"] for cell in read(path)[0] if mark(cell)}
        except (Refused, OSError):
            continue
        hits = {one.path.stem: len(ids & {mark(cell)["grade_id"] for cell in one.cells}) for one in exercises}
        best = max(hits, key=hits.get)
        if hits[best] > len(ids) / 2 and chosen[best][0] is None:
            chosen[best] = path, f"handed in as {plain(path.name)}"
    if nameless:
        names = ", ".join(plain(path.name) for path in nameless[:5])
        for stem, (path, _) in chosen.items():
            if path is None:
                chosen[stem] = None, f"not handed in under this name (there is: {names})"
    return chosen


def _is(path: Path, stem: str) -> bool:
    """Tell whether a file is called like a notebook, perhaps with a copy's number or the student's name."""
    return re.search(rf"(?<!\d){stem}", plain(path.name).casefold()) is not None


def _time(path: Path) -> float:
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return 0


def read(path: Path) -> tuple[list, str]:
    """Return the cells of a notebook that somebody handed in, and a key of the file's content.

    Raises:
        Refused: when it is no notebook that can be graded, with the reason.
    """
    try:
        # O_NONBLOCK: a pipe among the files would be waited for without end.
        number = os.open(path, os.O_RDONLY | NO_LINK)
    except OSError as problem:
        if path.is_symlink():
            raise Refused("no file of its own: links are not followed") from None
        raise Refused(f"the file can't be read: {problem.strerror}") from None
    with open(number, "rb") as file:
        about = os.fstat(number)
        if not stat.S_ISREG(about.st_mode):
            raise Refused("no file: only regular files are read")
        if about.st_size > BIGGEST_FILE:
            raise Refused(f"larger than {BIGGEST_FILE / 1e6:.0f} MB: clear its outputs and hand it in again")
        key = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        try:
            document = _parse(file.read()) if about.st_size <= BIGGEST_READ else _parse_in_room(path)
            return _cells(document), key
        except Refused:
            raise
        except RecursionError:
            raise Refused("no notebook: its parts are nested without end") from None
        except Exception as problem:  # a broken file can cause anything
            raise Refused(f"no notebook: {type(problem).__name__}") from problem


def _parse(content: bytes) -> dict:
    if not content.strip():
        raise Refused("the file is empty")
    return json.loads(content.removeprefix(b"\xef\xbb\xbf"))


def _parse_in_room(path: Path) -> dict:
    """Read a large file in the closed room, which brings it back without outputs."""
    limits = sandbox.Limits(seconds=120, answer=BIGGEST_READ)
    result = sandbox.run({"bare": True, "do": "shrink", "path": "/notebook"}, {path: "/notebook"}, limits)
    if result.stopped or not result.lines:
        raise Refused(f"too large to read: {result.stopped or 'clear its outputs and hand it in again'}")
    return json.loads(result.lines[0])


def _cells(document) -> list[dict]:
    """Return the cells of a notebook of any version, each with its text as one string."""
    if not isinstance(document, dict):
        raise Refused("no notebook: the file holds something else")
    cells = document.get("cells")
    if cells is None and "worksheets" in document:
        cells = nbformat.convert(nbformat.from_dict(document), 4).cells
    if not isinstance(cells, list):
        raise Refused("no notebook: it has no cells")
    found = []
    for cell in cells:
        source = cell.get("source", "")
        source = source if isinstance(source, str) else "".join(source)
        metadata = cell.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        kind = str(cell.get("cell_type"))
        found.append({"cell_type": kind, "source": source, "metadata": metadata, "id": cell.get("id")})
    if sum(len(cell["source"]) for cell in found if cell["cell_type"] == "code" or mark(cell)) > BIGGEST_CODE:
        raise Refused(f"its cells hold more than {BIGGEST_CODE:,} characters: look at it by hand")
    return found


# What of it counts


def compose(exercise: Exercise, cells: list[dict]) -> Graded:
    """Put a student's code into a fresh copy of the exercise.

    An answer cell is known by its id, by the id of JupyterLab, or by what it defines. Copies and the parts of a
    cell that was split run one after the other, as they did for the student. A cell that the student added runs
    where it stood. All else is ours.
    """
    ours = {mark(cell)["grade_id"]: cell for cell in exercise.cells}
    order = list(ours)
    by_id = {cell.id: name for name, cell in ours.items()}
    by_text = {_text(cell.source): name for name, cell in ours.items()}
    answers: dict[str, list[str]] = {name: [] for name in exercise.names}
    own: dict[str, list[str]] = {}  # {our cell: code that the student added after it}
    remarks: dict[str, list[str]] = {"": []}
    stubs = {name: _text(ours[name].source) for name in answers}
    # {check: the answer cell before it}, and which answers were followed by a check of theirs.
    answer_of, last = {}, None
    for name, cell in ours.items():
        last = name if name in answers else last
        if mark(cell).get("grade") and last:
            answer_of[name] = last
    checked, seen, place = Counter(), Counter(), ""
    for cell in cells:
        name = mark(cell).get("grade_id")
        if name not in ours:
            name = by_id.get(str(cell["id"])) or by_text.get(_text(cell["source"]))
        seen[name] += 1
        if name in answers and checked[name] and any(_text(text) != stubs[name] for text in answers[name]):
            # It was answered and checked already: what comes later is an experiment, or a copy.
            if cell["source"] not in answers[name] and _text(cell["source"]) != stubs[name]:
                own.setdefault(place, []).append(cell["source"])
            continue
        if name is not None:
            place = name
        if belongs := answer_of.get(name):
            checked[belongs] = True
        if name in answers:
            answers[name].append(cell["source"])
            if cell["cell_type"] != "code":
                remarks.setdefault(name, []).append(f"{name} was a {cell['cell_type']} cell; it ran as code")
        elif name is not None and _text(cell["source"]) == _text(ours[name].source):
            continue
        elif name is not None:
            kind = "check" if mark(ours[name]).get("grade") else "given cell"
            remarks.setdefault(name, []).append(f"the {kind} {name} was changed; ours was used")
            # Somebody may have written an answer there.
            if (bound(cell["source"]) - bound(ours[name].source)) & set().union(*exercise.names.values()):
                own.setdefault(place, []).append(cell["source"])
        elif cell["cell_type"] == "code" and cell["source"].strip():
            own.setdefault(place, []).append(cell["source"])

    for name, sources in answers.items():
        written = list(dict.fromkeys(source for source in sources if _text(source) != stubs[name]))
        if not written:
            for after in list(own):
                mine = [source for source in own[after] if bound(source) & exercise.names[name]]
                if mine:
                    own[after] = [source for source in own[after] if source not in mine]
                    written += mine
                    remarks.setdefault(name, []).append(f"{name} was found in a cell of the student's own")
        elif len(written) > 1:
            remarks.setdefault(name, []).append(f"{len(written)} cells {name} ran one after the other")
        if not written:
            words = "is still as it was handed out" if sources else "is missing in the notebook"
            remarks.setdefault(name, []).append(f"the answer cell {name} {words}")
        answers[name] = written or [ours[name].source]
    if not any(seen[name] for name in answers):
        remarks[""].append(
            f"this file has none of the answer cells of {exercise.path.stem}: is it another notebook?"
        )

    steps = [Step(source, "own", "") for source in own.get("", [])]
    for name in order:
        cell = ours[name]
        if name in answers:
            steps += [Step(source, "answer", name) for source in answers[name]]
        else:
            steps.append(Step(cell.source, "check" if mark(cell).get("grade") else "given", name))
        steps += [Step(source, "own", "") for source in own.get(name, [])]
    given = set().union(*(bound(step.source) for step in steps if step.kind == "given"))
    graded = Graded(steps, remarks, [])
    for step in graded.code:
        if _text(step.source) not in by_text:  # ours, as it was handed out
            graded.look += [flag for flag in flags(step.source, given) if flag not in graded.look]
    return graded


def _text(source: str) -> str:
    """Return a cell's text without what means nothing: blanks at the ends of lines, empty lines around it."""
    return unicodedata.normalize("NFC", "\n".join(line.rstrip() for line in source.strip().splitlines()))


def bound(source: str) -> set[str]:
    """Return the names that a cell defines at its top level, also when it is no valid Python."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {one or other for one, other in DEFINES.findall(source)}
    found = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                found |= {part.id for part in ast.walk(target) if isinstance(part, ast.Name)}
    return found


# Names by which code reaches what runs around it. Most uses are harmless, and no exercise asks for one.
REACHING = {
    "get_ipython", "builtins", "__builtins__", "__import__", "__main__", "eval", "exec", "compile", "globals",
    "setattr", "AssertionError", "inspect", "sys", "gc", "ctypes", "importlib", "subprocess", "socket",
    "signal", "threading", "mock", "ast", "IPython", "zmq", "ipykernel",
}  # fmt: skip


def flags(source: str, given: Set[str] = frozenset()) -> list[str]:
    """Return what in a student's code deserves a look: ways to reach the checks that run in the same Python.

    Args:
        source: the code of one cell.
        given: names of our own that it has no reason to define again.
    """
    lines = source.splitlines()
    found = [line.strip().split()[0] for line in lines if re.match(r"\s*(%%?\w|!\S)", line)]
    plain_python = "\n".join("pass" if re.match(r"(%%?\w|!\S)", line) else line for line in lines)
    try:
        tree = ast.parse(plain_python)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return found + [word for word in sorted(REACHING) if re.search(rf"\b{re.escape(word)}\b", source)]
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
            origins = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            found += [f"import {word}" for name in origins for word in name.split(".") if word in REACHING]
    modules |= {"np", "pd", "keras", "layers", "plt"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in REACHING and f"import {node.id}" not in found:
            found.append(node.id)
        targets = node.targets if isinstance(node, ast.Assign | ast.Delete) else []
        targets = targets or ([node.target] if isinstance(node, ast.AugAssign | ast.AnnAssign) else [])
        for target in targets:
            if (
                isinstance(target, ast.Attribute)
                and isinstance(target.value, ast.Name)
                and target.value.id in modules
            ):
                found.append(f"{target.value.id}.{target.attr} =")
    found += [f"{name} =" for name in sorted(bound(source) & (set(dir(builtins)) | given))]
    return list(dict.fromkeys(found))
