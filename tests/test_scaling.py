"""Updates by rows, checkpoints, real processes that train together, Spark and faiss."""

import subprocess
import sys
import time
from types import SimpleNamespace

from course_utils.data import split_ratings
from course_utils.large import engines, scaling, streaming
from course_utils.metrics import rmse
from course_utils.models import matrix_factorization
from course_utils.training import set_seed
from tools.patience import patience

import keras
import numpy as np
import pytest
import tensorflow as tf

EVERY = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory, ratings):
    """The course's training set as Parquet files: 78 batches of 1,024."""
    path = tmp_path_factory.mktemp("scaling") / "ratings"
    streaming.write_ratings([split_ratings(ratings)[0]], path, files=2, test_share=0)
    return path


def new_training(folder, rows, seed=0):
    set_seed(seed)
    about = streaming.about_ratings(folder)
    model = matrix_factorization(about["n_users"], about["n_items"], 8, lookup_l2=0.12, mu=about["mean"])
    if rows:
        return scaling.by_rows(model), scaling.RowAdam(0.005)
    return model, keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.005, 78))


def weights_equal(one, other, **tolerance):
    return all(np.allclose(a, b, **tolerance) for a, b in zip(one, other, strict=True))


# --- One process ----------------------------------------------------------------------------------


def test_by_rows_is_the_same_network(folder):
    model, _ = new_training(folder, rows=False)
    copy = scaling.by_rows(model)
    assert [type(layer).__name__ for layer in copy.layers].count("RowEmbedding") == 4
    assert copy.count_params() == model.count_params()
    copy.set_weights(model.get_weights())
    pairs = [np.array([[1], [2]]), np.array([[3], [4]])]
    np.testing.assert_array_equal(copy.predict(pairs, verbose=0), model.predict(pairs, verbose=0))
    copy(pairs)
    assert len(copy.losses) == 2  # the penalties per look-up came along


def test_the_written_out_step_is_that_of_fit(folder):
    by_hand, optimizer = new_training(folder, rows=False)
    list(scaling.train(by_hand, optimizer, folder, batch_size=8192, seed=3))
    by_fit, optimizer = new_training(folder, rows=False)
    by_fit.compile(optimizer=optimizer, loss="mse")
    by_fit.fit(streaming.rating_dataset(folder, 8192, seed=3), verbose=0, shuffle=False)
    assert weights_equal(by_hand.get_weights(), by_fit.get_weights(), atol=1e-5)
    untrained, _ = new_training(folder, rows=False)
    assert not weights_equal(by_hand.get_weights(), untrained.get_weights(), atol=1e-3)


@pytest.mark.parametrize("rows", [False, True], ids=["Adam", "RowAdam"])
def test_an_interrupted_training_ends_like_an_uninterrupted_one(folder, tmp_path, rows):
    model, optimizer = new_training(folder, rows)
    whole = dict(scaling.train(model, optimizer, folder, batch_size=1024))
    assert list(whole) == list(range(1, 79))

    first, optimizer = new_training(folder, rows)
    saved = scaling.Checkpoints(first, optimizer, tmp_path, EVERY)
    for step, _ in scaling.train(first, optimizer, folder, batch_size=1024, checkpoints=saved):
        if step == 2 * EVERY + 7:  # between two checkpoints
            break
    # Another seed: every number has to come from the checkpoint.
    second, optimizer = new_training(folder, rows, seed=5)
    saved = scaling.Checkpoints(second, optimizer, tmp_path, EVERY)
    rest = dict(scaling.train(second, optimizer, folder, batch_size=1024, checkpoints=saved))
    assert list(rest) == list(range(2 * EVERY + 1, 79))
    assert rest[78] == whole[78]
    assert weights_equal(model.get_weights(), second.get_weights(), rtol=0, atol=0)


def test_two_checkpoints_are_kept(folder, tmp_path):
    """One process may still read the older one while another replaces it by a newer."""
    model, optimizer = new_training(folder, rows=False)
    saved = scaling.Checkpoints(model, optimizer, tmp_path, EVERY)
    for step in range(1, 4 * EVERY):
        saved.after(step)
    assert sorted(path.stem for path in tmp_path.glob("*.index")) == ["ckpt-40", "ckpt-60"]


# --- Updates by rows ------------------------------------------------------------------------------


