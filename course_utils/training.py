"""Seeds, the progress bar, and the history of a training as a table."""

import keras
import pandas as pd
import tensorflow as tf
from tqdm.keras import TqdmCallback


def set_seed(seed: int) -> None:
    """Make what follows repeatable: one call for Python, NumPy, Keras and TensorFlow.

    Also switches TensorFlow to deterministic operations, so that a second run on the same machine gives the
    same digits (another processor may still differ in the last ones), and keeps its hints about re-tracing
    out of the notebook. Deterministic operations exclude XLA: Keras ignores ``jit_compile=True`` while they
    are on (seen in Keras 3.15: ``keras.src.trainers.trainer.model_supports_jit``).

    Args:
        seed: any integer from 0 to 2**32 - 1.

    Raises:
        ValueError: when the seed is outside that range.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must lie between 0 and 2**32 - 1, but it is {seed}.")
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    tf.get_logger().setLevel("ERROR")


def progress_bar() -> keras.callbacks.Callback:
    """Return a callback that shows one tqdm bar, one step an epoch, with the latest loss.

    Use it with ``model.fit(..., verbose=0, callbacks=[progress_bar()])``. Keras' own progress text would fill
    the notebook with lines.
    """
    return TqdmCallback(verbose=0)


def history_frame(history: keras.callbacks.History) -> pd.DataFrame:
    """Return what ``model.fit`` recorded as a table: one row an epoch, counted from 1, one column a figure.

    Keras names a column by the metric's name in lower case letters and underscores, for example ``loss``,
    ``root_mean_squared_error`` and ``val_loss``.

    Args:
        history: what ``model.fit`` returned.

    Raises:
        ValueError: when no epoch was recorded.
    """
    table = pd.DataFrame(history.history)
    if table.empty:
        raise ValueError("The history is empty: model.fit recorded no epoch. Was epochs=0 passed?")
    table.index = pd.RangeIndex(1, len(table) + 1, name="epoch")
    return table
