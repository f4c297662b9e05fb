"""What pytest does otherwise in this repository; ``pyproject.toml`` loads it with ``-p``.

- The time limits of nbval follow ``patience``, unless the command line gives them.
- The slowest files come first, so that no worker is left alone with one at the end.
- The summary of a long run says where the time went.
- The summary names the first failing cell of each notebook. The cells after it run in the same kernel, so their
  failures may only follow from it. When a cell does not end, they are skipped.
"""

import collections
import re
import time
from queue import Empty

from tools.patience import patience

import pytest

# Seconds on a quiet machine with two cores.
LONGEST_CELL = 120
KERNEL_START = 10
NEXT_MESSAGE = 2  # from a kernel that has already answered
LONG_RUN = 60  # seconds: a shorter run does not say where the time went
SLOWEST_FIRST = (
    "notebooks/07_better_models.ipynb",
    "notebooks/06_reproduction.ipynb",
    "notebooks/09_retrieval.ipynb",
    "notebooks/08_recommendations.ipynb",
    "notebooks/11_scaling_out.ipynb",
    "notebooks/10_sequences.ipynb",
    "tests/test_exercises.py",
    "tests/test_grading.py",
    "tests/test_slides.py",
    "tests/test_site.py",
    "tests/test_scaling.py",
    "tests/test_training.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Set the limits of nbval. A worker of xdist gets them with the options of the process that started it."""
    if hasattr(config, "workerinput"):
        return
    given = {word.partition("=")[0] for word in config.invocation_params.args}
    for name, seconds in (("cell-timeout", LONGEST_CELL), ("kernel-startup-timeout", KERNEL_START)):
        if f"--nbval-{name}" not in given:
            setattr(config.option, f"nbval_{name.replace('-', '_')}", patience(seconds))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let nbval wait for messages as long as this machine needs, and put the slowest files first."""
    rank = {name: place for place, name in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(rank)))
    for item in items:
        if hasattr(item, "cell"):
            item.output_timeout = patience(NEXT_MESSAGE)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item):
    """Skip the cells after one that did not end: nbval would call them expected failures."""
    started = hasattr(item, "cell") and item.parent.kernel  # it starts with the first cell
    if started and (item.parent.timed_out or not started.is_alive()):
        pytest.skip("A cell above did not end, or ended the kernel: see the first failing cell.")
    result = yield
    if hasattr(item, "cell") and not started:
        _watch(item.parent.kernel)
    return result


def _watch(kernel) -> None:
    """Let nbval notice within a second that a kernel died. It would wait for the whole limit of the cell."""
    wait = kernel.get_message

    def get_message(stream: str, timeout: float) -> dict:
        end = time.monotonic() + timeout
        while True:
            try:
                return wait(stream, timeout=max(0, min(1, end - time.monotonic())))
            except Empty:
                if not kernel.is_alive():
                    raise RuntimeError("the kernel died") from None
                if time.monotonic() >= end:
                    raise

    kernel.get_message = get_message


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Add to the report of a failing cell what the summary says about it."""
    report = yield
    if report.failed and hasattr(item, "cell"):
        lines = [line for line in item.cell.source.splitlines() if line.strip()]
        known = (item.cell_num, lines[0].strip() if lines else "", _error(call.excinfo.value))
        report.user_properties.append(("failing_cell", list(known)))
    return report


def _error(problem: BaseException) -> str:
    """Return an error in one line: that of the cell, when one was raised in it, else that of nbval."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", getattr(problem, "inner_traceback", None) or "")
    lines = [line for line in text.splitlines() if line.strip()]
    raised = [line for line in lines if re.match(r"\w+(Error|Exception|Interrupt|Exit|Warning)\b", line)]
    return raised[-1] if raised else str(problem).strip().partition("\n")[0]


def pytest_terminal_summary(terminalreporter) -> None:
    """Say where the time went, and name the first failing cell of each notebook."""
    spent = collections.Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                spent[report.nodeid.partition("::")[0]] += report.duration
    if spent.total() >= LONG_RUN:
        terminalreporter.section("seconds by file, those of all workers added")
        for path, seconds in spent.most_common(15):
            terminalreporter.line(f"{seconds:6.0f}  {path}")
        terminalreporter.line(f"{spent.total():6.0f}  together")
    first = {}
    for report in terminalreporter.stats.get("failed", []) + terminalreporter.stats.get("error", []):
        for name, value in getattr(report, "user_properties", []):  # a file that fails to load has none
            path = report.nodeid.partition("::")[0]
            if name == "failing_cell" and value < first.get(path, [10**9]):
                first[path] = value
    if first:
        terminalreporter.section("the first failing cell of each notebook")
    for path, (number, line, error) in sorted(first.items()):
        terminalreporter.line(
            f"{path}: first failing cell is {number} (counted from 0, [{number + 1}] in JupyterLab): {line} - "
            f"{error}; the cells after it ran in the same kernel and may follow from it"
        )
