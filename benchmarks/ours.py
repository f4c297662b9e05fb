"""The course's own models. The driver runs ``main`` in the course's environment, one model a process.

Keras is imported inside the functions: the driver reads ``MODELS`` without it.
"""

import time
from collections.abc import Callable
from typing import Any

from course_utils.data import load_movies, load_ratings, load_users, sizes

import numpy as np
import pandas as pd

from . import worker
from .worker import Model, Result, clipped_rmse, timed


def watch(stars: np.ndarray, predict: Callable[[], np.ndarray]):
    """Return a callback that measures a training; its clock runs from now to the end of the training.

    After every epoch the clock stands while (training seconds, test RMSE) is noted in ``curve``, for the time
    to reach a threshold. Nothing is chosen by it. ``fit_seconds`` is there when the training is over.
    """
    import keras

    class Watch(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.start, self.paused, self.curve = time.perf_counter(), 0.0, []

        def seconds(self) -> float:
            return time.perf_counter() - self.start - self.paused

        def on_epoch_end(self, epoch, logs=None):
            seconds, before = self.seconds(), time.perf_counter()
            self.curve.append((seconds, clipped_rmse(stars, predict())))
            self.paused += time.perf_counter() - before

        def on_train_end(self, logs=None):
            self.fit_seconds = self.seconds()

    return Watch()


def measured(
    test: pd.DataFrame,
    seed: int,
    build: Callable[[], Any],
    train_it: Callable[[Any, Any], Any],
    predict: Callable[[Any], np.ndarray],
) -> Result:
    """Build and train a network while the clock runs, then predict.

    Args:
        test: the ratings to predict.
        seed: for the initial numbers, the order of the batches and dropout.
        build: returns the network.
        train_it: is given the network and the callback of ``watch``, and trains.
        predict: is given the network and returns the stars of ``test``, of shape (n,).
    """
    from course_utils.training import set_seed

    clock = watch(test["rating"].to_numpy(), lambda: predict(model))
    set_seed(seed)
    model = build()
    train_it(model, clock)
    predictions, predict_seconds = timed(lambda: predict(model))
    trained = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    return Result(predictions, clock.fit_seconds, predict_seconds, trained, clock.curve)


def ids(part: pd.DataFrame) -> list[pd.Series]:
    """Return the two inputs of the networks of notebooks 04, 05 and 06."""
    return [part["user_id"], part["movie_id"]]


def as_source(
    train: pd.DataFrame, test: pd.DataFrame, seed: int, build, epochs: int, batch_size: int
) -> Result:
    """Train a network as the source does: plain SGD on the RMSE of the batch, on rating minus mean."""
    import keras

    def batch_rmse(y_true, y_pred):
        return keras.ops.sqrt(keras.ops.mean(keras.ops.square(y_true - y_pred)))

    def train_it(model, clock):
        model.compile(optimizer=keras.optimizers.SGD(), loss=batch_rmse)  # as the source does: step by step
        options = {"batch_size": batch_size, "epochs": worker.epochs(epochs), "verbose": 0}
        model.fit(ids(train), train["rating"] - mu, callbacks=[clock], **options)

    def predict(model):
        return mu + model.predict(ids(test), batch_size=4096, verbose=0).ravel()

    mu = float(train["rating"].mean())
    return measured(test, seed, build, train_it, predict)


def as_course(
    train: pd.DataFrame,
    test: pd.DataFrame,
    seed: int,
    build,
    epochs: int,
    batch_size: int,
    learning_rate: float,
) -> Result:
    """Train a network as notebooks 04 and 05 do, with ``training.fit``."""
    from course_utils.training import fit

    import keras

    def train_it(model, clock):
        # Not "mse": with that, `fit` would also compute the RMSE at every step, inside the measured time.
        options = {"loss": keras.losses.MeanSquaredError(), "callbacks": [clock]}
        fit(model, train, worker.epochs(epochs), learning_rate, batch_size, **options)

    def predict(model):
        return model.predict(ids(test), batch_size=4096, verbose=0).ravel()

    return measured(test, seed, build, train_it, predict)


def fit_history(train: pd.DataFrame, test: pd.DataFrame, seed: int, **parts: bool) -> Result:
    """Train the network of notebook 07 as that notebook does. ``parts`` go to ``history_model``."""
    from course_utils.history import history_inputs, history_model, side_features
    from course_utils.training import fit

    def train_it(model, clock):
        inputs, other = history_inputs(train, train), history_inputs(train, test)
        test_inputs.update({name: other[name] for name in model.input})
        inputs = {name: inputs[name] for name in model.input}
        options = {"loss": "sparse_categorical_crossentropy", "last_rate": 0.02, "callbacks": [clock]}
        fit(model, (inputs, train["rating"].to_numpy() - 1), worker.epochs(7), 0.002, 1024, **options)

    def predict(model):
        return model.predict(test_inputs, batch_size=4096, verbose=0) @ np.arange(1.0, 6.0)

    test_inputs: dict[str, np.ndarray] = {}
    features = side_features(load_users(), load_movies(), *all_sizes())
    return measured(test, seed, lambda: history_model(train, features, **parts), train_it, predict)


def all_sizes() -> tuple[int, int]:
    """Return the sizes of the tables for all of MovieLens: a training part may lack the largest ids."""
    return sizes(load_ratings())


def mf_source(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> Result:
    """Run the source's matrix factorization with the right target (notebook 06)."""
    from course_utils.models import matrix_factorization

    rows = all_sizes()
    return as_source(train, test, seed, lambda: matrix_factorization(*rows, K=200, table_l2=0.01), 60, 256)


def deep_source(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> Result:
    """Run the source's deep network (notebook 06)."""
    from course_utils.models import deep_model

    rows = all_sizes()
    return as_source(train, test, seed, lambda: deep_model(*rows, K=200, table_l2=0.01), 65, 512)


def mf_04(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> Result:
    """Run the matrix factorization of notebook 04."""
    from course_utils.models import matrix_factorization

    rows, mu = all_sizes(), float(train["rating"].mean())
    settings = {"K": 64, "lookup_l2": 0.12, "bias_lookup_l2": 0.02, "mu": mu}
    return as_course(train, test, seed, lambda: matrix_factorization(*rows, **settings), 20, 1024, 0.005)


def deep_05(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> Result:
    """Run the deep network of notebook 05."""
    from course_utils.models import deep_model

    rows, mu = all_sizes(), float(train["rating"].mean())
    settings = {"K": 16, "hidden": (256, 64), "activation": "relu", "dropout": 0.3, "lookup_l2": 0.02, "mu": mu}
    return as_course(train, test, seed, lambda: deep_model(*rows, **settings), 20, 512, 0.002)


def history_07(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> Result:
    """Run the network of notebook 07: histories, side information, near in time."""
    return fit_history(train, test, seed)


def history_07_side(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> Result:
    """Run the network of notebook 07 without time."""
    return fit_history(train, test, seed, near=False)


def history_07_ratings(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> Result:
    """Run the network of notebook 07 with ratings only: no time, no side information."""
    return fit_history(train, test, seed, near=False, side=False)


def average(train: pd.DataFrame, test: pd.DataFrame, seed: int, **parts: bool) -> Result:
    """Average five networks of notebook 07, trained one after the other with five seeds."""
    members = [fit_history(train, test, 5 * seed + number, **parts) for number in range(5)]
    return Result(
        np.mean([member.predictions for member in members], axis=0),
        sum(member.fit_seconds for member in members),
        sum(member.predict_seconds for member in members),
        sum(member.parameters for member in members),
    )


def average_07(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> Result:
    """Average five networks of ``history_07``."""
    return average(train, test, seed)


def average_07_side(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> Result:
    """Average five networks of ``history_07_side``."""
    return average(train, test, seed, near=False)


def average_07_ratings(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> Result:
    """Average five networks of ``history_07_ratings``."""
    return average(train, test, seed, near=False, side=False)


FIVE = (0, 1, 2, 3, 4)
OURS = {"packages": ("neural-recommenders-course", "keras")}

# ==================================================================================================
# ADD A MODEL HERE. Write a function (train, test, seed) -> Result as above; train and test are tables with
# user_id, movie_id, rating, timestamp. Use worker.epochs(n) for the number of epochs, so that --quick works.
# ==================================================================================================
MODELS: dict[str, Model] = {
    "source-mf": Model(mf_source, "source", "matrix factorization, right target, 60 epochs", **OURS),
    "source-deep": Model(deep_source, "source", "deep network, 65 epochs", **OURS),
    "mf-04": Model(mf_04, "ours", "matrix factorization of notebook 04, 20 epochs", seeds=FIVE, **OURS),
    "history-07": Model(
        history_07, "ours", "network of notebook 07", seeds=FIVE, knows="+ side + time", **OURS
    ),
    "history-07-side": Model(
        history_07_side, "ours", "network of notebook 07, no time", seeds=FIVE, knows="+ side", **OURS
    ),
    "history-07-ratings": Model(
        history_07_ratings, "ours", "network of notebook 07, ratings only", seeds=FIVE, **OURS
    ),
    "average-07": Model(
        average_07, "ours", "five networks of notebook 07, averaged", knows="+ side + time", **OURS
    ),
    "average-07-side": Model(
        average_07_side, "ours", "five networks of notebook 07, no time, averaged", knows="+ side", **OURS
    ),
    "average-07-ratings": Model(
        average_07_ratings, "ours", "five networks of notebook 07, ratings only, averaged", **OURS
    ),
    "deep-05": Model(deep_05, "ours", "deep network of notebook 05, 20 epochs", seeds=FIVE, **OURS),
}


def main() -> None:
    """Be the measured process; see ``worker.main``."""
    worker.main(MODELS, pd.DataFrame)
