"""What one training step costs when the tables grow: ``steps.py VARIANT ROWS STEPS OUT`` measures one point.

Keras hands its optimizers the gradient of an Embedding as rows and their numbers (``tf.IndexedSlices``), but
two things still touch the whole table at every step (seen in Keras 3.15 on TensorFlow):

- Adam subtracts the whole table of momenta from the few rows, which makes a gradient of the table's size.
- ``Embedding`` looks up in the *value* of its variable. Once a variable is updated in place by rows, TensorFlow
  copies it for each such read. So even plain SGD, whose update touches only the rows, pays for the copy.

``RowEmbedding`` looks up in the variable itself, ``RowAdam`` updates only the rows of the batch. With both, a
step costs the same for a thousand rows and for a million.
"""

import json
import statistics
import sys
import time
from pathlib import Path

from course_utils import models

import keras
import numpy as np
import tensorflow as tf
import worker

BATCH, K, WARM_UP = 1024, 64, 5


@keras.saving.register_keras_serializable(package="benchmarks")
class RowEmbedding(keras.layers.Embedding):
    """An Embedding that reads only the rows that it looks up, also after they were updated by rows."""

    def call(self, inputs):
        """Return the rows ``inputs`` of the table."""
        return tf.gather(self.embeddings.value, inputs)


@keras.saving.register_keras_serializable(package="benchmarks")
class RowAdam(keras.optimizers.Adam):
    """Adam that leaves alone the rows of a table that the batch did not look up ("lazy Adam").

    Two things differ from Keras' Adam, so a model trained with it has other figures:

    - Rows that were not looked up stay as they are. In Adam their momenta decay and still move them.
    - A row that a batch looks up several times has its gradients added before they are squared, as for a dense
      gradient. Keras 3.15 squares each of them and then adds, which gives such a row a larger step.
    """

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable; the gradient of a table comes as rows, some of them several times."""
        if not isinstance(gradient, tf.IndexedSlices):
            return super().update_step(gradient, variable, learning_rate)
        rows, place = tf.unique(gradient.indices)
        gradient = tf.math.unsorted_segment_sum(gradient.values, place, tf.size(rows))
        index = self._get_variable_index(variable)
        momenta, velocities = self._momentums[index].value, self._velocities[index].value
        step = tf.cast(self.iterations + 1, gradient.dtype)
        alpha = tf.cast(learning_rate, gradient.dtype)
        alpha *= tf.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
        m, v = tf.gather(momenta, rows), tf.gather(velocities, rows)
        m += (1 - self.beta_1) * (gradient - m)
        v += (1 - self.beta_2) * (tf.square(gradient) - v)
        momenta.scatter_update(tf.IndexedSlices(m, rows))
        velocities.scatter_update(tf.IndexedSlices(v, rows))
        variable.scatter_sub(tf.IndexedSlices(alpha * m / (tf.sqrt(v) + self.epsilon), rows))


class _StepTimes(keras.callbacks.Callback):
    """Collect the seconds of each step."""

    def on_train_begin(self, logs=None):
        self.seconds = []

    def on_train_batch_begin(self, batch, logs=None):
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.seconds.append(time.perf_counter() - self.start)


LOOKUP, TABLE = {"lookup_l2": 0.12, "bias_lookup_l2": 0.02}, {"table_l2": 0.01}
# variant -> (penalties, optimizer, embedding layer)
VARIANTS = {
    "table_l2, Adam": (TABLE, keras.optimizers.Adam, keras.layers.Embedding),
    "table_l2, SGD": (TABLE, keras.optimizers.SGD, keras.layers.Embedding),
    "lookup_l2, Adam": (LOOKUP, keras.optimizers.Adam, keras.layers.Embedding),
    "lookup_l2, SGD": (LOOKUP, keras.optimizers.SGD, keras.layers.Embedding),
    "lookup_l2, SGD, by rows": (LOOKUP, keras.optimizers.SGD, RowEmbedding),
    "lookup_l2, Adam, by rows": (LOOKUP, RowAdam, RowEmbedding),
}


def build(variant: str, rows: int) -> keras.Model:
    """Return the compiled matrix factorization of one variant, with ``rows`` users and as many movies."""
    penalties, optimizer, embedding = VARIANTS[variant]
    usual = models.layers.Embedding
    models.layers.Embedding = embedding
    try:
        model = models.matrix_factorization(rows, rows, K=K, mu=3.5, **penalties)
    finally:
        models.layers.Embedding = usual
    model.compile(optimizer=optimizer(0.001), loss="mse", jit_compile=False)
    return model


def seconds_per_step(variant: str, rows: int, steps: int) -> float:
    """Return the median seconds of a step on random ratings, every step with other rows."""
    keras.utils.set_random_seed(0)
    model, rng = build(variant, rows), np.random.default_rng(0)
    n = BATCH * (steps + WARM_UP)
    users, movies = (rng.integers(0, rows, n, dtype="int32") for _ in range(2))
    stars = rng.integers(1, 6, n).astype("float32")
    times = _StepTimes()
    model.fit([users, movies], stars, batch_size=BATCH, verbose=0, callbacks=[times])
    return statistics.median(times.seconds[WARM_UP:])


if __name__ == "__main__":
    chosen, size, number, out = sys.argv[1:]
    worker.limit_cores()
    seconds = seconds_per_step(chosen, int(size), int(number))
    measured = {"seconds_per_step": seconds, "peak_mb": worker.peak_megabytes(), "keras": keras.__version__}
    Path(out).write_text(json.dumps(measured), encoding="utf-8")
