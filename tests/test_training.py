"""Seeds, the progress bar, fit, training logs, and a silent import."""

import inspect
import logging
import subprocess
import sys

from course_utils.models import matrix_factorization
from course_utils.training import STEPS_AT_ONCE, fit, progress_bar, set_seed, training_log
from tools.course import NOTEBOOKS
from tools.patience import patience

import keras
import nbformat
import numpy as np
import pandas as pd
import pytest

BACKEND = keras.backend.backend()
on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason=f"about TensorFlow; Keras is on {BACKEND}")

INPUTS = [np.arange(64)[:, None] % 7, np.arange(64)[:, None] % 5]
TARGET = np.arange(64)[:, None] % 4 + 1.0


def train(seed, **options):
    set_seed(seed)
    model = matrix_factorization(7, 5, 3)
    model.compile(optimizer="adam", loss="mse", metrics=[keras.metrics.RootMeanSquaredError(name="rmse")])
    return model, model.fit(INPUTS, TARGET, batch_size=16, epochs=3, verbose=0, **options)


def test_same_seed_same_weights():
    first, second, other = train(1)[0], train(1)[0], train(2)[0]
    assert all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])


def test_seed_covers_numpy_and_python():
    import random

    set_seed(3)
    drawn = random.random(), np.random.rand()
    set_seed(3)
    assert drawn == (random.random(), np.random.rand())


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_bad_seed(seed):
    with pytest.raises(ValueError, match=str(seed)):
        set_seed(seed)


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_the_ends_of_the_range_are_seeds(seed):
    set_seed(seed)


@on_tensorflow
def test_a_seed_keeps_hints_out_of_the_notebook():
    import tensorflow as tf

    tf.get_logger().setLevel("INFO")
    set_seed(1)
    assert tf.get_logger().level == logging.ERROR


@on_tensorflow
def test_a_seed_makes_operations_deterministic():
    """Once they are, TensorFlow refuses to draw without a seed: a way to ask in public whether they are."""
    result = run(
        "import course_utils, tensorflow as tf\n"
        "from course_utils.training import set_seed\n"
        "tf.random.uniform([1])\n"
        "set_seed(0)\n"
        "tf.random.set_seed(None)\n"
        "try:\n    tf.random.uniform([1])\n"
        "except RuntimeError as error:\n    print('determinism' in str(error))"
    )
    assert result.stdout.strip() == "True", result.stderr


def test_the_log_counts_epochs_from_one():
    _, history = train(1, validation_split=0.25)
    table = training_log(history)
    assert list(table.index) == [1, 2, 3] and table.index.name == "epoch"
    assert {"loss", "rmse", "val_loss", "val_rmse"} <= set(table.columns)
    assert table["rmse"].to_list() == history.history["rmse"]


def test_an_empty_log_is_refused():
    with pytest.raises(ValueError, match="epochs=0"):
        training_log(keras.callbacks.History())


def test_progress_bar_shows_epochs(capsys):
    train(1, callbacks=[progress_bar()])
    shown = capsys.readouterr().err
    assert "3/3" in shown and "loss=" in shown
    assert "batch" not in shown, "one bar, a step an epoch: none for the batches"


# --- fit ------------------------------------------------------------------------------------------

TABLE = pd.DataFrame({"user_id": INPUTS[0][:, 0], "movie_id": INPUTS[1][:, 0], "rating": TARGET[:, 0]})


class Batches(keras.utils.PyDataset):
    """Four batches of 16, for which fit has nothing to count or cut. Notes which were asked for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def __len__(self):
        return 4

    def __getitem__(self, number):
        self.asked.append(number)
        rows = slice(16 * number, 16 * number + 16)
        return (INPUTS[0][rows], INPUTS[1][rows]), TARGET[rows]


class Rates(keras.callbacks.Callback):
    """Notes the learning rate and the number of steps after each epoch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        optimizer = self.model.optimizer
        self.seen.append((int(optimizer.iterations), float(optimizer.learning_rate)))


def tf_data():
    """A tf.data.Dataset, which Keras takes on every backend, where TensorFlow is installed."""
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((tuple(INPUTS), TARGET)).batch(16)


FORMS = {
    "table": lambda: TABLE,
    "pair": lambda: (INPUTS, TARGET),
    "PyDataset": lambda: Batches(),
    "tf.data": lambda: tf_data(),
}


def fitted(data, seed=5, **options):
    set_seed(seed)
    model = matrix_factorization(7, 5, 3)
    return model, fit(model, data, **{"epochs": 2, "learning_rate": 0.05, "batch_size": 16} | options)


