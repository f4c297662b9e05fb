"""Would a test notice if the code were wrong? Change one thing at a time, and run the tests of the module.

    python -m tools.mutate metrics ranking           # two modules; lists the changes that no test noticed
    python -m tools.mutate history --sample 200      # a fixed random sample
    python -m tools.mutate metrics --report          # also writes the section of tests/MUTANTS.md

A change is a *mutant*; one that makes a test fail is *killed*. The mutants: comparisons, arithmetic, and/or,
not, conditions, constants (defaults too), returned values, deleted statements; keyword arguments, slice bounds
and decorators left out; min for max; ``.T`` and methods such as ``.clip()`` left out. Sentences (strings of
three words or more, f-strings, what stands in a ``raise``) stay: tests look for words of messages only.

Nothing here touches the working tree. The repository is copied into a temporary folder, once a job, and each
mutant is written into the copy. Libraries are imported once, then every mutant runs in a fork of its own (so:
Linux and macOS); no TensorFlow operation may run before the fork. The tests that reach the changed line run
first, fast ones before slow ones, and the first failure ends the run. A survivor has passed every test of its
module. A test that takes ten times as long as without the mutant, and 20 seconds more, counts as failed
(``--patience`` sets the seconds).

mutmut, the maintained tool, does this well for modules without Keras (version 3.8 was tried). It puts a wrapper
around each function, but Keras reads the arguments of a layer from the signature of ``__init__``, so it can't
run the tests of ``course_utils.history``.
"""

import argparse
import ast
import contextlib
import datetime
import importlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.course import ROOT

import coverage
import pytest

PACKAGE = "course_utils"
LEFT_OUT = (
    ".venv",
    ".git",
    "build",
    "__pycache__",
    ".ipynb_checkpoints",
    ".pytest_cache",
    "*.egg-info",
    "site",
)
COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
SWAPPED = {"min": "max", "maximum": "minimum", "any": "all", "ceil": "floor", "ones_like": "zeros_like"}
SWAPPED |= {new: old for old, new in SWAPPED.items()}
# Methods whose result is of the same kind as what they are called on.
DROPPED = {"clip", "fillna", "strip", "rstrip", "lstrip", "lower", "copy", "ravel", "unique", "astype"}


@dataclass(frozen=True)
class Mutant:
    """One change of a module."""

    line: int  # in the file
    end: int
    function: str  # where it is: "History.call", or "" for the module itself
    before: str  # the piece of code, and what became of it
    after: str
    source: str  # the whole changed module

    @property
    def change(self) -> str:
        return f"`{self.before}` → `{self.after}`"


# --- Making mutants -------------------------------------------------------------------------------


def mutants(source: str) -> list[Mutant]:
    """Return every mutant of a module's source, in the order of its lines."""
    tree = ast.parse(source)
    _mark(tree)
    original = ast.unparse(tree)
    found = {}
    for node in list(ast.walk(tree)):
        if node is tree or node.fixed:
            continue
        for new in _variants(node):
            text = _with(tree, node, new)
            if text != original and text not in found:
                before, after = _difference(original, text)
                found[text] = Mutant(node.line, node.last_line, node.function, before, after, text)
    return sorted(found.values(), key=lambda mutant: mutant.line)


def _mark(tree: ast.AST) -> None:
    """Tell each node where it stands: its slot, its lines, its function, and whether it stays as it is."""
    tree.function, tree.fixed, tree.in_raise, tree.line, tree.last_line = "", False, False, 1, 1
    tree.known = set()
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            for place, node in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(node, ast.AST):
                    continue
                node.slot = (parent, field, place if isinstance(value, list) else None)
                node.function, node.known = parent.function, parent.known
                if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                    node.function = f"{parent.function}.{node.name}".lstrip(".")
                    node.known = set()
                node.line = getattr(node, "lineno", parent.line)
                node.last_line = getattr(node, "end_lineno", parent.last_line)
                node.in_raise = parent.in_raise or isinstance(node, ast.Raise)
                name = getattr(node, "targets", None) if isinstance(node, ast.Assign) else None
                hidden = bool(name) and isinstance(name[0], ast.Name) and name[0].id == "__all__"
                node.fixed = parent.fixed or hidden or field in ("annotation", "returns", "format_spec")
                docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
                node.fixed = node.fixed or docstring or isinstance(node, (ast.Import, ast.ImportFrom))


