"""How far do trained numbers go from seed to seed? ``python -m tools.seeds notebooks/04_….ipynb --seeds 5``.

A Check compares trained numbers with literal bounds. This runs the code of a notebook under several seeds,
without a kernel, and notes the value of every such number. ``tests/ledger/bands.csv`` holds what came out: the
bounds as the Check has them, mean, standard deviation and number of seeds, and where in the stored outputs the
number is printed. ``tests/test_ledger.py`` compares notebooks and table, so that a bound that was widened, an
assert that was exchanged and a stored number outside its bounds are noticed.
"""

import argparse
import ast
import contextlib
import csv
import io
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.course import ROOT

import nbformat

TABLE = ROOT / "tests" / "ledger" / "bands.csv"
COLUMNS = (
    *("notebook", "cell", "expression", "low", "high", "mean", "sd", "seeds", "printed_in", "printed_place"),
)
NUMBER = re.compile(r"(?<![\w.])[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[-+]?\d+)?")
STEP = 1000  # between two runs, so that a notebook's own seeds 0, 1, 2 do not come again


@dataclass(frozen=True)
class Band:
    """One number that a Check compares with a bound: where, what, and from where to where it may go."""

    cell: str
    expression: str
    low: float
    high: float


def _constant(node: ast.expr) -> float | None:
    """Return the value of a number, or of arithmetic with numbers only; None for anything else."""
    if any(not isinstance(part, ast.Constant | ast.UnaryOp | ast.BinOp | ast.operator | ast.unaryop)
           for part in ast.walk(node)):  # fmt: skip
        return None
    value = eval(compile(ast.Expression(node), "<bound>", "eval"))
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _one_comparison(left: ast.expr, op: ast.cmpop, right: ast.expr) -> tuple[str, float, float] | None:
    """Return (expression, low, high) of ``left < right`` and the like; None when it bounds no number."""
    if isinstance(op, ast.Gt | ast.GtE):
        left, right = right, left
    elif not isinstance(op, ast.Lt | ast.LtE):
        return None
    low, high = _constant(left), _constant(right)
    if low is not None and high is not None:
        return None
    if low is not None:
        return ast.unparse(right), low, math.inf
    if high is not None:
        is_abs = isinstance(left, ast.Call) and isinstance(left.func, ast.Name) and left.func.id == "abs"
        inner = left.args[0] if is_abs else None
        if isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Sub):
            center = _constant(inner.right)
            if center is not None:  # abs(score - 0.8967) < 0.003
                return ast.unparse(inner.left), round(center - high, 12), round(center + high, 12)
        return ast.unparse(left), -math.inf, high
    if isinstance(right, ast.BinOp) and isinstance(right.op, ast.Sub | ast.Add):
        gap = _constant(right.right)
        if gap is not None:  # a < b - 0.01
            gap = -gap if isinstance(right.op, ast.Sub) else gap
            return f"{ast.unparse(left)} - ({ast.unparse(right.left)})", -math.inf, gap
    return f"{ast.unparse(left)} - ({ast.unparse(right)})", -math.inf, 0.0


def _comparisons(test: ast.expr) -> Iterator[tuple[str, float, float]]:
    """Yield (expression, low, high) of all comparisons in the test of an assert that are joined by ``and``."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        for value in test.values:
            yield from _comparisons(value)
    elif isinstance(test, ast.Compare):
        sides = [test.left, *test.comparators]
        found = [
            one
            for left, op, right in zip(sides, test.ops, sides[1:], strict=False)
            if (one := _one_comparison(left, op, right))
        ]
        # 0.40 < x < 0.46 bounds one number from both sides.
        for expression in dict.fromkeys(one[0] for one in found):
            bounds = [(low, high) for name, low, high in found if name == expression]
            yield expression, max(low for low, _ in bounds), min(high for _, high in bounds)


def _plain(source: str) -> str:
    """Return code without the magics of IPython, which a plain Python can't run."""
    return "\n".join("pass" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())


