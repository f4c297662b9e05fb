"""Seeds, the progress bar, history tables, and a silent import."""

import subprocess
import sys

from course_utils.models import matrix_factorization
from course_utils.training import progress_bar, set_seed, training_log

import keras
import numpy as np
import pytest

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


def test_history_counts_epochs_from_one():
    _, history = train(1, validation_split=0.25)
    table = training_log(history)
    assert list(table.index) == [1, 2, 3] and table.index.name == "epoch"
    assert {"loss", "rmse", "val_loss", "val_rmse"} <= set(table.columns)
    assert table["rmse"].to_list() == history.history["rmse"]


def test_empty_history_is_refused():
    with pytest.raises(ValueError, match="epochs=0"):
        training_log(keras.callbacks.History())


def test_progress_bar_shows_epochs(capsys):
    train(1, callbacks=[progress_bar()])
    assert "3/3" in capsys.readouterr().err


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)


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
