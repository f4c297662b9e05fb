"""Seeds, the progress bar, and one way to train (built in notebook 04)."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pandas as pd
from tqdm.keras import TqdmCallback

# Steps in one call of the backend: the same numbers in less time (notebook 04). Keras on PyTorch takes one.
STEPS_AT_ONCE = 1 if keras.backend.backend() == "torch" else 16


def set_seed(seed: int) -> None:
    """Make what follows repeatable: one call for Python, NumPy, Keras and its backend (from notebook 02 on).

    Also switches TensorFlow to deterministic operations, so that a second run on the same machine gives the
    same digits (another processor may still differ in the last ones), and keeps its hints about re-tracing
    out of the notebook. Deterministic operations exclude XLA: Keras ignores ``jit_compile=True`` while they
    are on (``keras.src.trainers.trainer.model_supports_jit``). With a seed, Keras on TensorFlow also takes the
    ratings in the same order in every epoch: notebook 06 shows it, and what it changes. JAX and PyTorch repeat
    themselves on a processor as they are.

    Args:
        seed: any integer from 0 to 2**32 - 1.

    Raises:
        ValueError: when the seed is outside that range.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must lie between 0 and 2**32 - 1, but it is {seed}.")
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf  # here, so that the course also runs where only JAX or PyTorch is installed

    tf.config.experimental.enable_op_determinism()
    tf.get_logger().setLevel("ERROR")


def progress_bar() -> keras.callbacks.Callback:
    """Return a callback that shows one tqdm bar, one step an epoch, with the latest loss (from notebook 02 on).

    Use it with ``model.fit(..., verbose=0, callbacks=[progress_bar()])``. Keras' own progress text would fill
    the notebook with lines.
    """
    return TqdmCallback(verbose=0)


def fit(
    model: keras.Model,
    data: Any,
    epochs: int = 20,
    learning_rate: float = 0.005,
    batch_size: int = 1024,
    *,
    validation_data: Any = None,
    loss: Any = "mse",
    last_rate: float = 0.0,
    optimizer: Callable[..., keras.optimizers.Optimizer] = keras.optimizers.Adam,
    callbacks: list[keras.callbacks.Callback] | None = None,
) -> pd.DataFrame:
    """Compile and train a network as notebook 04 does in the open: Adam, and a rate that falls along a cosine.

    >>> from course_utils import data, models
    >>> ratings, model = data.load_ratings(), models.matrix_factorization(944, 1683, K=8)
    >>> list(fit(model, ratings[:2000], epochs=2))
    ['loss', 'rmse']

    Args:
        model: an uncompiled network.
        data: a table with user_id, movie_id and rating; or ``(inputs, target)``; or a data set that hands out
            batches and has a length (``tf.data.Dataset``, ``PyDataset``); batch_size is unused then.
        epochs: times through the data.
        learning_rate: of the first step.
        batch_size: ratings in a step.
        validation_data: a table or ``(inputs, target)`` to score after every epoch.
        loss: what to minimize. With "mse", the RMSE is recorded as well, as "rmse" and "val_rmse".
        last_rate: where the cosine ends, as a share of ``learning_rate``.
        optimizer: made with the schedule of the rate.
        callbacks: to use beside the progress bar.

    Returns:
        The training log: one row an epoch, see ``training_log``.

    Raises:
        ValueError: for a table without the three columns.
    """
    data, validation_data = _inputs_and_target(data), _inputs_and_target(validation_data)
    batches = int(np.ceil(len(data[1]) / batch_size)) if isinstance(data, tuple) else len(data)
    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate, decay_steps=epochs * batches, alpha=last_rate
    )
    metrics = [keras.metrics.RootMeanSquaredError(name="rmse")] if loss == "mse" else None
    model.compile(optimizer=optimizer(schedule), loss=loss, metrics=metrics, steps_per_execution=STEPS_AT_ONCE)
    options = {"epochs": epochs, "verbose": 0, "callbacks": [progress_bar(), *(callbacks or [])]}
    if isinstance(data, tuple):
        done = model.fit(*data, batch_size=batch_size, validation_data=validation_data, **options)
    else:
        # Only a PyDataset can be shuffled by Keras: it warns when a tf.data.Dataset is to be.
        shuffle = isinstance(data, keras.utils.PyDataset)
        done = model.fit(data, validation_data=validation_data, shuffle=shuffle, **options)
    return training_log(done)


def _inputs_and_target(data: Any) -> Any:
    """Return a table of ratings as the pair that Keras takes: two columns of ids, and the stars."""
    if not isinstance(data, pd.DataFrame):
        return data
    if missing := [name for name in ("user_id", "movie_id", "rating") if name not in data]:
        raise ValueError(
            f"The table has no column {missing[0]!r}. It has: {', '.join(map(str, data.columns))}."
        )
    return [data["user_id"], data["movie_id"]], data["rating"]


def training_log(recorded: keras.callbacks.History) -> pd.DataFrame:
    """Return what ``model.fit`` recorded as a table (introduced in notebook 04): one row an epoch, from 1.

    Keras names a column by the metric's name in lower case letters and underscores, for example ``loss``,
    ``root_mean_squared_error`` and ``val_loss``.

    Args:
        recorded: what ``model.fit`` returned.

    Raises:
        ValueError: when no epoch was recorded.
    """
    table = pd.DataFrame(recorded.history)
    if table.empty:
        raise ValueError("The log is empty: model.fit recorded no epoch. Was epochs=0 passed?")
    table.index = pd.RangeIndex(1, len(table) + 1, name="epoch")
    return table