def test_rows_only_optimizer_does_what_dense_adam_does_to_the_rows_of_the_batch():
    # Row 1 is looked up twice, row 2 once, rows 0 and 3 not at all; three steps, each with another gradient.
    steps = [[[3.0], [1.0], [2.0]], [[-1.0], [0.5], [4.0]], [[0.1], [0.2], [-3.0]]]
    found = {}
    for name, kind, dense in (
        ("rows", scaling.RowAdam, False),
        ("RowAdam, dense gradient", scaling.RowAdam, True),
        ("dense", keras.optimizers.Adam, True),
    ):
        variable, optimizer = keras.Variable(np.ones((4, 1), "float32")), kind(0.1)
        optimizer.build([variable])
        for values in steps:
            gradient = tf.IndexedSlices(tf.constant(values), tf.constant([1, 1, 2]), tf.constant([4, 1]))
            optimizer.apply([tf.convert_to_tensor(gradient) if dense else gradient], [variable])
        found[name] = keras.ops.convert_to_numpy(variable).ravel()
    np.testing.assert_allclose(found["rows"], found["dense"], atol=1e-6)
    np.testing.assert_array_equal(found["RowAdam, dense gradient"], found["dense"])
    assert found["rows"][0] == found["rows"][3] == 1
    assert np.all(found["rows"][1:3] != 1)


def test_rows_only_model_leaves_other_rows_alone():
    set_seed(0)
    model = scaling.by_rows(matrix_factorization(10, 10, K=4, mu=3.5, lookup_l2=0.12))
    model.compile(optimizer=scaling.RowAdam(0.001), loss="mse")
    for step in range(2):  # at the second step Keras' Adam would still move rows 1 and 2
        before = model.get_layer("P").get_weights()[0]
        users = np.array([1, 1, 2]) if step == 0 else np.array([5, 6, 7])
        model.fit([users, np.array([3, 4, 4])], np.array([5.0, 1.0, 3.0]), batch_size=3, verbose=0)
        moved = np.flatnonzero(np.abs(model.get_layer("P").get_weights()[0] - before).max(axis=1))
        assert moved.tolist() == sorted(set(users.tolist()))


# --- Several processes ----------------------------------------------------------------------------


@pytest.mark.slow
def test_two_workers_do_what_one_does_even_if_one_is_killed(folder, tmp_path):
    alone, together = tmp_path / "one", tmp_path / "two"
    options = {"batch_size": 1024, "epochs": 2, "K": 16, "every": EVERY}
    one = scaling.run_workers(1, folder, alone, **options)[0]

    processes = scaling.start_workers(2, folder, together, **options)
    try:
        end = time.monotonic() + patience(10)
        while len(scaling.read_log(together)) < 30 and time.monotonic() < end:
            time.sleep(0.01)
        processes[1].kill()
        with pytest.raises(scaling.WorkerFailed, match="Worker 1 of 2 ended with exit code"):
            scaling.wait_for_workers(processes, together)
    finally:
        assert all(process.poll() is not None for process in processes)
    reached = scaling.read_log(together)[-1]["step"]
    assert 30 <= reached < 156, "the worker was killed too late to test anything"

    two = scaling.run_workers(2, folder, together, **options)
    assert [result["worker"] for result in two] == [0, 1]
    for result in two:
        assert result["started_at"] % EVERY == 0 and 0 <= reached - result["started_at"] <= EVERY
        assert result["steps"] == one["steps"] == 156
        assert result["loss"] == pytest.approx(one["loss"], rel=1e-5)
    steps = [line["step"] for line in scaling.read_log(together)]
    assert steps == [*range(1, reached + 1), *range(two[0]["started_at"] + 1, 157)]
    weights = [
        list(np.load(path / f"weights-{number}.npz").values())
        for path, number in ((alone, 0), (together, 0), (together, 1))
    ]
    assert weights_equal(weights[1], weights[2], rtol=0, atol=0), "the workers should agree to the last bit"
    assert weights_equal(weights[0], weights[1], atol=1e-4)
    with pytest.raises(scaling.WorkerFailed, match="All steps were done before"):
        scaling.run_workers(1, folder, alone, **options | {"epochs": 1})


