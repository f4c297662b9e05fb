"""The two architectures: sizes, formula, penalties, bad input."""

from course_utils.models import (
    History,
    OrdinalStars,
    deep_model,
    history_inputs,
    history_model,
    matrix_factorization,
    side_features,
)

import keras
import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def batch():
    """Four (user, movie) pairs as a model takes them."""
    return [np.array([[1], [2], [1], [4]]), np.array([[1], [3], [3], [2]])]


def weights(model):
    return {layer.name: layer.get_weights() for layer in model.layers if layer.get_weights()}


def test_sizes_of_the_source():
    assert matrix_factorization(944, 1683, 200, table_l2=0.01).count_params() == 528_027
    assert deep_model(944, 1683, 200, table_l2=0.01).count_params() == 1_878_172


def test_matrix_factorization_is_the_formula(batch):
    model = matrix_factorization(5, 4, 3, mu=3.5)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
    table = {name: values[0] for name, values in weights(model).items()}
    user, movie = batch[0].ravel(), batch[1].ravel()
    expected = (
        3.5
        + table["b_u"][user, 0]
        + table["b_i"][movie, 0]
        + (table["P"][user] * table["Q"][movie]).sum(axis=1)
    )
    assert model.predict(batch, verbose=0).shape == (4, 1)
    assert np.allclose(model.predict(batch, verbose=0).ravel(), expected, atol=1e-5)


def test_deep_model_is_concatenation_and_dense(batch):
    model = deep_model(5, 4, 3, hidden=(6, 2), activation="relu", mu=3.5)
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
    w = weights(model)
    user, movie = batch[0].ravel(), batch[1].ravel()
    x = np.concatenate([w["P"][0][user], w["Q"][0][movie], w["b_u"][0][user], w["b_i"][0][movie]], axis=1)
    for name in ("dense_1", "dense_2"):
        x = np.maximum(x @ w[name][0] + w[name][1], 0)
    expected = 3.5 + x @ w["rating"][0] + w["rating"][1]
    assert np.allclose(model.predict(batch, verbose=0), expected, atol=1e-4)


def test_mu_adds_no_parameter():
    assert matrix_factorization(5, 4, 3, mu=3.5).count_params() == matrix_factorization(5, 4, 3).count_params()
    assert deep_model(5, 4, 3, mu=3.5).count_params() == deep_model(5, 4, 3).count_params()


@pytest.mark.parametrize("build", [matrix_factorization, deep_model])
def test_table_penalty_counts_every_number(build, batch):
    model = build(5, 4, 3, table_l2=0.1)
    model(batch)
    tables = [weights(model)[name][0] for name in ("P", "Q", "b_u", "b_i")]
    expected = 0.1 * sum((table**2).sum() for table in tables)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("build", [matrix_factorization, deep_model])
def test_lookup_penalty_is_the_mean_over_the_batch(build, batch):
    model = build(5, 4, 3, lookup_l2=0.1, bias_lookup_l2=0.7)
    model(batch)
    w = weights(model)
    user, movie = batch[0].ravel(), batch[1].ravel()
    vectors = (w["P"][0][user] ** 2).sum() + (w["Q"][0][movie] ** 2).sum()
    biases = (w["b_u"][0][user] ** 2).sum() + (w["b_i"][0][movie] ** 2).sum()
    assert float(sum(model.losses)) == pytest.approx((0.1 * vectors + 0.7 * biases) / 4, rel=1e-5)


def test_dropout_acts_in_training_only(batch):
    model = deep_model(5, 4, 3, hidden=(64,), dropout=0.5)
    assert sum(isinstance(layer, keras.layers.Dropout) for layer in model.layers) == 2
    assert np.array_equal(model(batch, training=False), model(batch, training=False))
    assert not np.array_equal(model(batch, training=True), model(batch, training=True))


def test_numpy_sizes_are_taken():
    # int(ids.max()) is easily forgotten, and Keras refuses NumPy's integers.
    assert matrix_factorization(np.int64(5), np.int32(4), np.int64(3)).count_params() == 36


@pytest.mark.parametrize("build", [matrix_factorization, deep_model])
@pytest.mark.parametrize(
    ("sizes", "options", "words"),
    [
        ((0, 4, 3), {}, "n_users must be at least 1, but it is 0"),
        ((5, -1, 3), {}, "n_items"),
        ((5, 4, 2.5), {}, "K must be a whole number, but it is 2.5"),
        ((5, 4, 3), {"table_l2": -0.1}, "table_l2 must not be negative"),
        ((5, 4, 3), {"lookup_l2": -0.1}, "lookup_l2"),
        ((5, 4, 3), {"bias_lookup_l2": -0.1}, "bias_lookup_l2"),
    ],
)
def test_bad_input_is_named(build, sizes, options, words):
    with pytest.raises(ValueError, match=words):
        build(*sizes, **options)


def test_deep_model_refuses_bad_layers():
    with pytest.raises(ValueError, match="dropout"):
        deep_model(5, 4, 3, dropout=1)
    with pytest.raises(ValueError, match="hidden must be at least 1"):
        deep_model(5, 4, 3, hidden=(8, 0))


# --- Notebook 07 ----------------------------------------------------------------------------------

SEEN = np.array([[1, 1, 0, 0], [1, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]], "float32")


