"""The network of notebook 07: its parts, its inputs, and that it is what its formula says."""

from course_utils.history import History, OrdinalStars, history_inputs, history_model, side_features
from course_utils.models import matrix_factorization

import keras
import numpy as np
import pandas as pd
import pytest

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