def trained_checks(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Return the Checks that stand behind a cell with trained numbers in the same section."""
    found, trained = [], False
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            trained = False
        if cell.cell_type == "code":
            trained |= "nbval-ignore-output" in tags and "timing" not in tags
            if trained and "check" in tags:
                found.append(cell)
    return found


def bands(notebook: nbformat.NotebookNode) -> list[Band]:
    """Return every number that a Check behind trained cells compares with a bound, in the order of the page."""
    return [
        Band(cell.id, expression, low, high)
        for cell in trained_checks(notebook)
        for statement in ast.walk(ast.parse(_plain(cell.source)))
        if isinstance(statement, ast.Assert)
        for expression, low, high in _comparisons(statement.test)
    ]


class _Record(ast.NodeTransformer):
    """Exchange each assert of a Check for notes of the numbers that it compares."""

    def __init__(self, cell: str):
        self.cell = cell

    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        notes = [
            f"__note__({self.cell!r}, {expression!r}, lambda: ({expression}))"
            for expression, _, _ in _comparisons(node.test)
        ]
        return ast.parse("\n".join(notes) or "pass").body


def run(path: Path, shift: int) -> dict[str, float]:
    """Run the code of a notebook in this process, every seed shifted; return {"cell|expression": value}.

    Raises:
        RuntimeError: when a cell fails that should not.
    """
    os.environ["MPLBACKEND"] = "Agg"
    os.chdir(path.parent)
    import keras

    plain_seed = keras.utils.set_random_seed
    # training.set_seed comes through here as well.
    keras.utils.set_random_seed = lambda seed: plain_seed(seed + shift)
    noted: dict[str, list[float]] = {}

    def note(cell: str, expression: str, value: Any) -> None:
        with contextlib.suppress(TypeError, ValueError):  # no number: a table, a text
            noted.setdefault(f"{cell}|{expression}", []).append(float(value()))

    names = {"__name__": "__main__", "__note__": note}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code":
            continue
        tags = cell.metadata.get("tags", [])
        code = ast.parse(_plain(cell.source))
        if "check" in tags:
            code = ast.fix_missing_locations(_Record(cell.id).visit(code))
        try:
            exec(compile(code, cell.id, "exec"), names)
        except Exception as problem:
            if "raises-exception" not in tags:
                raise RuntimeError(
                    f"{path.name}, cell {cell.id}: {type(problem).__name__}: {problem}"
                ) from problem
    # In a loop the same comparison is made several times: the worst is what a bound has to hold.
    limits = {f"{b.cell}|{b.expression}": b for b in bands(nbformat.read(path, as_version=4))}
    worst = {}
    for key, values in noted.items():
        if key in limits:
            low, high = limits[key].low, limits[key].high
            worst[key] = min(values, key=lambda value, a=low, b=high: min(value - a, b - value))
    return worst


def printed_numbers(cell: nbformat.NotebookNode) -> list[str]:
    """Return the numbers in the text of a code cell's stored outputs, as printed, in their order."""
    found = []
    for output in cell.get("outputs", []):
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        found += NUMBER.findall(text)
    return found


def as_number(text: str) -> float:
    """Return a printed number as a float: "1,878,172" and "−0.5" are numbers, too."""
    return float(text.replace(",", "").replace("−", "-"))


def _where_printed(notebook: nbformat.NotebookNode, band: Band, value: float) -> tuple[str, str]:
    """Return cell and place of the number in the stored outputs of its section, or empty texts."""
    section: list[nbformat.NotebookNode] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            section = []
        section.append(cell)
        if cell.get("id") == band.cell:
            break
    for cell in reversed(section):
        if cell.cell_type == "code" and "nbval-ignore-output" in cell.metadata.get("tags", []):
            for place, text in enumerate(printed_numbers(cell)):
                decimals = len(text.partition(".")[2])
                if decimals >= 2 and abs(as_number(text) - value) <= 0.6 * 10**-decimals:
                    return cell.id, str(place)
    return "", ""


def measure(path: Path, seeds: int) -> list[dict[str, Any]]:
    """Run a notebook under several seeds, each in a fresh process; return the rows of the table."""
    notebook = nbformat.read(path, as_version=4)
    runs = []
    for number in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "values.json")
            command = [sys.executable, "-m", "tools.seeds", str(path), "--one", str(STEP * number), str(out)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
            if done.returncode:
                raise RuntimeError(f"{path.name}, seed {number}:\n{done.stderr[-2000:]}")
            runs.append(json.loads(out.read_text(encoding="utf-8")))
        print(f"{path.name}: seed {number} done", flush=True)
    rows = []
    for band in bands(notebook):
        values = [one[key] for one in runs if (key := f"{band.cell}|{band.expression}") in one]
        if not values:
            continue  # it compares no numbers
        cell, place = _where_printed(notebook, band, values[0])
        measured = (statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0)
        rows.append(
            dict(
                zip(
                    COLUMNS,
                    (
                        *(path.stem, band.cell, band.expression, as_text(band.low), as_text(band.high)),
                        *(as_text(value) for value in measured),
                        *(str(len(values)), cell, place),
                    ),
                    strict=True,
                )
            )
        )
    return rows


def as_text(value: float) -> str:
    """Return a number with six digits; an open end is empty."""
    return "" if math.isinf(value) else f"{value:.6g}"


def read_table(path: Path = TABLE) -> list[dict[str, str]]:
    """Return the rows of the table, none when there is no table yet."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_table(rows: list[dict[str, Any]], path: Path = TABLE) -> None:
    """Write the table, sorted by notebook, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: row["notebook"]))  # stable: the order of the page stays
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(text.getvalue(), encoding="utf-8")
    os.replace(part, path)


def new_bounds(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a notebook with the bounds that its Checks have now; what was measured stays.

    Raises:
        ValueError: when a Check compares a number that was not measured.
    """
    measured = {(row["cell"], row["expression"]): row for row in read_table() if row["notebook"] == path.stem}
    rows = []
    for band in bands(nbformat.read(path, as_version=4)):
        if (band.cell, band.expression) not in measured:
            raise ValueError(
                f"{path.stem}, {band.cell}: {band.expression} was not measured. Run without --bounds."
            )
        row = measured[band.cell, band.expression]
        rows.append(row | {"low": as_text(band.low), "high": as_text(band.high)})
    return rows


def main(arguments: list[str]) -> int:
    """Measure the notebooks that the command line names, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m tools.seeds", description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path, help="notebooks")
    parser.add_argument("--seeds", type=int, default=5, help="how many (default 5)")
    parser.add_argument("--bounds", action="store_true", help="only the bounds changed: measure nothing again")
    parser.add_argument("--one", nargs=2, metavar=("SHIFT", "OUT"), help="run once; used by the command itself")
    chosen = parser.parse_args(arguments)
    if chosen.one:
        # The notebook's own output is of no interest here.
        with contextlib.redirect_stdout(io.StringIO()):
            values = run(chosen.paths[0].resolve(), int(chosen.one[0]))
        Path(chosen.one[1]).write_text(json.dumps(values), encoding="utf-8")
        return 0
    for path in chosen.paths:
        rows = new_bounds(path) if chosen.bounds else measure(path.resolve(), chosen.seeds)
        others = [row for row in read_table() if row["notebook"] != path.stem]
        write_table([*others, *rows])
        for row in rows:
            print(
                f"  {row['expression']}: {row['mean']} (sd {row['sd']}), allowed {row['low']} .. {row['high']}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
