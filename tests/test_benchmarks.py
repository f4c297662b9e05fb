"""The benchmark's driver: environments, failures, time limits, columns and the figures it derives."""

import csv
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from benchmarks import __main__ as command_line
from benchmarks import compare, driver, list_peers, lists, ours, peers, scale, table, worker
from course_utils.data import sizes
from course_utils.models import matrix_factorization
from course_utils.ranking import hide_last, mark, ndcg_of_users
from course_utils.training import fit, set_seed
from tools.course import ROOT
from tools.patience import patience

import numpy as np
import pandas as pd
import pytest

FOLDER = ROOT / "benchmarks"


@pytest.fixture
def options(tmp_path):
    return driver.Options(out=tmp_path / "out", envs=tmp_path / "envs", limit=600, quick=True)


@pytest.fixture
def pair():
    """Two ratings as a structured array, the form in which peers get them."""
    return np.array([(1, 1, 3), (1, 2, 2)], dtype=[("user_id", int), ("movie_id", int), ("rating", int)])


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


def test_peers_search_stops_at_the_first_run_that_is_good_enough(pair):
    tried = []

    def make():
        def fit(train, seed, n_epochs, bias):
            tried.append((n_epochs, bias, seed))
            return lambda test: test["rating"] + 2 / n_epochs, 5

        return fit

    result = peers.peer(make, {"bias": True}, "n_epochs", 10, (1, 2, 4, 8))(pair, pair, 7)
    assert tried == [(10, True, 7), (1, True, 7), (2, True, 7), (4, True, 7)]  # 2 / 4 = 0.5 is below 0.90
    assert [round(score, 3) for _, score in result.curve] == [2.0, 1.0, 0.5]


