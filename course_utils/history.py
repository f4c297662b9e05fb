"""The network of notebook 07: matrix factorization with histories, side information, time and ordinal stars."""

from collections.abc import Sequence

from course_utils.metrics import bias_baseline

import keras
import numpy as np
import pandas as pd
from keras import layers, ops, regularizers

FOLDS = 10  # of the training ratings, when they get numbers from each other
NEAR = (10, 60, 600, 3600, 86_400)  # seconds: what counts as near in time, from ten seconds to a day


def _small() -> keras.initializers.Initializer:
    """Return a new initializer for notebook 07. (One that is used twice gives the same numbers twice.)"""
    return keras.initializers.RandomNormal(stddev=0.05)


@keras.saving.register_keras_serializable(package="course_utils")
class History(layers.Layer):
    """What else this user rated, as one vector: a sum of learned vectors over root n (notebook 07).

    The idea is that of SVD++ (Koren, "Factorization Meets the Neighborhood", KDD 2008); with users and movies
    exchanged it is the mirrored history: who else rated this movie. Two things differ from a plain sum:
    only *training* ratings count, and the rating that is being predicted is left out. It would otherwise be
    in the history during training and missing from it at test time.

    Args:
        n_rows: rows of the 0/1 matrix ``seen``: users, or movies for the mirrored history.
        n_columns: its columns: movies, or users.
        K: length of the vectors.
        leave_one_out: whether to leave out the rating that is being predicted.

    Call with two integer tensors of shape (batch,): the row and the column of each rating. Returns (batch, K).
    Set ``layer.seen`` with ``layer.seen.assign(matrix)`` before training.
    """

    def __init__(self, n_rows: int, n_columns: int, K: int, leave_one_out: bool = True, **options):
        super().__init__(**options)
        self.n_rows, self.n_columns, self.K, self.leave_one_out = n_rows, n_columns, K, leave_one_out

    def build(self, *_):
        self.table = self.add_weight(shape=(self.n_columns, self.K), initializer=_small(), name="table")
        # Not trained, but a weight: it is saved with the model.
        self.seen = self.add_weight(
            shape=(self.n_rows, self.n_columns), trainable=False, initializer="zeros", name="seen"
        )

    def call(self, row, column):
        seen = ops.take(self.seen, row, axis=0)
        total, count = ops.matmul(seen, self.table), ops.sum(seen, axis=1, keepdims=True)
        if self.leave_one_out:
            target = ops.take_along_axis(seen, column[:, None], axis=1)
            total = total - target * ops.take(self.table, column, axis=0)
            count = count - target
        return total / ops.sqrt(ops.maximum(count, 1.0))

    def compute_output_shape(self, row_shape, column_shape=None):
        return (row_shape[0], self.K)

    def get_config(self):
        sizes = {
            "n_rows": self.n_rows,
            "n_columns": self.n_columns,
            "K": self.K,
            "leave_one_out": self.leave_one_out,
        }
        return {**super().get_config(), **sizes}


@keras.saving.register_keras_serializable(package="course_utils")
class OrdinalStars(layers.Layer):
    """From a score to the probabilities of 1 to 5 stars, with four learned thresholds (notebook 07).

    P(rating > k) = sigmoid(score - threshold_k): the proportional odds model (McCullagh, "Regression Models for
    Ordinal Data", Journal of the Royal Statistical Society B 42(2), 1980).

    Args:
        start: the four thresholds before training.

    Call with scores of shape (batch, 1). Returns probabilities of shape (batch, 5).
    """

    def __init__(self, start: Sequence[float], **options):
        super().__init__(**options)
        self.start = [float(value) for value in start]

    def build(self, *_):
        self.thresholds = self.add_weight(shape=(4,), initializer="zeros", name="thresholds")
        self.thresholds.assign(self.start)

    def call(self, score):
        above = ops.sigmoid(score - self.thresholds)
        one = ops.ones_like(score)
        at_least = ops.concatenate([one, above, 0 * one], axis=1)
        # Thresholds that cross would give a negative probability; the floor keeps the logarithm finite.
        return ops.maximum(at_least[:, :-1] - at_least[:, 1:], 1e-6)

    def get_config(self):
        return {**super().get_config(), "start": self.start}


