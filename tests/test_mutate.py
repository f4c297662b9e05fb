"""tools.mutate on a made-up module: a good test kills what a bad one lets live. And the committed report."""

import re
import subprocess
import sys

from tools import mutate
from tools.course import ROOT
from tools.mutate import SWAPPED, mutants, rows, section, write_report

import pytest

MODULE = '''"""A made-up module."""


def share(part, whole, least=0):
    """Return a share, 0 or more."""
    if whole == 0:
        raise ValueError("There is no whole to take a share of.")
    return max(part / whole, least)
'''
GOOD = """
import pytest
from course_utils.made_up import share

def test_share():
    assert share(1, 4) == 0.25 and share(1, 1) == 1 and share(-1, 1) == 0 and share(-9, 3) == 0
    with pytest.raises(ValueError):
        share(1, 0)
"""
BAD = """
from course_utils.made_up import share

def test_share():
    assert share(1, 1)
"""


def changes(source):
    return {(mutant.before, mutant.after) for mutant in mutants(source)}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = a < b", [("x = a < b", "x = a <= b")]),
        ("x = a is not b", [("x = a is not b", "x = a is b")]),
        ("x = a // b", [("x = a // b", "x = a * b")]),
        ("x = a and b", [("x = a and b", "x = a or b")]),
        ("x = not a", [("x = not a", "x = a")]),
        ("x = -a", [("x = -a", "x = a")]),
        ("x = 3", [("x = 3", "x = 4")]),
        ("x = 0.5", [("x = 0.5", "x = 1.0")]),
        ("x = 0.0", [("x = 0.0", "x = 1.0")]),
        ("x = True", [("x = True", "x = False")]),
        ("x = 'two words'", [("x = 'two words'", "x = 'XXtwo words'")]),
        ("x = y.T", [("x = y.T", "x = y")]),
        ("x = min(a)", [("x = min(a)", "x = max(a)")]),
        ("x = np.maximum(a)", [("x = np.maximum(a)", "x = np.minimum(a)")]),
        ("x = a.clip(b)", [("x = a.clip(b)", "x = a")]),
        ("x = f(a, key=b)", [("x = f(a, key=b)", "x = f(a)")]),
        ("x = y[a:b]", [("x = y[a:b]", "x = y[:b]"), ("x = y[a:b]", "x = y[a:]")]),
        ("if a:\n    b()", [("if a:", "if not a:"), ("b()", "deleted")]),
        ("x = [y for y in z if y]", [("x = [y for y in z if y]", "x = [y for y in z if not y]")]),
        ("x += y", [("x += y", "deleted"), ("x += y", "x -= y")]),
        ("x[a] = y", [("x[a] = y", "deleted")]),
        ("@one\ndef f():\n    return a", [("@one", "deleted"), ("return a", "return None")]),
        ("def f(a):\n    a = b\n    c = d", [("a = b", "deleted")]),
    ],
)
def test_each_kind_of_mutant(source, expected):
    assert changes(source) == set(expected)


def test_what_is_said_is_not_changed():
    said = '"""Words."""\nx: "int" = a\n__all__ = ["x"]\ny = f"{a} words"\nz = "a whole sentence"\n'
    assert changes(said) == set()
    assert changes('raise ValueError("word")') == {("raise ValueError('word')", "deleted")}
    assert SWAPPED["all"] == "any"


def test_a_mutant_knows_its_place():
    found = mutants("import a\n\n\nclass B:\n    def c(self):\n        return (\n            1\n        )\n")
    assert [(one.line, one.function, one.change) for one in found] == [
        (6, "B.c", "`return 1` → `return None`"),
        (7, "B.c", "`return 1` → `return 2`"),
    ]
    assert "return 2" in found[1].source and "import a" in found[1].source


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "course_utils").mkdir()
    (tmp_path / "course_utils/__init__.py").write_text("")
    (tmp_path / "course_utils/made_up.py").write_text(MODULE)
    (tmp_path / "tests").mkdir()
    return tmp_path