def _variants(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what could stand in the place of a node."""
    if isinstance(node, ast.Compare):
        for place, op in enumerate(node.ops):
            ops = [*node.ops[:place], COMPARISONS[type(op)](), *node.ops[place + 1 :]]
            yield ast.Compare(node.left, ops, node.comparators)
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        yield ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, ast.Attribute) and node.attr == "T":
        yield node.value
    elif isinstance(node, ast.Slice):
        for part in ("lower", "upper"):
            if getattr(node, part) is not None:
                yield ast.Slice(**{**_parts(node, "lower", "upper", "step"), part: None})
    elif isinstance(node, ast.Call):
        yield from _calls(node)
    yield from _conditions(node)
    yield from _statements(node)


def _parts(node: ast.AST, *names: str) -> dict:
    return {name: getattr(node, name) for name in names}


def _constants(node: ast.Constant) -> Iterator[ast.AST]:
    value = node.value
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
    elif isinstance(value, float):
        yield ast.Constant(2 * value if value else 1.0)
    elif isinstance(value, bytes):
        yield ast.Constant(b"XX" + value)
    elif isinstance(value, str):
        in_text = isinstance(node.slot[0], ast.JoinedStr) or node.in_raise or len(value.split()) > 2
        if not in_text:
            yield ast.Constant("XX" + value)


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    for place, keyword in enumerate(node.keywords):
        if keyword.arg:
            yield ast.Call(node.func, node.args, node.keywords[:place] + node.keywords[place + 1 :])
    name = getattr(node.func, "attr", getattr(node.func, "id", None))
    if name in SWAPPED:
        func = ast.Name(SWAPPED[name], ast.Load())
        if isinstance(node.func, ast.Attribute):
            func = ast.Attribute(node.func.value, SWAPPED[name], ast.Load())
        yield ast.Call(func, node.args, node.keywords)
    if name in DROPPED and isinstance(node.func, ast.Attribute):
        yield node.func.value


def _conditions(node: ast.AST) -> Iterator[ast.AST]:
    """Turn the condition of an if, a while or a comprehension round, where no other variant does."""
    test, field = None, node.slot[1]
    if field == "test" or (field == "ifs" and isinstance(node, ast.expr)):
        test = node
    done = isinstance(test, ast.UnaryOp) or (isinstance(test, ast.Compare) and len(test.ops) == 1)
    done = done and not isinstance(getattr(test, "ops", [None])[0], (ast.Lt, ast.LtE, ast.Gt, ast.GtE))
    if test is not None and not done and not isinstance(test, ast.Constant):
        yield ast.UnaryOp(ast.Not(), test)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Return) and node.value is not None:
        if not (isinstance(node.value, ast.Constant) and node.value.value is None):
            yield ast.Return(ast.Constant(None))
    elif isinstance(node, (ast.Expr, ast.Raise, ast.Continue, ast.Break)):
        yield ast.Pass()
    elif isinstance(node, ast.AugAssign):
        yield ast.Pass()
        if type(node.op) in ARITHMETIC:
            yield ast.AugAssign(node.target, ARITHMETIC[type(node.op)](), node.value)
    elif isinstance(node, ast.Assign):
        # Without its first assignment a name is missing, which everything notices: only later ones are deleted.
        names = {name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)}
        stored = not isinstance(node.targets[0], (ast.Name, ast.Tuple))
        if stored or names <= node.known:
            yield ast.Pass()
        node.known.update(names)
    elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        arguments = getattr(node, "args", None)
        if arguments:
            node.known.update(a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs))
        for place in range(len(node.decorator_list)):
            fields = {name: getattr(node, name) for name in node._fields if hasattr(node, name)}
            rest = node.decorator_list[:place] + node.decorator_list[place + 1 :]
            yield ast.copy_location(type(node)(**{**fields, "decorator_list": rest}), node)


def _with(tree: ast.AST, node: ast.AST, new: ast.AST) -> str:
    """Return the source with another node in the place of one."""
    parent, field, place = node.slot
    if place is None:
        setattr(parent, field, new)
    else:
        getattr(parent, field)[place] = new
    try:
        return ast.unparse(tree)
    finally:
        if place is None:
            setattr(parent, field, node)
        else:
            getattr(parent, field)[place] = node


def _difference(old: str, new: str, around: int = 30) -> tuple[str, str]:
    """Return the piece of the first line that differs, before and after, with a little of what is around it."""
    pairs = zip(old.split("\n"), new.split("\n"), strict=False)
    before, after = next((a.strip(), b.strip()) for a, b in pairs if a != b)
    if after == "pass" or len(old.split("\n")) != len(new.split("\n")):
        return _short(before), "deleted"
    start = len(os.path.commonprefix([before, after]))
    end = min(len(os.path.commonprefix([before[start:][::-1], after[start:][::-1]])), 1000)
    first = max(0, start - around)
    tail = min(end, around)
    pieces = []
    for text in (before, after):
        piece = text[first : len(text) - end + tail]
        pieces.append(("…" if first else "") + piece + ("…" if end > tail else ""))
    return pieces[0], pieces[1]


def _short(text: str, most: int = 80) -> str:
    return text if len(text) <= most else text[:most] + "…"


# --- Running their tests --------------------------------------------------------------------------


class Run:
    """A plugin of pytest: the order of the tests, a time limit for each, and how long each took."""

    def __init__(
        self, order: dict[str, int], seconds: dict[str, float], patience: float, measured=None
    ) -> None:
        self.order, self.seconds, self.patience, self.measured = order, dict(seconds), patience, measured

    def pytest_collection_modifyitems(self, items):
        items.sort(key=lambda item: self.order.get(item.nodeid, len(self.order)))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        if self.measured:
            self.measured.switch_context(item.nodeid)
        # The default action of the alarm ends the process, also while it is inside TensorFlow.
        signal.setitimer(signal.ITIMER_REAL, self.patience + 10 * self.seconds.get(item.nodeid, 10))
        started = time.perf_counter()
        result = yield
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.seconds[item.nodeid] = time.perf_counter() - started
        return result


def _in_fork(tree: Path, tests: list[str], log: Path, run: Run, module: Path | None = None) -> int:
    """Start pytest in a fork, inside the copy of the repository; return its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(output, stream)
        for name in [name for name in sys.modules if name.partition(".")[0] in (PACKAGE, "tools")]:
            del sys.modules[name]
        os.chdir(tree)
        sys.path.insert(0, str(tree))
        os.environ["PYTHONPATH"] = str(tree)  # for processes that tests start
        options = ["-x", "-q", "--tb=line", "--assert=plain", "-p", "no:cacheprovider"]
        signal.setitimer(signal.ITIMER_REAL, 120)  # for a module that can't even be imported
        code = int(pytest.main([*options, "-o", "addopts=", "-W", "ignore", *tests], plugins=[run]))
        if run.measured:
            run.measured.stop()
            lines = run.measured.get_data().contexts_by_lineno(str(module))
            log.with_suffix(".json").write_text(json.dumps({"lines": lines, "seconds": run.seconds}))
    finally:
        sys.stdout.flush()
        os._exit(code)


def _wait() -> tuple[int, int]:
    """Wait for a fork, and stop what it left running. Return its id and pytest's exit code, or -1: too slow."""
    pid, status = os.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return pid, -1 if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _import_libraries(root: Path, files: list[Path]) -> None:
    """Import the libraries that these files use, and that modules of the package which they use use in turn."""
    todo, done, names = list(files), set(), set()
    while todo:
        file = todo.pop()
        if file in done or not file.is_file():
            continue
        done.add(file)
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            found = []
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                found = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in found:
                if name.partition(".")[0] == PACKAGE:
                    todo.append(root / (name.replace(".", "/") + ".py"))
                else:
                    names.add(name)
    importlib.import_module(PACKAGE)  # its settings of TensorFlow come first
    for name in sorted(names):
        try:
            importlib.import_module(name)
        except ImportError:  # a function of a module, or something of the repository
            continue


def test_files(root: Path, name: str) -> list[str]:
    """Return the test files of a module: tests/test_NAME.py and those that begin with test_NAME_."""
    found = [root / "tests" / f"test_{name}.py", *sorted((root / "tests").glob(f"test_{name}_*.py"))]
    return [str(file.relative_to(root)) for file in found if file.is_file()]


def run(
    root: Path, name: str, jobs: int = 2, sample: int | None = None, patience: float = 20
) -> tuple[list[Mutant], list[Mutant], int]:
    """Run the tests of a module on its mutants.

    Args:
        root: the repository; it is only read.
        name: of the module in ``course_utils``.
        jobs: how many at once.
        sample: take so many mutants at random, instead of all; the same ones every time.
        patience: seconds beside ten times the usual ones after which a test counts as failed.

    Returns:
        All mutants that ran, those that survived, and how many were killed by the time limit.

    Raises:
        RuntimeError: when the tests fail without any mutant, or there are none.
    """
    tests = test_files(root, name)
    if not tests:
        raise RuntimeError(f"There is no tests/test_{name}.py: nothing could kill a mutant of {name}.")
    place = Path(PACKAGE, *name.split(".")).with_suffix(".py")
    source = (root / place).read_text("utf-8")
    chosen = mutants(source)
    if sample is not None and sample < len(chosen):
        numbers = sorted(random.Random(0).sample(range(len(chosen)), sample))
        chosen = [chosen[number] for number in numbers]
    sys.dont_write_bytecode = True  # two mutants within one second would share a .pyc
    # No plugin but ours: nbval would run notebooks, and to load the others takes half a second.
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "MPLBACKEND": "Agg"}
    _import_libraries(root, [root / place, *(root / test for test in tests), root / "tests/conftest.py"])
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        folder = Path(folder).resolve()
        trees = [folder / f"job{number}" for number in range(jobs)]
        for tree in trees:
            shutil.copytree(root, tree, ignore=shutil.ignore_patterns(*LEFT_OUT))
        log = folder / "plain.log"
        file = trees[0] / place
        measured = coverage.Coverage(data_file=None, include=[str(file)], config_file=False)
        measured.start()  # the fork inherits it
        _in_fork(trees[0], tests, log, Run({}, {}, patience, measured), file)
        measured.stop()
        if _wait()[1] != 0:
            raise RuntimeError(f"The tests of {name} fail without any mutant:\n{log.read_text()[-3000:]}")
        plain = json.loads(log.with_suffix(".json").read_text())
        seconds = plain["seconds"]
        survived, slow, todo, running = [], 0, list(chosen), {}
        try:
            while todo or running:
                while todo and trees:
                    mutant, tree = todo.pop(0), trees.pop()
                    (tree / place).write_text(mutant.source, "utf-8")
                    numbers = range(mutant.line, mutant.end + 1)
                    reached = {test for number in numbers for test in plain["lines"].get(str(number), ())}
                    order = sorted(seconds, key=lambda test, first=reached: (test not in first, seconds[test]))
                    order = {test: number for number, test in enumerate(order)}
                    pid = _in_fork(tree, tests, folder / f"{tree.name}.log", Run(order, seconds, patience))
                    running[pid] = mutant, tree
                pid, code = _wait()
                mutant, tree = running.pop(pid)
                trees.append(tree)
                slow += code == -1
                if code == 0:
                    survived.append(mutant)
                    print(f"  survived: line {mutant.line}, {mutant.function}: {mutant.change}", flush=True)
        finally:
            for pid in running:  # only when this is stopped
                os.killpg(pid, signal.SIGKILL)
    return chosen, sorted(survived, key=lambda mutant: mutant.line), slow