@pytest.fixture
def small():
    """Training ratings of 4 users and 5 movies on 3 days, users and movies with what is known of them."""
    train = pd.DataFrame(
        {
            "user_id": [1, 1, 2, 2, 2, 3],
            "movie_id": [1, 2, 1, 3, 4, 4],
            "rating": [5, 4, 1, 2, 3, 4],
            "timestamp": np.array([10, 10, 11, 11, 12, 12]) * 86_400 + 5,
        }
    )
    users = pd.DataFrame(
        {"user_id": [1, 2, 3], "age": [7, 31, 39], "gender": ["F", "M", "F"], "occupation": ["a", "b", "b"]}
    )
    movies = pd.DataFrame(
        {
            "movie_id": [1, 2, 3, 4],
            "year": pd.array([1995, 1999, None, 1922], "Int64"),
            "genres": ["Comedy|Drama", "Drama", "unknown", "Comedy"],
        }
    )
    return train, users, movies


def test_history_is_the_sum_over_root_n():
    layer = History(4, 4, 3, leave_one_out=False)
    layer.build()
    layer.seen.assign(SEEN)
    table = np.asarray(layer.table)
    result = np.asarray(layer(np.array([1, 3]), np.array([0, 0])))
    assert np.allclose(result[0], (table[0] + table[2] + table[3]) / np.sqrt(3), atol=1e-6)
    assert np.array_equal(result[1], np.zeros(3)), "no history, no vector, and no division by zero"


def test_history_leaves_out_the_target_only_when_it_is_there():
    layer = History(4, 4, 3)
    layer.build()
    layer.seen.assign(SEEN)
    table = np.asarray(layer.table)
    result = np.asarray(layer(np.array([1, 1, 2]), np.array([2, 1, 3])))
    assert np.allclose(result[0], (table[0] + table[3]) / np.sqrt(2), atol=1e-6)
    assert np.allclose(result[1], (table[0] + table[2] + table[3]) / np.sqrt(3), atol=1e-6)
    assert np.allclose(result[2], 0, atol=1e-6)


def test_ordinal_probabilities_by_hand():
    layer = OrdinalStars([-2.0, -1.0, 0.0, 1.0])
    probabilities = np.asarray(layer(np.array([[0.0], [9.0]])))
    above = 1 / (1 + np.exp([-2.0, -1.0, 0.0, 1.0]))
    assert np.allclose(probabilities[0], -np.diff([1.0, *above, 0.0]), atol=1e-6)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5) and probabilities[1].argmax() == 4


def test_history_inputs_know_training_days_only(small):
    train = small[0]
    part = pd.DataFrame(
        {
            "user_id": [1, 1, 3],
            "movie_id": [3, 3, 1],
            "timestamp": np.array([10, 12, 99]) * 86_400,
        }
    )
    inputs = history_inputs(train, part)
    assert inputs["day"].tolist() == [0, 2, 2], "days are counted from the first and cut at the last"
    assert inputs["user_day"].tolist() == [1, 0, 0], "user 1 has training ratings on day 10 only"
    assert history_inputs(train, train)["user_day"].tolist() == [1, 1, 2, 2, 3, 4]
    assert all(values.dtype == "int32" for values in inputs.values())


def test_side_features_have_unit_length(small):
    about_user, about_movie = side_features(*small[1:], n_users=5, n_items=6)
    assert about_user.shape == (5, 2 + 2 + 2) and about_movie.shape == (6, 3 + 2)
    assert np.allclose(np.linalg.norm(about_user[1:4], axis=1), 1) and not about_user[[0, 4]].any()
    assert np.isclose(about_movie[1].max(), 1 / np.sqrt(3)), "two genres and a period"
    assert np.isclose(about_user[2] @ about_user[3], 2 / 3), "users 2 and 3 share decade and occupation"


SWITCHES = ("user_history", "movie_history", "leave_one_out", "side", "day", "ordinal")


@pytest.mark.parametrize("off", [(), ("day",), ("side", "day"), ("ordinal",), SWITCHES])
def test_history_model_trains_with_any_part_off(small, off):
    train, users, movies = small
    model = history_model(train, side_features(users, movies, 5, 6), K=2, **dict.fromkeys(off, False))
    inputs = {name: history_inputs(train, train)[name] for name in model.input}
    ordinal = "ordinal" not in off
    assert set(inputs) == {"user_id", "movie_id"} | (set() if "day" in off else {"day", "user_day"})
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy" if ordinal else "mse")
    target = train["rating"].to_numpy() - 1 if ordinal else train["rating"].to_numpy()
    losses = model.fit(inputs, target, epochs=30, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert model.predict(inputs, verbose=0).shape == (6, 5 if ordinal else 1)


def test_history_model_without_parts_is_matrix_factorization(small):
    train, users, movies = small
    model = history_model(train, side_features(users, movies, 5, 6), K=2, **dict.fromkeys(SWITCHES, False))
    inputs = {name: history_inputs(train, train)[name] for name in model.input}
    other = matrix_factorization(5, 6, 2, mu=train["rating"].mean())
    for layer in ("P", "Q", "b_u", "b_i"):
        other.get_layer(layer).set_weights(model.get_layer(layer).get_weights())
    pairs = [train["user_id"].to_numpy()[:, None], train["movie_id"].to_numpy()[:, None]]
    assert np.allclose(model.predict(inputs, verbose=0), other.predict(pairs, verbose=0), atol=1e-5)


def test_vectors_start_different(small):
    train, users, movies = small
    square = (np.zeros((6, 2), "float32"), np.zeros((6, 2), "float32"))
    model = history_model(train, square, K=3)
    starts = [model.get_layer(name).get_weights()[0] for name in ("P", "Q", "user_history", "movie_history")]
    assert not any(np.array_equal(starts[i], starts[j]) for i in range(4) for j in range(i))


def test_a_saved_history_model_predicts_the_same(small, tmp_path):
    train, users, movies = small
    model = history_model(train, side_features(users, movies, 5, 6), K=2)
    inputs = history_inputs(train, train)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert np.array_equal(model.predict(inputs, verbose=0), again.predict(inputs, verbose=0))
