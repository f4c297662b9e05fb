"""Limits follow the machine, and the summary of pytest names the first failing cell of a notebook."""

import os
import subprocess
import sys
import types

from tools import patience as patience_module
from tools import pytest_notebooks
from tools.course import ROOT
from tools.patience import MARGIN, patience, slowness

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

# --- How long to wait -----------------------------------------------------------------------------


def test_patience_is_many_times_what_a_quiet_machine_needs(monkeypatch):
    monkeypatch.setenv(patience_module.VARIABLE, "1")
    assert patience(5) == 5 * MARGIN >= 100
    monkeypatch.setenv(patience_module.VARIABLE, "2.5")
    assert patience(5) == 5 * MARGIN * 2.5


def test_slowness_ismeasured_once_and_handed_on(monkeypatch):
    monkeypatch.delenv(patience_module.VARIABLE, raising=False)
    measured = slowness()
    assert measured >= 1 and float(os.environ[patience_module.VARIABLE]) == measured
    monkeypatch.setattr(patience_module, "measure", lambda: 99)
    assert slowness() == measured
    monkeypatch.delenv(patience_module.VARIABLE)


@pytest.mark.parametrize(
    ("work", "cores", "load", "expected"),
    [(0.5, 2, 0, 1), (3, 2, 0, 3), (0.5, 2, 8, 4), (3, 1, 0, 6), (0.5, 1, 2, 4), (0.5, 8, 4, 1)],
)
def test_a_slow_machine_is_noticed(monkeypatch, work, cores, load, expected):
    """Work that takes longer, cores that are lacking, programs that wait: each makes tests wait longer."""
    now = iter([100, 100 + work * patience_module.QUIET_SECONDS])
    monkeypatch.setattr(patience_module.time, "perf_counter", lambda: next(now))
    monkeypatch.setattr(patience_module, "work", lambda: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores), raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0, 0), raising=False)
    assert patience_module.measure() == pytest.approx(expected)


def test_a_long_run_says_where_the_time_went():
    def report(nodeid, seconds, when="call"):
        return pytest.TestReport(nodeid, ("f", 0, ""), {}, "passed", None, when, duration=seconds)

    stats = {
        "passed": [report("tests/test_a.py::x", 30.0), report("notebooks/06.ipynb::Cell 1", 50.0)],
        "": [report("tests/test_a.py::x", 3.0, "setup"), "no report"],
        "skipped": [report("tests/test_b.py::y", 0.1)],
        "error": [types.SimpleNamespace(nodeid="tests/test_c.py")],  # a file that fails to load
    }
    lines = []
    reporter = types.SimpleNamespace(stats=stats, section=lines.append, line=lines.append)
    pytest_notebooks.pytest_terminal_summary(reporter)
    assert lines[0].startswith("seconds by file")
    assert [line.split() for line in lines[1:]] == [
        ["50", "notebooks/06.ipynb"],
        ["33", "tests/test_a.py"],
        ["0", "tests/test_b.py"],
        ["83", "together"],
    ]
    stats["passed"].pop()
    lines.clear()
    pytest_notebooks.pytest_terminal_summary(reporter)
    assert lines == []


def test_the_slowest_files_come_first_and_exist():
    assert all((ROOT / name).is_file() for name in pytest_notebooks.SLOWEST_FIRST)
    names = ["tests/test_a.py::x", "tests/test_site.py::y", "notebooks/06_reproduction.ipynb::Cell 0"]
    items = [types.SimpleNamespace(nodeid=name) for name in names]
    pytest_notebooks.pytest_collection_modifyitems(items)
    assert [item.nodeid for item in items] == names[::-1]


# --- A made-up notebook that fails ----------------------------------------------------------------


@pytest.fixture
def run_pytest(tmp_path):
    """Write a notebook of these cells and let pytest run it as ``make test`` does; return what it prints."""

    def run(sources, *options):
        cells = [new_code_cell(source, execution_count=n) for n, source in enumerate(sources, start=1)]
        nbformat.write(new_notebook(cells=cells), tmp_path / "04_x.ipynb")
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        words = [
            "-m",
            "pytest",
            "-p",
            "tools.pytest_notebooks",
            "--nbval",
            "--nbval-current-env",
            "-ra",
            *options,
        ]
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "COVERAGE_PROCESS_START": "",
            "PYTEST_ADDOPTS": "",
        }
        done = subprocess.run(
            [sys.executable, *words, "04_x.ipynb"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        return done.stdout + done.stderr

    return run


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["-n", "1"]], ids=["alone", "in a worker"])
def test_the_first_failing_cell_is_named(run_pytest, options):
    out = run_pytest(["a = 1", "# the mean\nb = 1 / 0", "b", "b + 1", "c = a"], *options)
    assert (
        "04_x.ipynb: first failing cell is 1 (counted from 0, [2] in JupyterLab): # the mean - "
        "ZeroDivisionError: division by zero; the cells after it ran in the same kernel and may follow from it"
    ) in out
    assert out.count("first failing cell is") == 1 and "3 failed, 2 passed" in out


@pytest.mark.slow
def test_another_output_is_named_too(run_pytest):
    out = run_pytest(["print(1)"])
    assert "first failing cell is 0" in out and "print(1) - Cell outputs differ" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "options", "error"),
    [
        ("import time; time.sleep(600)", ["--nbval-cell-timeout=1"], "KeyboardInterrupt"),
        ("import os; os._exit(1)", [], "the kernel died"),
    ],
    ids=["never ends", "dies"],
)
def test_cells_after_one_that_does_not_end_are_skipped(run_pytest, source, options, error):
    out = run_pytest(["a = 1", source, "a", "a + 1"], *options)
    assert f"first failing cell is 1 (counted from 0, [2] in JupyterLab): {source} - {error}" in out
    assert "1 failed, 1 passed, 2 skipped" in out and "xfail" not in out and "xpass" not in out, out


@pytest.mark.slow
def test_no_line_when_every_cell_passes(run_pytest):
    out = run_pytest(["a = 1", "assert a"])
    assert "2 passed" in out and "first failing cell" not in out