# --- Report ---------------------------------------------------------------------------------------

HEAD = """# Mutants: what the tests of course_utils notice

`python -m tools.mutate NAME --report` changes one thing in a module at a time, runs the tests of that module,
and writes its section here; `tools/mutate.py` says what it changes. A mutant is *killed* when a test fails. The
last column is written by hand: why it does no harm that nobody noticed. It stays while the change does.
"""


def rows(report: str) -> list[tuple[tuple[str, str, str], str]]:
    """Return ((module, function, change), reason) of each row of a report."""
    found, module = [], ""
    for line in report.splitlines():
        if line.startswith("## "):
            module = line[3:].strip()
        elif match := re.fullmatch(r"\| \d+ \| (.*?) \| (`.* → .*`) \| (.*) ?\|", line):
            found.append(((module, match[1], match[2]), match[3].strip()))
    return found


def section(name: str, ran: list[Mutant], survived: list[Mutant], known: dict, command: str) -> str:
    """Return the section of a report on one module."""
    killed = len(ran) - len(survived)
    lines = [
        f"## {name}",
        "",
        f"{datetime.date.today()}, `{command}`: {len(ran)} mutants, {killed} killed, {len(survived)} survived: "
        f"**{100 * killed / len(ran):.1f} %**",
        "",
    ]
    if survived:
        lines += ["| line | in | change | why it does no harm |", "| ---: | --- | --- | --- |"]
    for mutant in survived:
        where, change = (text.replace("|", "\\|") for text in (mutant.function or "the module", mutant.change))
        lines.append(f"| {mutant.line} | {where} | {change} | {known.get((name, where, change), '')} |")
    return "\n".join(lines).rstrip() + "\n"


