"""The course's own models. The driver runs this file in the course's environment, one model a process.

Keras is imported inside the functions: the driver reads ``MODELS`` without it.
"""

import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import worker
from worker import Model, Result, clipped_rmse, timed


def watch(stars: np.ndarray, predict: Callable[[], np.ndarray]):
    """Return a callback that notes (training seconds, test RMSE) after every epoch while the clock stands."""
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

    return Watch()


def fit_and_score(
    build: Callable[[float], object],
    train: pd.DataFrame,
    test: pd.DataFrame,
    seed: int,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float | None = None,
    centered: bool = False,
) -> Result:
    """Train a network as its notebook does, and measure it.

    After every epoch the clock stops, and the test RMSE is noted for the time to reach a threshold. Nothing is
    chosen by it.

    Args:
        build: makes the network; it is given the mean rating.
        train, test: tables of ratings.
        seed: for the initial numbers, the order of the batches and dropout.
        epochs, batch_size: how long, and how many ratings a step.
        learning_rate: of Adam with cosine decay on the squared error. None: the source's SGD on the batch RMSE.
        centered: whether the network predicts rating minus mean (the source's way).
    """
    from course_utils.training import set_seed

    import keras

    def batch_rmse(y_true, y_pred):
        return keras.ops.sqrt(keras.ops.mean(keras.ops.square(y_true - y_pred)))

    def predict() -> np.ndarray:
        return offset + model.predict([test["user_id"], test["movie_id"]], batch_size=4096, verbose=0).ravel()

    clock = watch(test["rating"].to_numpy(), predict)
    epochs = worker.epochs(epochs)
    set_seed(seed)
    mu = float(train["rating"].mean())
    offset = mu if centered else 0.0
    model = build(mu)
    if learning_rate is None:
        model.compile(optimizer=keras.optimizers.SGD(), loss=batch_rmse)  # as the source does: step by step
    else:
        steps = epochs * int(np.ceil(len(train) / batch_size))
        schedule = keras.optimizers.schedules.CosineDecay(learning_rate, decay_steps=steps)
        model.compile(optimizer=keras.optimizers.Adam(schedule), loss="mse", steps_per_execution=16)
    inputs, target = [train["user_id"], train["movie_id"]], train["rating"] - offset
    model.fit(inputs, target, batch_size=batch_size, epochs=epochs, verbose=0, callbacks=[clock])
    fit_seconds = clock.seconds()
    predictions, predict_seconds = timed(predict)
    return Result(predictions, fit_seconds, predict_seconds, model.count_params(), clock.curve)


def fit_history(train: pd.DataFrame, test: pd.DataFrame, seed: int, **options) -> Result:
    """Train the network of notebook 07 as that notebook does, and measure it. The options are its parts."""
    from course_utils.data import load_movies, load_users
    from course_utils.history import history_inputs, history_model, side_features
    from course_utils.training import set_seed

    import keras

    def predict() -> np.ndarray:
        return model.predict(other, batch_size=4096, verbose=0) @ np.arange(1.0, 6.0)

    features = side_features(load_users(), load_movies(), *SIZES)
    clock = watch(test["rating"].to_numpy(), predict)
    epochs = worker.epochs(7)
    set_seed(seed)
    model = history_model(train, features, **options)
    inputs, other = (
        {name: history_inputs(train, part)[name] for name in model.input} for part in (train, test)
    )
    steps = epochs * int(np.ceil(len(train) / 1024))
    schedule = keras.optimizers.schedules.CosineDecay(0.002, decay_steps=steps, alpha=0.02)
    optimizer = keras.optimizers.Adam(schedule)
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", steps_per_execution=16)
    target = train["rating"].to_numpy() - 1
    model.fit(inputs, target, batch_size=1024, epochs=epochs, verbose=0, callbacks=[clock])
    fit_seconds = clock.seconds()
    predictions, predict_seconds = timed(predict)
    trained = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    return Result(predictions, fit_seconds, predict_seconds, trained, clock.curve)


SIZES = (944, 1683)  # the largest ids of MovieLens 100K, plus one


def mf_source(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> Result:
    """Run the source's matrix factorization with the right target (notebook 06)."""
    from course_utils.models import matrix_factorization

    def build(mu: float):
        return matrix_factorization(*SIZES, K=200, table_l2=0.01)

    return fit_and_score(build, train, test, seed, epochs=60, batch_size=256, centered=True)


def deep_source(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> Result:
    """Run the source's deep network (notebook 06)."""
    from course_utils.models import deep_model

    def build(mu: float):
        return deep_model(*SIZES, K=200, table_l2=0.01)

    return fit_and_score(build, train, test, seed, epochs=65, batch_size=512, centered=True)


def mf_04(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> Result:
    """Run the matrix factorization of notebook 04."""
    from course_utils.models import matrix_factorization

    def build(mu: float):
        return matrix_factorization(*SIZES, K=64, lookup_l2=0.12, bias_lookup_l2=0.02, mu=mu)

    return fit_and_score(build, train, test, seed, epochs=20, batch_size=1024, learning_rate=0.005)


def deep_05(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> Result:
    """Run the deep network of notebook 05."""
    from course_utils.models import deep_model

    def build(mu: float):
        settings = {"hidden": (256, 64), "activation": "relu", "dropout": 0.3, "lookup_l2": 0.02}
        return deep_model(*SIZES, K=16, **settings, mu=mu)

    return fit_and_score(build, train, test, seed, epochs=20, batch_size=512, learning_rate=0.002)


def history_07(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> Result:
    """Run the network of notebook 07."""
    return fit_history(train, test, seed)


def history_07_no_time(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> Result:
    """Run the network of notebook 07 without the day of the rating."""
    return fit_history(train, test, seed, day=False)


def ensemble_07(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> Result:
    """Average five networks of notebook 07, trained one after the other with five seeds."""
    members = [fit_history(train, test, 5 * seed + number) for number in range(5)]
    return Result(
        np.mean([member.predictions for member in members], axis=0),
        sum(member.fit_seconds for member in members),
        sum(member.predict_seconds for member in members),
        sum(member.parameters for member in members),
    )


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
    "history-07": Model(history_07, "ours", "network of notebook 07, with the day", seeds=FIVE, **OURS),
    "history-07-no-time": Model(
        history_07_no_time, "ours", "network of notebook 07, no time", seeds=(0, 1), **OURS
    ),
    "ensemble-07": Model(ensemble_07, "ours", "five networks of notebook 07, averaged", seeds=(0,), **OURS),
    "deep-05": Model(deep_05, "ours", "deep network of notebook 05, 20 epochs", seeds=FIVE, **OURS),
}

if __name__ == "__main__":
    worker.main(MODELS, pd.DataFrame)
