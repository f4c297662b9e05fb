"""The course on JAX and PyTorch: what measures it, and that README shows what was measured."""

import json
import re
import subprocess

from benchmarks import backends
from benchmarks.driver import Options
from tools import ROOT

import pandas as pd
import pytest

README = (ROOT / "README.md").read_text(encoding="utf-8")


def options(folder, **changes):
    return Options(**{"out": folder, "envs": folder, "threads": 2, "limit": 60, "quick": False} | changes)


def answer(command, **given):
    name, seed = command[-2:]
    row = {
        "backend": given["env"]["KERAS_BACKEND"],
        "version": "1",
        "keras": "3",
        "name": name,
        "seed": int(seed),
    }
    said = f"a line of a library\n{json.dumps(row | {'fit_seconds': 2.5 + int(seed), 'test_rmse': 0.9})}\n"
    return subprocess.CompletedProcess(command, 0, said)


def test_each_training_has_a_process_with_its_backend(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "run", answer)
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: name != "torch" or None)
    backends.backends(options(tmp_path))
    rows = pd.read_csv(tmp_path / "backends.csv")
    assert list(rows) == list(backends.COLUMNS)
    assert len(rows) == 2 * len(backends.NAMES) * len(backends.SEEDS)
    assert (
        set(rows["backend"]) == {"tensorflow", "jax"} and not rows.duplicated(["backend", "name", "seed"]).any()
    )
    assert "Not installed, so not measured: torch." in capsys.readouterr().out
    table = backends.backends_table(tmp_path)
    assert "| network | TensorFlow 1 | JAX 1 |" in table
    assert "| matrix factorization of 04 | 0.9000 ± 0.0000, 3.5 s |" in table, "the median of 2.5, 3.5, 4.5"


def test_a_failure_keeps_the_rows_before_it(tmp_path, monkeypatch):
    done = []

    def fail_at_third(command, **given):
        done.append(command)
        if len(done) == 3:
            raise subprocess.CalledProcessError(1, command)
        return answer(command, **given)

    monkeypatch.setattr(subprocess, "run", fail_at_third)
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: True)
    with pytest.raises(subprocess.CalledProcessError):
        backends.backends(options(tmp_path))
    assert len(pd.read_csv(tmp_path / "backends.csv")) == 2


@pytest.mark.slow
def test_a_training_names_its_backend(tmp_path):
    """The smallest network, on the backend of this process."""
    row = backends.one("mf_04", 0)
    assert row["backend"] == "tensorflow" and re.match(r"\d+\.\d+", row["version"])
    assert 0.88 < row["test_rmse"] < 0.91 and row["fit_seconds"] > 0


def test_readme_shows_what_was_measured():
    shown = README.partition("<!-- backends -->")[2].partition("<!-- end of backends -->")[0]
    assert shown.strip() == backends.backends_table(), (
        "run `python -m benchmarks table` and copy what it prints"
    )


def test_the_backends_agree():
    """On each backend, the mean over seeds is that of TensorFlow within a hundredth of a star."""
    rows = pd.read_csv(ROOT / "benchmarks" / "backends.csv")
    means = rows.groupby(["name", "backend"])["test_rmse"].mean().unstack()
    assert set(means) == set(backends.BACKENDS)
    assert (means.sub(means["tensorflow"], axis=0).abs() < 0.01).all(axis=None), means


def test_notebooks_that_claim_it_need_no_tensorflow():
    numbers = re.search(
        r"0\[(\d)-(\d)\]_\*\.ipynb notebooks/10_", (ROOT / "Makefile").read_text(encoding="utf-8")
    )
    assert numbers.groups() == ("1", "8")
    for path in sorted((ROOT / "notebooks").glob("[01][0-9]_*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = "".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "code")
        if path.name[:2] in {"01", "02", "03", "04", "05", "06", "07", "08", "10"}:
            assert not re.search(r"import tensorflow|\btf\.|GradientTape|steps_per_execution=\d", code), (
                path.name
            )