def run(repository, *options):
    command = [sys.executable, "-m", "tools.mutate", "made_up", "--root", str(repository), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_a_good_test_kills_every_mutant(repository):
    (repository / "tests/test_made_up.py").write_text(GOOD)
    done = run(repository, "--report")
    assert re.search(
        r"made_up: 7 mutants, 7 killed \(0 for being slow\), 0 survived: 100.0 % killed", done.stdout
    ), done.stdout + done.stderr
    assert "7 killed, 0 survived: **100.0 %**" in (repository / "tests/MUTANTS.md").read_text()


@pytest.mark.slow
def test_a_bad_test_leaves_survivors_and_the_report_keeps_reasons(repository):
    (repository / "tests/test_made_up.py").write_text(BAD)
    before = {path: path.read_bytes() for path in repository.rglob("*.py")}
    done = run(repository, "--report")
    assert (
        "survived: line 8, share: `return max(part / whole, least)` → `return max(part * whole, least)`"
        in done.stdout
    )
    assert {path: path.read_bytes() for path in repository.rglob("*.py")} == before, "only copies are changed"
    report = repository / "tests/MUTANTS.md"
    row = "| 8 | share | `return max(part / whole, least)` → `return max(part * whole, least)` |"
    text = report.read_text()
    assert f"{row}  |" in text, "the reason is for a human to write"
    report.write_text(text.replace(f"{row}  |", f"{row} It is all the same. |") + "\n## other\n\nstays\n")
    assert run(repository, "--report").returncode == 0
    assert f"{row} It is all the same. |" in report.read_text() and "## other\n\nstays\n" in report.read_text()


@pytest.mark.slow
def test_an_endless_loop_counts_as_killed(repository):
    (repository / "course_utils/made_up.py").write_text(
        "def up(n):\n    while n < 3:\n        n += 1\n    return n\n"
    )
    test = "from course_utils.made_up import up\n\ndef test_up():\n    assert up(2) == 3 and up(5) == 5\n"
    (repository / "tests/test_made_up.py").write_text(test)
    done = run(repository, "--patience", "3")
    # n -= 1, n += 0, and the same without the line.
    assert re.search(r" 0 survived", done.stdout) and "(2 for being slow)" in done.stdout, (
        done.stdout + done.stderr
    )


def test_tests_that_fail_without_a_mutant_are_no_measure(repository):
    (repository / "tests/test_made_up.py").write_text("def test_it():\n    assert False\n")
    done = run(repository)
    assert done.returncode == 1 and "The tests of made_up fail without any mutant" in done.stderr
    (repository / "tests/test_made_up.py").unlink()
    with pytest.raises(RuntimeError, match="There is no tests/test_made_up.py"):
        mutate.run(repository, "made_up")


def test_the_committed_report_is_complete():
    """Nine of ten mutants die in each module, and whoever reads of a survivor reads why it does no harm."""
    text = (ROOT / "tests/MUTANTS.md").read_text("utf-8")
    shares = dict(re.findall(r"^## (\w+)\n\n.*\*\*([\d.]+) %\*\*", text, flags=re.MULTILINE))
    assert {"metrics", "models", "history", "ranking", "data", "fetch", "tables"} <= set(shares)
    for name, share in shares.items():
        assert float(share) >= 90, f"{name}: only {share} % of the mutants are killed"
    assert len(rows(text)) == len(re.findall(r"^\| \d+ \|", text, flags=re.MULTILINE))
    assert not [row for row, reason in rows(text) if len(reason.split()) < 3]


def test_a_report_can_be_read_again(tmp_path):
    """A bar and several lines of the same look in a change must not break its row."""
    ran = mutants("x = a | b\ny = 'c'\n")
    write_report(tmp_path / "R.md", "one", section("one", ran, ran, {}, "command"))
    found = dict(rows((tmp_path / "R.md").read_text()))
    assert len(found) == len(ran) == 2 and set(found.values()) == {""}
    known = {row: f"reason {number}" for number, row in enumerate(found)}
    assert dict(rows(section("one", ran, ran, known, "command"))) == known
