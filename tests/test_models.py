"""The two architectures: sizes, formula, penalties, bad input."""

from course_utils.models import deep_model, matrix_factorization

import keras
import numpy as np
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