@pytest.mark.slow
def test_a_worker_that_fails_says_why_and_leaves_no_result_of_an_older_run(tmp_path):
    result = tmp_path / "out" / "worker-0.json"
    result.parent.mkdir()
    result.write_text('{"steps": 99}')
    processes = scaling.start_workers(1, tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(scaling.WorkerFailed, match="Worker 0 of 1 ended with exit code 1.*no about.json"):
        scaling.wait_for_workers(processes, tmp_path / "out")
    assert not result.exists()


@pytest.mark.parametrize(("codes", "blamed"), [((1, -9), 1), ((-9, 1), 0), ((1, 0), 0), ((0, 1), 1)])
def test_the_worker_that_was_killed_is_blamed_and_not_its_victims(tmp_path, codes, blamed):
    # A worker whose partner is gone ends with an error too, perhaps before anyone looks.
    processes = []
    for number, code in enumerate(codes):
        (tmp_path / f"worker-{number}.txt").write_text(f"I am {number}\n")
        processes.append(SimpleNamespace(poll=lambda code=code: code, wait=lambda: None))
    message = f"^Worker {blamed} of 2 ended with exit code {codes[blamed]}. It said last: I am {blamed}$"
    with pytest.raises(scaling.WorkerFailed, match=message):
        scaling.wait_for_workers(processes, tmp_path)


def test_workers_that_take_too_long_are_ended(tmp_path):
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(scaling.WorkerFailed, match="not done after 0.2 s"):
        scaling.wait_for_workers([sleeper], tmp_path, limit=0.2)
    assert sleeper.poll() is not None


@pytest.mark.parametrize(("n", "batch_size"), [(0, 1024), (2, 1023)])
def test_shares_that_are_not_equal_are_refused(tmp_path, n, batch_size):
    with pytest.raises(ValueError, match="batch_size that n divides"):
        scaling.start_workers(n, tmp_path, tmp_path / "out", batch_size=batch_size)
    assert not (tmp_path / "out").exists()


# --- Engines --------------------------------------------------------------------------------------


def missing(name):
    """Why an engine can't run here, or None."""
    try:
        engines.check_engine(name)
    except engines.EngineMissing as reason:
        return str(reason)


def test_engines_load_neither_tensorflow_nor_scikit_learn():
    code = (
        "import sys, course_utils.large.engines; sys.exit(bool({'tensorflow', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_or_old_java_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert engines.java_version() is None
    with pytest.raises(engines.EngineMissing, match="needs Java 17 or newer, but found none. Install a JDK 17"):
        engines.run_engine("als", {})
    monkeypatch.setattr(engines, "java_version", lambda: 8)
    with pytest.raises(engines.EngineMissing, match="but found Java 8"):
        engines.check_engine("als")


@pytest.mark.parametrize(
    ("said", "version"),
    [('openjdk version "17.0.15" 2025-04-15', 17), ('java version "1.8.0_401"', 8), ("no runtime", None)],
)
def test_java_versions_are_read(monkeypatch, said, version):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(engines.shutil, "which", lambda *_, **__: "java")
    answer = subprocess.CompletedProcess([], 0, stdout="", stderr=said)
    monkeypatch.setattr(engines.subprocess, "run", lambda *_, **__: answer)
    assert engines.java_version() == version


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(engines.EngineMissing, match="pyspark is not installed. Run `make tools`"):
        engines.check_engine("als")
    with pytest.raises(engines.EngineMissing, match="faiss is not installed"):
        engines.check_engine("neighbors")


@pytest.mark.slow
@pytest.mark.skipif(missing("als") is not None, reason=f"Spark can't run: {missing('als')}")
def test_spark_als_on_the_split_of_the_course(tmp_path, ratings):
    train, test = split_ratings(ratings)
    files = {name: str(tmp_path / f"{name}.parquet") for name in ("train", "test")}
    train.rename(columns={"rating": "target"}).to_parquet(files["train"])
    test.assign(row=range(len(test))).to_parquet(files["test"])
    result = engines.run_engine("als", {**files, "iterations": 5})
    assert result["n_train"] == 80_000 and len(result["predictions"]) == 20_000
    known = test["user_id"].isin(train["user_id"]) & test["movie_id"].isin(train["movie_id"])
    assert [p is not None for p in result["predictions"]] == known.tolist()
    predicted = [train["rating"].mean() if p is None else p for p in result["predictions"]]
    assert 0.90 < rmse(test["rating"], np.clip(predicted, 1, 5)) < 0.93


@pytest.mark.skipif(missing("neighbors") is not None, reason=f"faiss can't run: {missing('neighbors')}")
def test_more_lists_find_more_neighbors_and_all_lists_find_all():
    settings = {"n_items": 20_000, "lists": 64, "probes": [1, 8, 64], "queries": 100}
    result = engines.run_engine("neighbors", settings)
    recalls = [one["recall"] for one in result["approximate"]]
    assert recalls[0] < recalls[1] < recalls[2]
    assert 0.1 < recalls[0] < 0.8 and recalls[2] > 0.995  # faiss rounds differently in both searches


def test_the_nearest_point_is_the_best_product():
    Q, P = engines.item_vectors(500, 8)
    points = engines.same_length(Q)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), np.linalg.norm(points[0]), rtol=1e-5)
    for user in P[:20]:
        distance = np.linalg.norm(points - np.append(user, 0), axis=1)
        assert np.array_equal(np.argsort(distance)[:5], np.argsort(-(Q @ user))[:5])


def test_an_engine_that_fails_or_hangs_is_reported(monkeypatch):
    monkeypatch.setattr(engines, "check_engine", lambda name: None)
    with pytest.raises(engines.EngineFailed, match="exit code 1.*unexpected keyword argument 'x'"):
        engines.run_engine("neighbors", {"x": 1})
    with pytest.raises(engines.EngineFailed, match="not done after 0.01 s"):
        engines.run_engine("neighbors", {"n_items": 10}, limit=0.01)