def near_in_time(train: pd.DataFrame, part: pd.DataFrame, widths: Sequence[float] = NEAR) -> np.ndarray:
    """Return what the same users gave just before and after, as one number for each width (notebook 07).

    A training rating counts with its error: how far it lies from both biases of notebook 01. Its weight falls
    with the distance in time, exp(-seconds / width). The result is the weighted sum of the errors over the sum
    of the weights plus 2: with no rating near, it is near 0.

    When ``part`` is ``train`` itself, a rating must not be in its own numbers, nor in the biases behind them.
    So the table is dealt into ten folds, and each fold gets its numbers from the other nine.

    Args:
        train: the training ratings, with user_id, movie_id, rating, timestamp.
        part: the ratings to prepare: user_id and timestamp are read. ``train`` itself, or others.
        widths: in seconds.

    Returns:
        A float32 array of shape (len(part), len(widths)).
    """
    if part is train:
        near, fold = np.zeros((len(part), len(widths)), "float32"), np.arange(len(part)) % FOLDS
        np.random.default_rng(0).shuffle(fold)
        for number in range(FOLDS):
            near[fold == number] = near_in_time(train[fold != number], train[fold == number], widths)
        return near
    mu, b_u, b_i = bias_baseline(train)
    known = mu + train["user_id"].map(b_u) + train["movie_id"].map(b_i)
    error, then = (train["rating"] - known).to_numpy(), train["timestamp"].to_numpy("float64")
    now = part["timestamp"].to_numpy("float64")
    near = np.zeros((len(part), len(widths)), "float32")
    of_user = train.reset_index(drop=True).groupby("user_id").indices
    for user, rows in part.reset_index(drop=True).groupby("user_id").indices.items():
        past = of_user.get(user, rows[:0])
        distance = np.abs(now[rows, None] - then[past])
        for number, width in enumerate(widths):
            weight = np.exp(-distance / width)
            near[rows, number] = weight @ error[past] / (weight.sum(axis=1) + 2)
    return near