def write_report(path: Path, name: str, text: str) -> None:
    """Put the section on a module into the report, and leave the others as they are."""
    old = path.read_text("utf-8") if path.is_file() else HEAD
    _, *parts = re.split(r"^(?=## )", old, flags=re.MULTILINE)
    sections = {part.partition("\n")[0][3:].strip(): part.strip() + "\n" for part in parts}
    sections[name] = text
    path.write_text(HEAD + "".join(f"\n{part}" for part in sections.values()), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.mutate", description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="+", metavar="NAME", help="module of course_utils, such as metrics")
    parser.add_argument("--sample", type=int, help="take so many mutants at random instead of all")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once")
    parser.add_argument("--patience", type=float, default=20, help="seconds that a test may take longer")
    parser.add_argument("--report", action="store_true", help="write the sections of tests/MUTANTS.md")
    parser.add_argument("--root", type=Path, default=ROOT, help="another repository, for tests of this tool")
    options = parser.parse_args()
    report = options.root / "tests" / "MUTANTS.md"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # also then the forks end
    for name in options.modules:
        started = time.perf_counter()
        ran, survived, slow = run(options.root, name, options.jobs, options.sample, options.patience)
        print(
            f"{name}: {len(ran)} mutants, {len(ran) - len(survived)} killed ({slow} for being slow), "
            f"{len(survived)} survived: {100 * (1 - len(survived) / len(ran)):.1f} % killed, "
            f"{time.perf_counter() - started:.0f} s",
            flush=True,
        )
        if options.report:
            sample = f" --sample {options.sample}" if options.sample else ""
            known = dict(rows(report.read_text("utf-8"))) if report.is_file() else {}
            command = f"python -m tools.mutate {name}{sample}"
            write_report(report, name, section(name, ran, survived, known, command))


if __name__ == "__main__":
    main()
