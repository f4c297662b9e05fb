"""What one training step costs when the tables grow: ``steps.py VARIANT ROWS STEPS OUT`` measures one point.

Keras hands its optimizers the gradient of an Embedding as rows and their numbers (``tf.IndexedSlices``), but
two things still touch the whole table at every step (seen in Keras 3.15 on TensorFlow):

- Adam subtracts the whole table of momenta from the few rows, which makes a gradient of the table's size.
- ``Embedding`` looks up in the *value* of its variable. Once a variable is updated in place by rows, TensorFlow
  copies it for each such read. So even plain SGD, whose update touches only the rows, pays for the copy.

``scaling.RowEmbedding`` looks up in the variable itself, ``scaling.RowAdam`` updates only the rows of the
batch. With both, a step costs the same for a thousand rows and for a million.
"""

import json
import statistics
import sys
import time
from pathlib import Path

from course_utils.large.scaling import RowAdam, by_rows
from course_utils.models import matrix_factorization

import keras
import numpy as np
import worker

BATCH, K, WARM_UP = 1024, 64, 5


class _StepTimes(keras.callbacks.Callback):
    """Collect the seconds of each step."""

    def on_train_begin(self, logs=None):
        self.seconds = []

    def on_train_batch_begin(self, batch, logs=None):
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.seconds.append(time.perf_counter() - self.start)


LOOKUP, TABLE = {"lookup_l2": 0.12, "bias_lookup_l2": 0.02}, {"table_l2": 0.01}
# variant -> (penalties, optimizer, whether look-ups read only their rows)
VARIANTS = {
    "table_l2, Adam": (TABLE, keras.optimizers.Adam, False),
    "table_l2, SGD": (TABLE, keras.optimizers.SGD, False),
    "lookup_l2, Adam": (LOOKUP, keras.optimizers.Adam, False),
    "lookup_l2, SGD": (LOOKUP, keras.optimizers.SGD, False),
    "lookup_l2, SGD, by rows": (LOOKUP, keras.optimizers.SGD, True),
    "lookup_l2, Adam, by rows": (LOOKUP, RowAdam, True),
}


def build(variant: str, rows: int) -> keras.Model:
    """Return the compiled matrix factorization of one variant, with ``rows`` users and as many movies."""
    penalties, optimizer, only_rows = VARIANTS[variant]
    model = matrix_factorization(rows, rows, K=K, mu=3.5, **penalties)
    model = by_rows(model) if only_rows else model
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