def history_inputs(train: pd.DataFrame, part: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the inputs of ``history_model`` for some ratings (notebook 07).

    Args:
        train: the training ratings, with user_id, movie_id, rating, timestamp.
        part: the ratings to prepare, with user_id, movie_id, timestamp; ``train`` itself, or others.

    Returns:
        ``user_id`` and ``movie_id``, int32 arrays of shape (n,), and ``near``, see ``near_in_time``.
    """
    return {
        "user_id": part["user_id"].to_numpy("int32"),
        "movie_id": part["movie_id"].to_numpy("int32"),
        "near": near_in_time(train, part),
    }


def side_features(
    users: pd.DataFrame, movies: pd.DataFrame, n_users: int, n_items: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what is known of users and movies as 0/1 columns, divided by a row's length (notebook 07).

    Args:
        users: user_id, age, gender, occupation. Age becomes its decade.
        movies: movie_id, year, genres. The year becomes a period of five years.
        n_users: rows of the first result: the largest user id plus one.
        n_items: rows of the second result: the largest movie id plus one.

    Returns:
        Two float32 arrays of shape (n_users, columns) and (n_items, columns). Ids without an entry have zeros.
    """
    decade = (users["age"] // 10).astype(str)
    about_user = [pd.get_dummies(column) for column in (decade, users["gender"], users["occupation"])]
    period = (movies["year"].fillna(1900).clip(lower=1930) // 5).astype(str)
    about_movie = [movies["genres"].str.get_dummies(), pd.get_dummies(period)]
    tables = []
    for ids, columns, rows in (
        (users["user_id"], about_user, n_users),
        (movies["movie_id"], about_movie, n_items),
    ):
        values = pd.concat(columns, axis=1).to_numpy("float32")
        table = np.zeros((rows, values.shape[1]), "float32")
        table[ids] = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1)
        tables.append(table)
    return tables[0], tables[1]


def history_model(
    train: pd.DataFrame,
    features: tuple[np.ndarray, np.ndarray],
    K: int = 128,
    *,
    user_history: bool = True,
    movie_history: bool = True,
    leave_one_out: bool = True,
    part_biases: bool = True,
    side: bool = True,
    near: bool = True,
    ordinal: bool = True,
    lookup_l2: float = 0.06,
    history_l2: float = 0.006,
    side_l2: float = 0.01,
    bias_l2: float = 0.0004,
    part_bias_l2: float = 0.001,
) -> keras.Model:
    """Build the network of notebook 07: matrix factorization whose vectors and biases are sums of parts.

    user vector = P_u + history of u + side information of u; movie vector likewise. Each part may add a bias,
    too. Score = the two vectors' dot product + all biases + a weight times each number of ``near_in_time``. The
    notebook builds it in the open; a test compares it with the formula in NumPy. Each part can be switched off.

    Args:
        train: the training ratings: who rated what, and how many of each star.
        features: what ``side_features`` returns; its rows give the sizes.
        K: number of latent factors.
        user_history: add the history of the user (SVD++).
        movie_history: add the history of the movie.
        leave_one_out: leave the rating that is being predicted out of both histories.
        part_biases: let histories and side information add a bias each, beside their vectors.
        side: add age, gender, occupation; genres and year.
        near: add what the user gave just before and after.
        ordinal: put out the probabilities of 1 to 5 stars (batch, 5) instead of one rating (batch, 1).
        lookup_l2: penalty on P_u and Q_i, mean over the batch, as are the following.
        history_l2: penalty on the history vectors.
        side_l2: penalty on the vectors of the side information.
        bias_l2: penalty on b_u and b_i.
        part_bias_l2: penalty on the biases of histories and side information.

    Returns:
        An uncompiled model. Its inputs are those of ``history_inputs``, without ``near`` when that is off.
    """
    about_user, about_movie = features
    n_users, n_items = len(about_user), len(about_movie)
    seen = np.zeros((n_users, n_items), "float32")
    seen[train["user_id"], train["movie_id"]] = 1

    def table(rows, width, penalty, name, start):
        options = {"embeddings_initializer": start, "activity_regularizer": regularizers.L2(penalty)}
        return layers.Embedding(rows, width, name=name, **options)

    def history(matrix, row, column, width, penalty, name):
        options = {"activity_regularizer": regularizers.L2(penalty), "name": name}
        layer = History(*matrix.shape, width, leave_one_out, **options)
        vector = layer(row, column)
        layer.seen.assign(matrix)
        return vector

    def about(known, width, penalty, name):
        options = {"kernel_initializer": _small(), "activity_regularizer": regularizers.L2(penalty)}
        return layers.Dense(width, use_bias=False, name=name, **options)(known)

    inputs = {name: keras.Input(shape=(), dtype="int32", name=name) for name in ("user_id", "movie_id")}
    user_id, movie_id = inputs["user_id"], inputs["movie_id"]
    user_parts = [table(n_users, K, lookup_l2, "P", _small())(user_id)]
    movie_parts = [table(n_items, K, lookup_l2, "Q", _small())(movie_id)]
    terms = [
        table(n_users, 1, bias_l2, "b_u", "zeros")(user_id),
        table(n_items, 1, bias_l2, "b_i", "zeros")(movie_id),
    ]
    if user_history:
        user_parts.append(history(seen, user_id, movie_id, K, history_l2, "user_history"))
        if part_biases:
            terms.append(history(seen, user_id, movie_id, 1, part_bias_l2, "b_user_history"))
    if movie_history:
        movie_parts.append(history(seen.T, movie_id, user_id, K, history_l2, "movie_history"))
        if part_biases:
            terms.append(history(seen.T, movie_id, user_id, 1, part_bias_l2, "b_movie_history"))
    if side:
        for name, matrix, ids, parts in (
            ("user", about_user, user_id, user_parts),
            ("movie", about_movie, movie_id, movie_parts),
        ):
            fixed = layers.Embedding(*matrix.shape, weights=[matrix], trainable=False, name=f"{name}_features")
            known = fixed(ids)
            parts.append(about(known, K, side_l2, f"{name}_side"))
            if part_biases:
                terms.append(about(known, 1, part_bias_l2, f"b_{name}_side"))
    if near:
        inputs["near"] = keras.Input(shape=(len(NEAR),), name="near")
        weights = layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="near_weights")
        terms.append(weights(inputs["near"]))
    user = layers.Add(name="user_vector")(user_parts) if len(user_parts) > 1 else user_parts[0]
    movie = layers.Add(name="movie_vector")(movie_parts) if len(movie_parts) > 1 else movie_parts[0]
    terms.append(layers.Dot(axes=1, name="dot")([user, movie]))
    score = layers.Add(name="score")(terms)
    if ordinal:
        above = np.array([(train["rating"] > star).mean() for star in (1, 2, 3, 4)]).clip(0.001, 0.999)
        output = OrdinalStars(-np.log(above / (1 - above)), name="stars")(score)
    else:
        output = layers.Rescaling(scale=1.0, offset=float(train["rating"].mean()), name="add_mu")(score)
    return keras.Model(inputs, output, name="history_model")


def list_scores(model: keras.Model, n_users: int, n_items: int) -> np.ndarray:
    """Return scores that put all movies into the model's order, shape (n_users, n_items) (for notebook 08).

    The score of a pair that is not in the training set is a dot product of two vectors plus biases. So each
    vector is computed once, and one matrix product does the rest. Only for networks without ``near``. What is
    the same for all movies of a user (the user's biases) is left out: it changes no list. For the pairs of
    the training set, which no list holds, the score differs from the model's: nothing is left out of the
    histories.

    Args:
        model: what ``history_model`` returned, trained, with ``near=False``.
        n_users: rows of the tables, as ``sizes`` returns them.
        n_items: likewise.

    Raises:
        ValueError: for a network with the input ``near``.
    """
    if "near" in model.input:
        raise ValueError("This network also needs the ratings near in time. Build it with near=False.")
    names = [layer.name for layer in model.layers]
    movie_terms = [name for name in ("b_i", "b_movie_history", "b_movie_side") if name in names]
    outputs = [model.get_layer(name).output for name in ("user_vector", "movie_vector", *movie_terms)]
    halves = keras.Model(model.input, outputs)
    users, movies = np.arange(n_users, dtype="int32"), np.arange(n_items, dtype="int32")
    U = halves.predict({"user_id": users, "movie_id": 0 * users}, verbose=0)[0]
    _, M, *biases = halves.predict({"user_id": 0 * movies, "movie_id": movies}, verbose=0)
    return U @ M.T + sum(biases).T
