"""What one training step costs when the tables are large.

Keras hands its optimizers the gradient of an Embedding as rows and their numbers (``tf.IndexedSlices``), but
two things still touch the whole table at every step (seen in Keras 3.15 on TensorFlow):

- Adam subtracts the whole table of momenta from the few rows, which makes a gradient of the table's size.
- ``Embedding`` looks up in the *value* of its variable. Once a variable is updated in place by rows, TensorFlow
  copies it for each such read. So even plain SGD, whose update touches only the rows, pays for the copy.

``scaling.RowEmbedding`` looks up in the variable itself, ``scaling.RowAdam`` updates only the rows of the
batch. With both, a step costs what its batch costs, however large the tables are.
"""

import statistics
import time

from course_utils.large.scaling import RowAdam, by_rows
from course_utils.models import matrix_factorization

import keras
import numpy as np

WARM_UP = 5  # in the first steps TensorFlow prepares the network


class _StepTimes(keras.callbacks.Callback):
    """Collect the seconds of each step."""

    def on_train_begin(self, logs=None):
        self.seconds = []

    def on_train_batch_begin(self, batch, logs=None):
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.seconds.append(time.perf_counter() - self.start)


def seconds_per_step(only_rows: bool, rows: int, K: int, batch: int, number: int) -> float:
    """Return the median seconds of a training step on random ratings, every step with other rows.

    Args:
        only_rows: look up and update only the rows of the batch; False: Keras' own Embedding and Adam.
        rows: number of users, and of movies.
        K: number of factors.
        batch: ratings in a step.
        number: steps to measure, after ``WARM_UP`` steps that do not count.
    """
    keras.utils.set_random_seed(0)
    model = matrix_factorization(rows, rows, K=K, mu=3.5, lookup_l2=0.12, bias_lookup_l2=0.02)
    model = by_rows(model) if only_rows else model
    optimizer = (RowAdam if only_rows else keras.optimizers.Adam)(0.001)
    # Step by step, which `training.fit` does not do: each needs a time of its own.
    model.compile(optimizer=optimizer, loss="mse", jit_compile=False)
    rng, n = np.random.default_rng(0), batch * (number + WARM_UP)
    users, movies = (rng.integers(0, rows, n, dtype="int32") for _ in range(2))
    stars = rng.integers(1, 6, n).astype("float32")
    times = _StepTimes()
    model.fit([users, movies], stars, batch_size=batch, verbose=0, callbacks=[times])
    return statistics.median(times.seconds[WARM_UP:])