def same_weights(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


def fit_of_notebook_04():
    """Return the function that notebook 04 builds in the open."""
    notebook = nbformat.read(NOTEBOOKS / "04_matrix_factorization.ipynb", as_version=4)
    cells = [cell.source for cell in notebook.cells if "def fit(" in cell.source and cell.cell_type == "code"]
    assert len(cells) == 1
    names = {"np": np, "keras": keras, "progress_bar": progress_bar, "training_log": training_log}
    names["STEPS_AT_ONCE"] = STEPS_AT_ONCE
    exec(cells[0], names)
    return names["fit"]


def test_fit_is_what_notebook_04_builds():
    """The last digit of every weight and of every number in the log, on ratings that fill no last batch."""
    part, rest = TABLE.iloc[:50], ([TABLE["user_id"][50:], TABLE["movie_id"][50:]], TABLE["rating"][50:])
    models, logs = [], []
    for one in (fit, fit_of_notebook_04()):
        set_seed(5)
        models.append(matrix_factorization(7, 5, 3, lookup_l2=0.01))
        logs.append(one(models[-1], part, epochs=3, learning_rate=0.05, batch_size=16, validation_data=rest))
    assert same_weights(*models)
    assert logs[0].equals(logs[1]) and list(logs[0]) == ["loss", "rmse", "val_loss", "val_rmse"]
    assert models[0].steps_per_execution == models[1].steps_per_execution


def test_fit_has_the_defaults_of_notebook_04():
    here, there = (inspect.signature(one).parameters for one in (fit, fit_of_notebook_04()))
    assert {name: here[name].default for name in there} == {name: one.default for name, one in there.items()}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("last_rate", [0.0, 0.2])
def test_the_rate_falls_along_half_a_cosine(form, last_rate):
    rates = Rates()
    fitted(FORMS[form](), last_rate=last_rate, callbacks=[rates])
    middle = 0.05 * (last_rate + 1) / 2
    assert [steps for steps, _ in rates.seen] == [4, 8]
    assert [rate for _, rate in rates.seen] == pytest.approx([middle, 0.05 * last_rate], abs=1e-8)


def test_a_table_is_its_columns():
    table, pair, other = fitted(TABLE), fitted((INPUTS, TARGET)), fitted((INPUTS, TARGET), seed=6)
    assert same_weights(table[0], pair[0]) and table[1].equals(pair[1])
    assert not same_weights(table[0], other[0])


def test_a_data_set_is_trained_batch_by_batch():
    """Unshuffled, a data set gives what plain steps on its batches give."""
    model, log = fitted(FORMS["tf.data"]())
    set_seed(5)
    plain = matrix_factorization(7, 5, 3)
    plain.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.05, 8)), loss="mse")
    for number in 2 * [0, 1, 2, 3]:
        plain.train_on_batch(*Batches()[number])
    pairs = zip(model.get_weights(), plain.get_weights(), strict=True)
    assert all(np.allclose(a, b, atol=1e-6) for a, b in pairs)
    assert list(log.index) == [1, 2] and np.isfinite(log).all(axis=None)


def test_batches_come_in_a_new_order_every_epoch():
    data = Batches()
    fitted(data, epochs=5)
    epochs = {tuple(data.asked[first : first + 4]) for first in range(len(data.asked) - 20, len(data.asked), 4)}
    assert len(epochs) > 1 and {tuple(sorted(epoch)) for epoch in epochs} == {(0, 1, 2, 3)}


@pytest.mark.filterwarnings("error:.*shuffle")
def test_a_data_set_of_tensorflow_keeps_its_order_without_a_warning():
    fitted(FORMS["tf.data"]())


@pytest.mark.parametrize("form", ["table", "pair"])
def test_validation_data_are_scored_after_every_epoch(form):
    model, log = fitted(
        TABLE[:48], validation_data={"table": TABLE[48:], "pair": ([i[48:] for i in INPUTS], TARGET[48:])}[form]
    )
    predicted = model.predict([i[48:] for i in INPUTS], verbose=0)
    assert log["val_rmse"].iloc[-1] == pytest.approx(np.sqrt(np.mean((predicted - TARGET[48:]) ** 2)), rel=1e-5)
    other = fitted(Batches(), validation_data=TABLE[48:])[1]
    assert list(other) == list(log) and len(other) == 2


def test_another_loss_is_recorded_alone():
    model, log = fitted(TABLE, loss="mae")
    assert list(log) == ["loss"] and model.loss == "mae"
    log = fitted(TABLE)[1]
    assert list(log) == ["loss", "rmse"]
    assert log["rmse"].to_list() == pytest.approx(np.sqrt(log["loss"]).to_list(), rel=1e-5)


def test_another_optimizer_gets_the_schedule():
    model, _ = fitted(TABLE, optimizer=keras.optimizers.SGD)
    assert isinstance(model.optimizer, keras.optimizers.SGD) and float(model.optimizer.learning_rate) == 0


def test_fit_shows_one_bar_beside_other_callbacks(capsys):
    rates = Rates()
    fitted(TABLE, callbacks=[rates], epochs=3)
    shown = capsys.readouterr()
    assert len(rates.seen) == 3 and "3/3" in shown.err and shown.out == ""


def test_a_table_without_a_column_is_refused():
    with pytest.raises(ValueError, match="no column 'rating'. It has: user_id, movie_id, stars"):
        fitted(TABLE.rename(columns={"rating": "stars"}))
    with pytest.raises(ValueError, match="no column 'movie_id'"):
        fitted(TABLE, validation_data=TABLE[["user_id", "rating"]])
    with pytest.raises(ValueError, match="no column 'user_id'"):
        fitted(TABLE[["movie_id", "rating"]])


# --- Silence --------------------------------------------------------------------------------------


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=patience(10))


def test_tensorflow_starts_in_silence():
    result = run(
        "import course_utils, keras, tensorflow as tf\n"
        "from course_utils.training import set_seed\n"
        "set_seed(0)\n"
        "m = keras.Sequential([keras.layers.Dense(2)]); m.compile(loss='mse')\n"
        "m.fit(tf.ones((8, 3)), tf.ones((8, 2)), verbose=0)"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout + result.stderr == ""


def test_importing_the_package_leaves_tensorflow_alone():
    result = run(
        "import sys, course_utils, course_utils.data, course_utils.metrics, course_utils.plots\n"
        "assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    assert result.returncode == 0, result.stderr


def test_a_users_own_setting_wins():
    result = run(
        "import os; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '0'\n"
        "import course_utils; assert os.environ['TF_CPP_MIN_LOG_LEVEL'] == '0'"
    )
    assert result.returncode == 0, result.stderr
