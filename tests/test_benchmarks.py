"""The benchmark's driver: environments, failures, time limits, columns and the figures it derives."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

from tools.course import ROOT

import numpy as np
import pandas as pd
import pytest

FOLDER = ROOT / "benchmarks"
sys.path.insert(0, str(FOLDER))

import ours  # noqa: E402
import peers  # noqa: E402
import run  # noqa: E402
import worker  # noqa: E402


@pytest.fixture
def options(tmp_path):
    return run.Options(out=tmp_path / "out", envs=tmp_path / "envs", limit=60, quick=True)


# --- What a figure is -----------------------------------------------------------------------------


def test_rmse_is_that_of_clipped_predictions():
    assert worker.clipped_rmse(np.array([5, 1]), np.array([9.0, -3.0])) == 0
    assert worker.clipped_rmse(np.array([5, 1]), np.array([[4.0], [1.0]])) == pytest.approx(0.5**0.5)


@pytest.mark.parametrize("bad", [np.array([3.0]), np.array([3.0, np.nan]), np.array([3.0, np.inf])])
def test_bad_predictions_have_no_rmse(bad):
    with pytest.raises(ValueError, match="finite predictions"):
        worker.clipped_rmse(np.array([3, 4]), bad)


def test_seconds_to_a_threshold():
    curve = [(1.0, 0.95), (2.0, 0.92), (3.0, 0.94), (4.0, 0.90)]
    assert worker.seconds_to(0.93, curve) == 2.0
    assert worker.seconds_to(0.90, curve) == 4.0
    assert worker.seconds_to(0.89, curve) is None


def test_the_final_score_counts_for_thresholds():
    stars, off = np.array([3, 3]), 0.91
    measured = worker.measure(worker.Result(np.array([3 + off, 3 - off]), 7.0, 0.5, 12), stars)
    assert measured == {
        "test_rmse": 0.91,
        "fit_seconds": 7.0,
        "seconds_to_093": 7.0,
        "seconds_to_090": None,
        "predictions_per_second": 4,
        "parameters": 12,
    }


def test_peers_search_stops_at_the_first_run_that_is_good_enough():
    tried = []

    def make():
        def fit(train, seed, n_epochs, bias):
            tried.append((n_epochs, bias, seed))
            return lambda test: test["rating"] + 2 / n_epochs, 5

        return fit

    table = np.array([(1, 1, 3), (1, 2, 2)], dtype=[("user_id", int), ("movie_id", int), ("rating", int)])
    result = peers.peer(make, {"bias": True}, "n_epochs", 10, (1, 2, 4, 8))(table, table, 7)
    assert tried == [(10, True, 7), (1, True, 7), (2, True, 7), (4, True, 7)]  # 2 / 4 = 0.5 is below 0.90
    assert [round(score, 3) for _, score in result.curve] == [2.0, 1.0, 0.5]


# --- Processes ------------------------------------------------------------------------------------


def test_threads_and_epochs_are_set_and_nothing_leaks(options, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setenv("BENCH_MAX_EPOCHS", "3")
    variables = run.environment(run.dataclasses.replace(options, threads=3, quick=False))
    assert {variables[name] for name in run.THREAD_VARIABLES} == {"3"}
    assert {"OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "OPENBLAS_NUM_THREADS"} <= set(run.THREAD_VARIABLES)
    assert "PYTHONPATH" not in variables and "BENCH_MAX_EPOCHS" not in variables
    assert run.environment(options)["BENCH_MAX_EPOCHS"] == "1"


def test_epochs_are_fewer_in_a_quick_run(monkeypatch):
    monkeypatch.delenv("BENCH_MAX_EPOCHS", raising=False)
    assert worker.epochs(20) == 20
    monkeypatch.setenv("BENCH_MAX_EPOCHS", "1")
    assert worker.epochs(20) == 1


def test_time_limit_ends_the_process_and_what_it_started(tmp_path):
    mark = tmp_path / "mark"
    child = f"import time; time.sleep(3); open({str(mark)!r}, 'w')"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    start = time.perf_counter()
    with pytest.raises(run.Failure, match="time limit of 1 s"):
        run.execute([sys.executable, "-c", parent], dict(run.os.environ), limit=1)
    assert time.perf_counter() - start < 2.5
    time.sleep(3)
    assert not mark.exists(), "the grandchild went on"


def test_failure_tells_the_last_error_without_this_machines_paths():
    code = f"raise ValueError('broken in {run.HERE.parent.as_posix()}/x')"
    with pytest.raises(run.Failure) as found:
        run.execute([sys.executable, "-c", code], dict(run.os.environ), limit=30)
    assert str(found.value) == "exit code 1: ValueError: broken in ./x"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_peak_memory_is_that_of_the_process_alone():
    held = np.ones(60_000_000)  # 480 MB, which getrusage would charge to a child as well
    code = "import worker; print(worker.peak_megabytes())"
    done = subprocess.run([sys.executable, "-c", code], cwd=FOLDER, capture_output=True, text=True, check=True)
    assert worker.peak_megabytes() > held.nbytes / 1024**2
    assert 5 < float(done.stdout) < 300


# --- Environments ---------------------------------------------------------------------------------


def test_environment_is_made_once_and_again_when_pins_change(options, monkeypatch):
    commands = []
    monkeypatch.setattr(run, "execute", lambda command, variables, limit: commands.append(command))
    monkeypatch.setattr(peers, "ENVIRONMENTS", {"toy": ["torch==1", "toy==1"]})
    (options.envs / "toy").mkdir(parents=True)
    options = run.dataclasses.replace(options, quick=False)
    python = run.ready("toy", options)
    assert [command[2] for command in commands] == ["venv", "pip", "pip"]
    assert commands[1][-1] == "torch==1" and commands[2][-2:] == ["torch==1", "toy==1"]
    assert str(python) in commands[2] and python.is_relative_to(options.envs / "toy")
    run.ready("toy", options)
    assert len(commands) == 3
    monkeypatch.setattr(peers, "ENVIRONMENTS", {"toy": ["torch==1", "toy==2"]})
    run.ready("toy", options)
    assert len(commands) == 6


def test_failed_installation_is_a_failure_and_is_tried_again(options, monkeypatch):
    def refuse(command, variables, limit):
        raise run.Failure("exit code 1: ERROR: no matching distribution")

    monkeypatch.setattr(run, "execute", refuse)
    for _ in range(2):
        with pytest.raises(run.Failure, match="installation failed: exit code 1: ERROR: no matching"):
            run.ready("surprise", run.dataclasses.replace(options, quick=False))


def test_every_peer_has_an_environment_with_exact_pins():
    assert {model.env for model in peers.MODELS.values()} == set(peers.ENVIRONMENTS)
    for pins in peers.ENVIRONMENTS.values():
        assert all("==" in pin or pin.startswith("setuptools<") for pin in pins)
    assert all(not model.env for model in ours.MODELS.values())


def test_tuned_settings_are_points_of_their_grids():
    assert set(peers.TUNED) == set(peers.GRIDS) == set(peers.MAKERS)
    for name, settings in peers.TUNED.items():
        assert {key: value in peers.GRIDS[name][key] for key, value in settings.items()} == dict.fromkeys(
            peers.GRIDS[name], True
        )


# --- Rows -----------------------------------------------------------------------------------------


@pytest.fixture
def two_models(monkeypatch):
    """Two made-up models: one fails, one is never done. Between them the driver has to go on."""
    toy = worker.Model(lambda train, test, seed: None, "toy", "made up", ())
    monkeypatch.setattr(run, "MODELS", {"fails": toy, "hangs": toy, "works": toy})
    codes = {
        "fails": "raise RuntimeError('made to fail')",
        "hangs": "import time; time.sleep(60)",
        "works": "import sys; open(sys.argv[1], 'w').write('{\"test_rmse\": 0.5, \"seconds_to_090\": null}')",
    }

    def run_model(name, folder, seed, options):
        out = options.out.parent / "measured.json"
        run.execute([sys.executable, "-c", codes[name], str(out)], run.environment(options), options.limit)
        return json.loads(out.read_text())

    monkeypatch.setattr(run, "run_model", run_model)


def test_failing_and_endless_models_become_rows(options, two_models):
    run.models(run.dataclasses.replace(options, limit=5))
    with open(options.out / "results.csv", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["fails", "hangs", "works", *peers.NOT_RUN]
    assert rows["fails"]["status"] == "error" and rows["fails"]["error"].endswith("RuntimeError: made to fail")
    assert rows["hangs"]["status"] == "error" and rows["hangs"]["error"] == "time limit of 5 s exceeded"
    assert rows["works"]["status"] == "ok" and rows["works"]["test_rmse"] == "0.5"
    assert rows["works"]["seconds_to_090"] == "" and int(rows["works"]["cores"]) >= 1
    assert rows["fastai-collab"]["status"] == "not run"


def test_a_part_of_the_run_replaces_only_its_rows(options, two_models):
    run.models(run.dataclasses.replace(options, only=("works",), seeds=(0, 1)))
    run.models(run.dataclasses.replace(options, only=("fails",)))
    run.models(run.dataclasses.replace(options, only=("works",), seeds=(1,)))
    rows = run.read_rows(options.out / "results.csv")
    assert [(row["name"], row["seed"]) for row in rows] == [("fails", "0"), ("works", "0"), ("works", "1")]


def test_each_row_is_written_at_once(tmp_path):
    table = run.Table(tmp_path / "t.csv", ("name", "status"), ("name",), lambda row: row["name"])
    table.add({"name": "b", "status": "ok"})
    assert len(run.read_rows(tmp_path / "t.csv")) == 1
    table.add({"name": "a", "status": "ok"})
    assert [row["name"] for row in run.read_rows(tmp_path / "t.csv")] == ["a", "b"]
    assert not list(tmp_path.glob("*.part"))


def test_splits_have_mean_and_spread(options, monkeypatch):
    seen = []

    def run_model(name, folder, seed, options):
        seen.append(int(np.load(folder / "test.npy")["user_id"][:50].sum()))
        return {"test_rmse": 0.9 + 0.01 * len(seen), "fit_seconds": 1.0}

    monkeypatch.setattr(run, "run_model", run_model)
    run.over("splits", ["mf-04"], range(1, 4), options)
    rows = run.read_rows(options.out / "splits.csv")
    assert [row["split"] for row in rows] == ["1", "2", "3", "mean", "sd"]
    assert [float(row["test_rmse"]) for row in rows] == pytest.approx([0.91, 0.92, 0.93, 0.92, 0.01])
    assert len(set(seen)) == 3, "three different splits"
    run.over("folds", ["mf-04"], [1, 2], options)
    assert [row["split"] for row in run.read_rows(options.out / "folds.csv")] == ["1", "2", "mean", "sd"]


def test_saved_split_is_the_courses(ratings, tmp_path):
    train, test = run.split_ratings(ratings)
    run.save_split(train, test, tmp_path)
    loaded = np.load(tmp_path / "test.npy")
    assert pd.DataFrame(loaded).equals(test.reset_index(drop=True)) and len(loaded) == 20_000


# --- The real thing, small ------------------------------------------------------------------------


def test_quick_run_of_our_factorization(options):
    run.models(run.dataclasses.replace(options, only=("mf-04", "cornac-mf"), seeds=(0,)))
    ours_row, peer_row = run.read_rows(options.out / "results.csv")
    assert ours_row["status"] == "ok", ours_row["error"]
    assert 0.9 < float(ours_row["test_rmse"]) < 1.3
    assert ours_row["parameters"] == str((944 + 1683) * 65)
    assert 50 < float(ours_row["peak_mb"]) < 3000 and "keras" in ours_row["version"]
    assert peer_row["status"] == "error" and "not installed" in peer_row["error"]


def test_rows_only_optimizer_adds_gradients_of_a_row_as_dense_adam_does():
    import keras
    import steps
    import tensorflow as tf

    # Row 1 is looked up twice, row 2 once, rows 0 and 3 not at all.
    rows = tf.IndexedSlices(tf.constant([[3.0], [1.0], [2.0]]), tf.constant([1, 1, 2]), tf.constant([4, 1]))
    found = {}
    for name, kind, gradient in (
        ("rows", steps.RowAdam, rows),
        ("dense", keras.optimizers.Adam, tf.convert_to_tensor(rows)),
        ("Keras", keras.optimizers.Adam, rows),
    ):
        variable, optimizer = keras.Variable(np.zeros((4, 1), "float32")), kind(0.1, beta_2=0.9)
        optimizer.build([variable])
        optimizer.apply([gradient], [variable])
        found[name] = keras.ops.convert_to_numpy(variable).ravel()
    np.testing.assert_allclose(found["rows"], found["dense"], atol=1e-6)
    # What steps.py says of Keras: (3**2 + 1**2) instead of (3 + 1)**2 under the root.
    assert found["Keras"][1] == pytest.approx(-0.1 * (16 / 10) ** 0.5, abs=1e-5)
    assert found["Keras"][2] == pytest.approx(found["dense"][2], abs=1e-6)


def test_rows_only_model_leaves_other_rows_alone():
    import keras
    import steps

    keras.utils.set_random_seed(0)
    model = steps.build("lookup_l2, Adam, by rows", 10)
    for step in range(2):  # at the second step Keras' Adam would still move rows 1 and 2
        before = model.get_layer("P").get_weights()[0]
        users = np.array([1, 1, 2]) if step == 0 else np.array([5, 6, 7])
        model.fit([users, np.array([3, 4, 4])], np.array([5.0, 1.0, 3.0]), batch_size=3, verbose=0)
        moved = np.flatnonzero(np.abs(model.get_layer("P").get_weights()[0] - before).max(axis=1))
        assert moved.tolist() == sorted(set(users.tolist()))
    assert set(steps.VARIANTS) == set(run.VARIANTS)


# --- The stored results ---------------------------------------------------------------------------

STORED = FOLDER / "results.csv"


@pytest.mark.skipif(not STORED.exists(), reason="the benchmark has not been run")
def test_stored_results_are_complete():
    rows = run.read_rows(STORED)
    assert list(rows[0]) == list(run.COLUMNS)
    expected = {(name, str(seed)) for name, model in run.MODELS.items() for seed in model.seeds}
    assert {(row["name"], row["seed"]) for row in rows} >= expected | {(name, "0") for name in peers.NOT_RUN}
    for row in rows:
        assert row["status"] in ("ok", "error", "not run")
        assert (row["status"] == "ok") == bool(row["test_rmse"]) == (not row["error"]), row["name"]
        if row["status"] == "ok":
            assert 0.8 < float(row["test_rmse"]) < 1.2 and float(row["fit_seconds"]) > 0
            assert row["version"] and row["cpu"] and row["date"]


def test_the_columns_are_documented():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    table = text.partition("## Columns")[2].partition("Parameters,")[0]
    assert all(column in table for column in run.COLUMNS)
