"""The measurements of the notebook on scale: what a step costs, one process each, rows, the stored results."""

from types import SimpleNamespace

from benchmarks import driver, scale, steps, table
from tools.course import ROOT

import pandas as pd
import pytest

# --- What a step costs ----------------------------------------------------------------------------


@pytest.fixture
def known_times(monkeypatch):
    """Five steps of 100 s (TensorFlow prepares the network), then 1, 2, 7 s. Lists the networks by rows."""
    trained, now = [], SimpleNamespace(seconds=0.0, calls=0)

    def perf_counter():
        if now.calls % 2:  # the end of a step
            number = now.calls // 2
            now.seconds += 100 if number < 5 else (1, 2, 7)[number - 5]
        now.calls += 1
        return now.seconds

    by_rows = steps.by_rows
    monkeypatch.setattr(steps, "time", SimpleNamespace(perf_counter=perf_counter))
    monkeypatch.setattr(steps, "by_rows", lambda model: trained.append(by_rows(model)) or trained[-1])
    return trained


@pytest.mark.parametrize("only_rows", [False, True], ids=["Adam", "RowAdam"])
def test_a_step_costs_the_median_without_the_first_ones(known_times, only_rows):
    assert steps.seconds_per_step(only_rows, rows=10, K=3, batch=4, number=3) == 2
    assert len(known_times) == only_rows
    if only_rows:
        model = known_times[0]
        assert type(model.optimizer).__name__ == "RowAdam" and int(model.optimizer.iterations) == 8
        assert [type(layer).__name__ for layer in model.layers].count("RowEmbedding") == 4
        assert model.get_layer("P").get_weights()[0].shape == (10, 3)


def test_the_part_measures_milliseconds_with_the_asked_sizes(monkeypatch):
    asked = []
    monkeypatch.setattr(steps, "seconds_per_step", lambda *given: asked.append(given) or 0.25)
    for part, _, arguments in scale.plan(quick=False):
        if part == "steps":
            assert scale.MEASURE[part](**arguments) == {"ms a step": 250}
    assert asked == [
        (only_rows, 100_000, K, batch, 100 if only_rows else 20)
        for only_rows in (False, True)
        for K, batch in ((8, 1024), (64, 1024), (256, 1024), (64, 8192))
    ]


# --- Processes and rows ---------------------------------------------------------------------------


@pytest.mark.slow
def test_a_measurement_runs_in_its_own_process_and_failures_become_rows(tmp_path, monkeypatch):
    options = driver.Options(out=tmp_path, limit=600, quick=True)
    plan = [
        ("stream", "small", {"n_ratings": 20_000}),
        ("steps", "small", {"only_rows": True, "rows": 100, "K": 2, "batch": 8, "number": 3}),
        ("neighbors", "impossible", {"n_items": 10, "lists": 64}),
    ]
    monkeypatch.setattr(scale, "plan", lambda quick: plan)
    scale.scale(["stream", "steps", "neighbors"], options)
    found = pd.read_csv(tmp_path / "scale.csv")
    stream = found[found["part"] == "stream"].set_index("measure")["value"]
    parts = [stream[f"{name} ratings"] for name in ("training", "validation", "test")]
    assert sum(parts) == 20_000 and 100 < parts[1] < 300
    tried = {penalty: stream[f"validation RMSE, penalty {penalty:g}"] for penalty in scale.PENALTIES}
    assert stream["penalty, chosen"] == min(tried, key=tried.get)
    assert 200 < stream["peak memory in MB"] < 2000 and 0.5 < stream["test RMSE, both biases"] < 1.2
    assert stream["test RMSE, matrix factorization"] < 1.3
    assert 0 < found[found["part"] == "steps"]["value"].item() < 60_000
    failed = found[found["part"] == "neighbors"].iloc[0]
    assert failed["status"] == "error" and isinstance(failed["error"], str)
    assert "| neighbors | impossible |" in table.scale_table(tmp_path)


def test_new_figures_replace_those_of_the_same_setting_and_of_settings_that_are_gone(tmp_path, monkeypatch):
    options, figures = driver.Options(out=tmp_path), {"a": 1.0, "b": 2.0}
    monkeypatch.setattr(scale, "measure", lambda part, arguments, options: dict(figures))
    monkeypatch.setattr(scale, "plan", lambda quick: [("steps", "old", {}), ("als", "kept", {})])
    scale.scale(["steps", "als"], options)
    del figures["b"]
    monkeypatch.setattr(scale, "plan", lambda quick: [("steps", "new", {}), ("als", "kept", {})])
    scale.scale(["steps"], options)
    rows = [(row["part"], row["setting"], row["measure"]) for row in driver.read_rows(tmp_path / "scale.csv")]
    assert rows == [("steps", "new", "a"), ("als", "kept", "a"), ("als", "kept", "b")]
    scale.scale(["als"], options)
    rows = [(row["part"], row["setting"], row["measure"]) for row in driver.read_rows(tmp_path / "scale.csv")]
    assert rows == [("steps", "new", "a"), ("als", "kept", "a")]


# --- The stored results ---------------------------------------------------------------------------


def test_stored_results_are_those_of_the_plan():
    rows = driver.read_rows(ROOT / "benchmarks" / "scale.csv")
    planned = [(part, setting) for part, setting, _ in scale.plan(quick=False)]
    assert list(dict.fromkeys((row["part"], row["setting"]) for row in rows)) == planned
    assert list(rows[0]) == list(scale.COLUMNS)


def test_readme_of_the_benchmark_shows_the_stored_results():
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    shown = text.partition("<!-- scale -->")[2].partition("<!-- end of scale -->")[0].strip()
    assert shown == table.scale_table(), "Run `python -m benchmarks table` and put its table between the marks."