def test_the_clock_stands_while_predictions_are_made(monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(ours, "time", SimpleNamespace(perf_counter=lambda: now.seconds))

    def predict():
        now.seconds += 1000
        return np.array([3.0])

    clock = ours.watch(np.array([3.5]), predict)
    for epoch in range(3):
        now.seconds += 10
        clock.on_epoch_end(epoch)
    now.seconds += 1
    clock.on_train_end()
    now.seconds += 1000  # what comes after the training
    assert clock.curve == [(10, 0.5), (20, 0.5), (30, 0.5)]
    assert clock.fit_seconds == 31


def test_a_network_is_trained_as_fit_does_and_watched_after_every_epoch(ratings):
    train, test = ratings.head(4000), ratings.tail(500)
    n_users, n_movies = ours.all_sizes()

    def build():
        return matrix_factorization(n_users, n_movies, K=4, mu=3.5)

    result = ours.as_course(train, test, 3, build, epochs=3, batch_size=512, learning_rate=0.01)
    set_seed(3)
    expected = build()
    fit(expected, train, 3, 0.01, 512)
    expected = expected.predict(ours.ids(test), verbose=0, batch_size=4096).ravel()
    np.testing.assert_allclose(result.predictions, expected, atol=1e-5)
    assert result.parameters == (n_users + n_movies) * 5
    seconds, scores = zip(*result.curve, strict=True)
    assert 0 < seconds[0] < seconds[1] < seconds[2] <= result.fit_seconds
    assert scores[2] == pytest.approx(worker.clipped_rmse(test["rating"], expected), abs=1e-5)


# --- The search for settings ----------------------------------------------------------------------


@pytest.fixture
def made_up_peer(monkeypatch):
    """A peer whose error is a function of its settings, and which can't be fitted with a=3. Notes its calls."""
    calls = []

    def make():
        def fit(train, seed, a, b):
            calls.append((train["user_id"].tolist(), seed, a, b))
            if a == 3:
                raise ValueError("a is too large")
            return lambda part: part["rating"] + abs(a - 2) + b, 1

        return fit

    monkeypatch.setattr(peers, "MAKERS", {"toy": make})
    monkeypatch.setattr(peers, "GRIDS", {"toy": {"a": [1, 2, 3], "b": [0.5, 0.25]}})
    monkeypatch.setattr(peers, "TUNED", {"toy": {"a": 2, "b": 0.25}})
    return calls


def test_tune_chooses_the_best_on_the_validation_part(made_up_peer, pair, capsys):
    train, validation = pair.copy(), pair.copy()
    train["user_id"] = 7
    train["rating"] = 99  # a score on the training part would be far off
    assert peers.tune("toy", train, validation) == {"a": 2, "b": 0.25}
    assert [call[2:] for call in made_up_peer] == [
        (1, 0.5),
        (1, 0.25),
        (2, 0.5),
        (2, 0.25),
        (3, 0.5),
        (3, 0.25),
    ]
    assert {(*call[0], call[1]) for call in made_up_peer} == {(7, 7, 0)}
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "toy: 1.5000 {'a': 1, 'b': 0.5}" and lines[3] == "toy: 0.2500 {'a': 2, 'b': 0.25}"
    assert lines[4] == "toy: failed {'a': 3, 'b': 0.5}: ValueError: a is too large"
    assert lines[6] == "toy: best {'a': 2, 'b': 0.25}; stored the same"


def test_tune_says_when_another_setting_is_stored(made_up_peer, pair, capsys, monkeypatch):
    monkeypatch.setattr(peers, "TUNED", {"toy": {"a": 1, "b": 0.5}})
    peers.tune("toy", pair, pair)
    assert capsys.readouterr().out.endswith("toy: best {'a': 2, 'b': 0.25}; stored {'a': 1, 'b': 0.5}\n")


def test_tune_without_any_score_says_why(made_up_peer, pair, monkeypatch):
    monkeypatch.setitem(peers.GRIDS["toy"], "a", [3])
    with pytest.raises(RuntimeError, match="No setting of toy has a score.*ValueError: a is too large"):
        peers.tune("toy", pair, pair)


def test_tune_goes_on_when_a_peer_fails(options, monkeypatch, capsys):
    """The driver's side: a tenth of the *training* part is held out, and what fails becomes a line."""
    seen = []

    def execute(command, variables, limit):
        name, folder = command[-2:]
        seen.append([len(part) for part in worker.load_split(folder)])
        if name == "surprise-svd":
            raise driver.Failure("exit code 1: ModuleNotFoundError: No module named 'surprise'")
        return f"{name}: best\n"

    monkeypatch.setattr(driver, "ready", lambda name, options: Path("python"))
    monkeypatch.setattr(driver, "execute", execute)
    compare.tune(dataclasses.replace(options, quick=False))
    assert seen == [[72_000, 8_000]] * 3
    assert capsys.readouterr().out.splitlines() == [
        "surprise-svd: error: exit code 1: ModuleNotFoundError: No module named 'surprise'",
        "lenskit-als: best",
        "cornac-mf: best",
    ]


# --- Processes ------------------------------------------------------------------------------------


def test_threads_and_epochs_are_set_and_nothing_leaks(options, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setenv("BENCH_MAX_EPOCHS", "3")
    variables = driver.environment(dataclasses.replace(options, threads=3, quick=False))
    assert {variables[name] for name in driver.THREAD_VARIABLES} == {"3"}
    assert {"OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"} <= set(driver.THREAD_VARIABLES)
    assert "PYTHONPATH" not in variables and "BENCH_MAX_EPOCHS" not in variables
    assert driver.environment(options)["BENCH_MAX_EPOCHS"] == "1"


@pytest.mark.slow
def test_no_progress_bar_is_measured_or_reported(options):
    code = "from course_utils.training import progress_bar; import sys; progress_bar(); sys.exit(3)"
    with pytest.raises(driver.Failure, match="^exit code 3: no output$"):
        driver.execute([sys.executable, "-c", code], driver.environment(options), limit=600)


@pytest.fixture
def one_core(monkeypatch):
    """Ask for one core; afterwards this process gets all of its own back."""
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs a system that can limit cores, and two of them")
    before = os.sched_getaffinity(0)
    monkeypatch.setenv("BENCH_THREADS", "1")
    yield
    os.sched_setaffinity(0, before)


@pytest.mark.parametrize("kind", ["model", "tune", "scale"])
def test_every_measured_process_is_kept_on_its_cores(one_core, kind, tmp_path, pair, monkeypatch):
    for part in ("train", "test"):
        np.save(tmp_path / f"{part}.npy", pair)
    out, cores = tmp_path / "out.json", []

    def note(*_, **__):
        cores.append(len(os.sched_getaffinity(0)))
        return worker.Result(pair["rating"], 1.0, 1.0)

    monkeypatch.setattr(peers, "MODELS", {"toy": worker.Model(note, "toy", "made up", ("numpy",))})
    monkeypatch.setattr(peers, "tune", note)
    monkeypatch.setattr(scale, "MEASURE", {"toy": lambda: {"cores": note() and cores[-1]}})
    run, arguments = {
        "model": (peers.main, ["toy", str(tmp_path), "0", str(out)]),
        "tune": (peers.main, ["tune", "toy", str(tmp_path)]),
        "scale": (scale.main, ["toy", "{}", str(out)]),
    }[kind]
    monkeypatch.setattr(sys, "argv", ["-c", *arguments])
    run()
    assert cores == [1]
    if kind != "tune":
        assert json.loads(out.read_text())


def test_a_number_of_cores_can_be_asked_for(one_core, monkeypatch):
    monkeypatch.setenv("BENCH_THREADS", "2")
    worker.limit_cores(1)
    assert len(os.sched_getaffinity(0)) == 1


def test_epochs_are_fewer_in_a_quick_run(monkeypatch):
    monkeypatch.delenv("BENCH_MAX_EPOCHS", raising=False)
    assert worker.epochs(20) == 20
    monkeypatch.setenv("BENCH_MAX_EPOCHS", "1")
    assert worker.epochs(20) == 1


@pytest.mark.slow
def test_time_limit_ends_the_process_and_what_it_started(tmp_path):
    mark = tmp_path / "mark"
    child = f"import time; time.sleep(3); open({str(mark)!r}, 'w')"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    start = time.perf_counter()
    with pytest.raises(driver.Failure, match="time limit of 1 s"):
        driver.execute([sys.executable, "-c", parent], dict(os.environ), limit=1)
    assert time.perf_counter() - start < 10
    time.sleep(4)
    assert not mark.exists(), "the grandchild went on"


def test_failure_tells_the_last_error_without_this_machines_paths():
    code = f"raise ValueError('broken in {ROOT.as_posix()}/x')"
    with pytest.raises(driver.Failure) as found:
        driver.execute([sys.executable, "-c", code], dict(os.environ), limit=600)
    assert str(found.value) == "exit code 1: ValueError: broken in ./x"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_peak_memory_is_that_of_the_process_alone():
    held = np.ones(60_000_000)  # 480 MB, which getrusage would charge to a child as well
    code = "from benchmarks import worker; print(worker.peak_megabytes())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert worker.peak_megabytes() > held.nbytes / 1024**2
    assert 5 < float(done.stdout) < 300


# --- Environments ---------------------------------------------------------------------------------


@pytest.fixture
def bare(tmp_path):
    """A Python that has NumPy and nothing else, and the folder of its packages."""
    folder = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = driver.python_of(folder)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(
        subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    )
    installed = Path(np.__file__).parent.parent
    for name in ("numpy", "numpy.libs"):
        if (installed / name).exists():
            shutil.copytree(installed / name, packages / name, ignore=shutil.ignore_patterns("tests"))
    return python, packages


def test_peers_need_nothing_but_numpy(bare, options, monkeypatch):
    monkeypatch.setattr(driver, "ready", lambda name, options: bare[0])
    found = compare.attempt(lambda: compare.run_model("surprise-svd", save_pair(options), 0, options))
    assert found["error"] == "exit code 1: ModuleNotFoundError: No module named 'surprise'"


def test_no_folder_of_the_repository_hides_a_package_of_a_peer(bare, options, monkeypatch):
    """What stands in for the library only says where the names of our folders lead to in its environment."""
    python, packages = bare
    names = sorted(path.name for path in ROOT.iterdir() if path.is_dir() and path.name.isidentifier())
    names.remove("benchmarks")
    # A folder without __init__.py never hides a module of Python itself.
    names = [name for name in names if name not in sys.stdlib_module_names]
    assert {"course_utils", "data", "notebooks", "tests", "tools"} <= set(names)
    for name in names:
        (packages / f"{name}.py").write_text("")
    (packages / "surprise.py").write_text(
        f"import importlib; found = [importlib.import_module(n).__file__ for n in {names}]\n"
        f"ours = [f for f in found if not f.startswith({str(packages)!r})]\n"
        "raise ImportError(f'{len(found)} names, of them ours: {ours}')\n"
    )
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(driver, "ready", lambda name, options: python)
    found = compare.attempt(lambda: compare.run_model("surprise-svd", save_pair(options), 0, options))
    assert found["error"] == f"exit code 1: ImportError: {len(names)} names, of them ours: []"


def save_pair(options):
    """Store a few real ratings where a measured process looks for them; return the folder."""
    options.out.mkdir(parents=True, exist_ok=True)
    return compare.save_split(*compare.split_ratings(compare.load_ratings()), options.out, quick=True)


INSTALLED = driver.Options(out=FOLDER)  # where `make bench` puts the peers' environments


@pytest.mark.parametrize("name", peers.MODELS)
def test_adapter_of_a_peer(name, options):
    """The real library, where `make bench` has installed it: on 4,000 ratings."""
    if not driver.is_ready(peers.MODELS[name].env, INSTALLED):
        pytest.skip("the peers' environments are made by `make bench`")
    installed = dataclasses.replace(options, envs=INSTALLED.envs)
    measured = compare.run_model(name, save_pair(options), 0, installed)
    assert 0.9 < measured["test_rmse"] < 1.3 and measured["parameters"] > 1000
    assert measured["peak_mb"] > 20 and measured["predictions_per_second"] > 0


def test_environment_is_made_once_and_again_when_pins_change(options, monkeypatch):
    commands = []
    monkeypatch.setattr(driver, "execute", lambda command, variables, limit: commands.append(command))
    monkeypatch.setattr(peers, "ENVIRONMENTS", {"toy": ["torch==1", "toy==1"]})
    (options.envs / "toy").mkdir(parents=True)
    options = dataclasses.replace(options, quick=False)
    python = driver.ready("toy", options)
    assert [command[2] for command in commands] == ["venv", "pip", "pip"]
    assert commands[1][-1] == "torch==1" and commands[2][-2:] == ["torch==1", "toy==1"]
    assert str(python) in commands[2] and python.is_relative_to(options.envs / "toy")
    driver.ready("toy", options)
    assert len(commands) == 3
    monkeypatch.setattr(peers, "ENVIRONMENTS", {"toy": ["torch==1", "toy==2"]})
    driver.ready("toy", options)
    assert len(commands) == 6


def test_failed_installation_is_a_failure_and_is_tried_again(options, monkeypatch):
    def refuse(command, variables, limit):
        raise driver.Failure("exit code 1: ERROR: no matching distribution")

    monkeypatch.setattr(driver, "execute", refuse)
    for _ in range(2):
        with pytest.raises(driver.Failure, match="installation failed: exit code 1: ERROR: no matching"):
            driver.ready("surprise", dataclasses.replace(options, quick=False))


def test_every_peer_has_an_environment_with_exact_pins():
    used = {model.env for model in peers.MODELS.values()}
    used |= {model.library.env for model in list_peers.PEERS.values()}
    assert used == set(peers.ENVIRONMENTS)
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
    monkeypatch.setattr(compare, "MODELS", {"fails": toy, "hangs": toy, "works": toy})
    codes = {
        "fails": "raise RuntimeError('made to fail')",
        "hangs": "import time; time.sleep(60)",
        "works": "import sys; open(sys.argv[1], 'w').write('{\"test_rmse\": 0.5, \"seconds_to_090\": null}')",
    }

    def run_model(name, folder, seed, options):
        out = options.out.parent / "measured.json"
        driver.execute(
            [sys.executable, "-c", codes[name], str(out)], driver.environment(options), options.limit
        )
        return json.loads(out.read_text())

    monkeypatch.setattr(compare, "run_model", run_model)


@pytest.mark.slow
def test_failing_and_endless_models_become_rows(options, two_models):
    limit = patience(0.2)
    compare.models(dataclasses.replace(options, limit=limit))
    with open(options.out / "results.csv", encoding="utf-8", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["fails", "hangs", "works", *peers.NOT_RUN]
    assert rows["fails"]["status"] == "error" and rows["fails"]["error"].endswith("RuntimeError: made to fail")
    assert rows["hangs"]["status"] == "error" and rows["hangs"]["error"] == f"time limit of {limit} s exceeded"
    assert rows["works"]["status"] == "ok" and rows["works"]["test_rmse"] == "0.5"
    assert rows["works"]["seconds_to_090"] == "" and int(rows["works"]["cores"]) >= 1
    assert rows["fastai-collab"]["status"] == "not run"


def test_a_part_of_the_run_replaces_only_its_rows(options, two_models):
    compare.models(dataclasses.replace(options, only=("works",), seeds=(0, 1)))
    compare.models(dataclasses.replace(options, only=("fails",)))
    compare.models(dataclasses.replace(options, only=("works",), seeds=(1,)))
    rows = driver.read_rows(options.out / "results.csv")
    assert [(row["name"], row["seed"]) for row in rows] == [("fails", "0"), ("works", "0"), ("works", "1")]


def test_each_row_is_written_at_once(tmp_path):
    table = driver.Table(tmp_path / "t.csv", ("name", "status"), ("name",), lambda row: row["name"])
    table.add({"name": "b", "status": "ok"})
    assert len(driver.read_rows(tmp_path / "t.csv")) == 1
    table.add({"name": "a", "status": "ok"})
    assert [row["name"] for row in driver.read_rows(tmp_path / "t.csv")] == ["a", "b"]
    assert not list(tmp_path.glob("*.part"))


def test_splits_have_mean_and_spread(options, monkeypatch):
    seen = []

    def run_model(name, folder, seed, options):
        seen.append(int(np.load(folder / "test.npy")["user_id"][:50].sum()))
        return {"test_rmse": 0.9 + 0.01 * len(seen), "fit_seconds": 1.0}

    monkeypatch.setattr(compare, "run_model", run_model)
    compare.over("splits", range(1, 4), dataclasses.replace(options, only=("mf-04",)))
    rows = driver.read_rows(options.out / "splits.csv")
    assert [row["split"] for row in rows] == ["1", "2", "3", "mean", "sd"]
    assert [float(row["test_rmse"]) for row in rows] == pytest.approx([0.91, 0.92, 0.93, 0.92, 0.01])
    assert len(set(seen)) == 3, "three different splits"
    compare.over("folds", [1, 2, compare.LAST_TEN], dataclasses.replace(options, only=("mf-04",)))
    rows = driver.read_rows(options.out / "folds.csv")
    assert [row["split"] for row in rows] == ["1", "2", "last ten", "mean", "sd"]
    assert float(rows[3]["test_rmse"]) == pytest.approx(0.945), "the mean of the folds, without the last ten"


def test_last_ten_are_each_users_last(ratings):
    train, test = compare.cut(ratings, "folds", compare.LAST_TEN)
    assert len(train) + len(test) == len(ratings) and (test.groupby("user_id").size() == 10).all()
    latest = train.groupby("user_id")["timestamp"].max()
    assert (test["timestamp"] >= test["user_id"].map(latest)).all()


def test_saved_split_is_the_courses(ratings, tmp_path):
    train, test = compare.split_ratings(ratings)
    compare.save_split(train, test, tmp_path)
    loaded = np.load(tmp_path / "test.npy")
    assert pd.DataFrame(loaded).equals(test.reset_index(drop=True)) and len(loaded) == 20_000


# --- The real thing, small ------------------------------------------------------------------------


@pytest.mark.slow
def test_quick_run_of_our_factorization(options):
    compare.models(dataclasses.replace(options, only=("mf-04", "cornac-mf"), seeds=(0,)))
    ours_row, peer_row = driver.read_rows(options.out / "results.csv")
    assert ours_row["status"] == "ok", ours_row["error"]
    assert 0.9 < float(ours_row["test_rmse"]) < 1.3
    assert ours_row["parameters"] == str((944 + 1683) * 65)
    assert 50 < float(ours_row["peak_mb"]) < 3000 and "keras" in ours_row["version"]
    assert peer_row["status"] == "error" and "not installed" in peer_row["error"]


# --- The stored results ---------------------------------------------------------------------------


def test_stored_results_are_complete():
    rows = driver.read_rows(FOLDER / "results.csv")
    assert list(rows[0]) == list(compare.COLUMNS)
    expected = {(name, str(seed)) for name, model in compare.MODELS.items() for seed in model.seeds}
    assert {(row["name"], row["seed"]) for row in rows} >= expected | {(name, "0") for name in peers.NOT_RUN}


def test_the_columns_are_documented():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    table = text.partition("## Columns")[2].partition("Parameters,")[0]
    assert all(column in table for column in compare.COLUMNS)


# --- Lists ----------------------------------------------------------------------------------------


@pytest.fixture
def last_ten(ratings):
    """Training and hidden ratings, the training part as peers get it, and the size of the tables."""
    train, hidden = hide_last(ratings)
    return train, hidden, np.array(train.to_records(index=False)), sizes(ratings)


def test_lists_are_scored_as_the_course_scores_them(last_ten):
    train, hidden, _, shape = last_ten
    scores = np.random.default_rng(0).random(shape).astype("float32") + 3 * mark(hidden, *shape)
    seen, liked = mark(train, *shape), mark(hidden[hidden["rating"] >= 4], *shape)
    found = lists.score(scores, train, hidden)
    assert found["ndcg_10"] == pytest.approx(ndcg_of_users(scores, seen, liked).mean(), abs=1e-5)
    assert found["recall_10"] == 1, "All ten hidden movies lead these lists."


def test_what_a_library_has_no_score_for_comes_last(last_ten):
    train, hidden, _, shape = last_ten
    scores = np.full(shape, -np.inf, "float32")
    scores[mark(hidden[hidden["rating"] >= 4], *shape)] = 0
    assert lists.score(scores, train, hidden) == {"ndcg_10": 1, "recall_10": 1}
    with pytest.raises(ValueError, match="NaN"):
        lists.score(np.where(scores == 0, np.nan, scores), train, hidden)


def test_a_film_with_few_stars_counts_less():
    train = np.array([(1, 1, 3), (1, 2, 4)], dtype=[("user_id", int), ("movie_id", int), ("rating", int)])
    assert list_peers.table_of(train, (2, 4), 0.25).tolist() == [[0, 0, 0, 0], [0, 0.25, 1, 0]]


@pytest.mark.slow
def test_our_lists_are_those_of_the_notebooks(last_ten):
    train, hidden, table, shape = last_ten
    for name, settings, expected in (
        ("popular", {}, 0.085),
        ("item-knn", {}, 0.143),
        ("ease", {"l2": 400}, 0.152),
        ("ease-stars", {"l2": 400, "low": 0.25}, 0.163),
        ("ease-recency", {"l2": 400, "age": 5}, 0.184),
    ):
        scores = lists.LISTERS[name].make()(table, shape, 0, **settings)()
        assert lists.score(scores, train, hidden)["ndcg_10"] == pytest.approx(expected, abs=0.001), name


def test_recency_counts_from_the_latest_film(last_ten, monkeypatch):
    train, _, table, shape = last_ten
    monkeypatch.setattr("course_utils.ranking.ease", lambda X, l2: np.eye(X.shape[1]))
    age = train.groupby("user_id").cumcount(ascending=False)
    expected = np.zeros(shape)
    expected[train["user_id"], train["movie_id"]] = 0.1 + 0.9 * np.exp(-age / 5)
    np.testing.assert_allclose(lists.our_ease(table, shape, 0, l2=400, age=5)(), expected, atol=1e-6)


@pytest.fixture
def toy_lists(monkeypatch):
    """Three made-up list makers: one depends on its setting, one can't be imported, one hangs at the second."""
    seen = []

    def make():
        def fit(train, shape, seed, a):
            seen.append((len(train), len(np.unique(train["user_id"])), seed, a))
            if a == 3:
                raise ValueError("a is too large")
            count = list_peers.table_of(train, shape).sum(axis=0)
            return lambda: np.tile(
                count if a == 2 else np.full(shape[1], np.nan if a == 4 else 0.0), (shape[0], 1)
            )

        return fit

    def broken():
        raise ModuleNotFoundError("No module named 'toy'")

    def execute(command, variables, limit):
        """Be the measured process; the model that hangs is ended in its second fit."""
        monkeypatch.setattr(sys, "argv", ["-c", *command[-2:]])
        try:
            lists.main()
        except (ModuleNotFoundError, KeyboardInterrupt) as problem:
            raise driver.Failure(f"exit code 1: {type(problem).__name__}: {problem}") from problem

    def hanging():
        done = []

        def fit(train, shape, seed, a):
            done.append(a)
            if len(done) > 1:
                raise KeyboardInterrupt("time limit")
            return lambda: np.zeros(shape)

        return fit

    toy = list_peers.Library("toy", ("numpy",))
    listers = {
        "broken": list_peers.Lister(toy, broken, "made up", {"a": [1]}),
        "works": list_peers.Lister(toy, make, "made up", {"a": [4, 1, 2, 3]}, seeds=(0, 1)),
        "hangs": list_peers.Lister(toy, hanging, "made up", {"a": [1, 2]}),
    }
    monkeypatch.setattr(lists, "LISTERS", listers)
    monkeypatch.setattr(worker, "limit_cores", lambda: None)
    monkeypatch.setattr(driver, "execute", execute)
    return seen


def test_lists_are_tuned_before_the_last_ten_and_failures_become_rows(options, toy_lists, ratings, capsys):
    lists.lists(dataclasses.replace(options, quick=False))
    rows = driver.read_rows(options.out / "lists.csv")
    assert [(row["name"], row["seed"], row["status"]) for row in rows] == [
        ("broken", "0", "error"),
        ("works", "0", "ok"),
        ("works", "1", "ok"),
        ("hangs", "0", "ok"),
    ]
    assert rows[0]["error"] == "exit code 1: ModuleNotFoundError: No module named 'toy'"
    assert json.loads(rows[1]["chosen"]) == {"a": 2} and rows[1]["tuned_over"] == "2 of 4"
    assert json.loads(rows[3]["chosen"]) == {"a": 1} and rows[3]["tuned_over"] == "1 of 2"
    long = ratings.groupby("user_id").size()
    long = long[long > 20]
    tuning, final = (long.sum() - 20 * len(long), len(long)), (len(ratings) - 10 * 943, 943)
    assert toy_lists == [(*tuning, 0, a) for a in (4, 1, 2, 3)] + [(*final, 0, 2), (*final, 1, 2)]
    assert "works: ValueError: a is too large {'a': 3}" in capsys.readouterr().out


def test_some_lists_replace_only_their_rows(options, toy_lists):
    for name, seeds in (("works", (0, 1)), ("hangs", (0,)), ("works", (2,))):
        lists.lists(dataclasses.replace(options, only=(name,), seeds=seeds))
    rows = driver.read_rows(options.out / "lists.csv")
    assert [(row["name"], row["seed"]) for row in rows] == [("works", "2"), ("hangs", "0")]


@pytest.mark.slow
def test_quick_run_of_the_two_towers(options):
    lists.lists(dataclasses.replace(options, only=("towers-stars",)))
    (row,) = driver.read_rows(options.out / "lists.csv")
    assert row["status"] == "ok", row["error"]
    assert 0 < float(row["ndcg_10"]) < 0.3 and "keras" in row["version"] and 50 < float(row["peak_mb"]) < 3000


@pytest.mark.parametrize("name", list_peers.PEERS)
def test_lists_of_a_peer(name, options):
    """The real library, where `make bench` has installed it: 100 users, two settings, one epoch."""
    if not driver.is_ready(list_peers.PEERS[name].library.env, INSTALLED):
        pytest.skip("the peers' environments are made by `make bench`")
    lists.lists(dataclasses.replace(options, envs=INSTALLED.envs, only=(name,)))
    (row,) = driver.read_rows(options.out / "lists.csv")
    assert row["status"] == "ok", row["error"]
    assert 0 < float(row["ndcg_10"]) < 0.3


def test_all_libraries_have_as_many_settings():
    assert {len(lists.points(lister.grid)) for lister in lists.LISTERS.values()} == {1, 8}


def test_stored_lists_are_complete_and_chosen_from_their_grids():
    rows = driver.read_rows(FOLDER / "lists.csv")
    found = {}
    for row in rows:
        found.setdefault(row["name"], []).append(row["seed"])
        lister = lists.LISTERS[row["name"]]
        assert (row["family"], row["knows"]) == (lister.library.family, lister.knows)
        if row["status"] == "ok":
            assert json.loads(row["chosen"]) in lists.points(lister.grid), row
        else:
            assert row["error"], row
    assert list(found) == list(lists.LISTERS)
    for name, seeds in found.items():
        assert seeds in ([str(seed) for seed in lists.LISTERS[name].seeds], ["0"])


def test_readme_shows_the_stored_lists():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    shown = text.partition("<!-- lists -->")[2].partition("<!-- end of lists -->")[0].strip()
    assert shown == table.lists_table(), "Run `python -m benchmarks table` and put its table between the marks."
    section = text.partition("## Lists")[2].partition("<!-- lists -->")[0]
    columns = (FOLDER / "lists.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    assert all(f"`{column}`" in section for column in columns if column not in driver.MACHINE)


# --- The command ----------------------------------------------------------------------------------


@pytest.fixture
def called(monkeypatch):
    """Note which parts the command line starts, and with which options, instead of measuring for hours."""
    calls = []
    monkeypatch.setattr(compare, "models", lambda options: calls.append(("models", options)))
    monkeypatch.setattr(
        compare, "over", lambda kind, parts, options: calls.append((kind, list(parts), options))
    )
    monkeypatch.setattr(compare, "tune", lambda options: calls.append(("tune", options)))
    monkeypatch.setattr(lists, "lists", lambda options: calls.append(("lists", options)))
    monkeypatch.setattr(scale, "scale", lambda parts, options: calls.append(("scale", parts, options)))
    return calls


def test_all_runs_everything_and_prints_the_tables(called, capsys):
    command_line.main(["all", "--limit", "9"])
    assert [call[0] for call in called] == ["models", "splits", "folds", "lists", "scale"]
    assert called[1][1] == list(range(1, 11)) and called[2][1] == [1, 2, 3, 4, 5, compare.LAST_TEN]
    assert called[4][1] == list(scale.MEASURE)
    assert {(call[-1].out, call[-1].limit, call[-1].quick) for call in called} == {(FOLDER, 9, False)}
    printed = capsys.readouterr().out
    assert all(f"| {column} |" in printed for column in ("test RMSE", "u1", "NDCG@10", "measured"))


def test_a_quick_run_leaves_the_stored_results_alone(called):
    command_line.main(["models", "--only", "mf-04", "--quick", "--seeds", "3", "4"])
    command_line.main(["scale", "stream", "steps", "--quick"])
    (_, models), (_, parts, measured) = called
    assert models.only == ("mf-04",) and models.seeds == (3, 4) and models.limit == 1200
    assert parts == ["stream", "steps"] and measured.limit == 1800
    assert models.quick and measured.quick and FOLDER not in (models.out, measured.out)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required: command"),
        (["models", "--only", "mf"], "invalid choice: 'mf'"),
        (["tune", "--only", "mf-04"], "invalid choice: 'mf-04'"),
        (["lists", "--only", "mf-04"], "invalid choice: 'mf-04'"),
        (["scale", "step"], "There is no part 'step'. The parts are stream, steps"),
    ],
)
def test_a_wrong_command_is_explained(called, arguments, said, capsys):
    with pytest.raises(SystemExit):
        command_line.main(arguments)
    assert said in capsys.readouterr().err and not called


def test_tables_of_an_empty_folder_say_what_to_do(tmp_path, capsys):
    command_line.main(["table", "--out", str(tmp_path)])
    assert "run `python -m benchmarks all` first" in capsys.readouterr().out


def test_the_command_itself_runs():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "table"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert "| matrix factorization of notebook 04, 20 epochs | ours | ratings | 0.8967" in done.stdout
