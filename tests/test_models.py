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


def test_the_defaults_are_the_network_without_penalties(batch):
    """K = 200, no penalty, no dropout, linear activations, nothing added."""
    for model, layers in (
        (matrix_factorization(5, 4), ["P", "Q", "dot", "b_u", "b_i", "add", "rating"]),
        (
            deep_model(5, 4),
            [
                "P",
                "Q",
                "b_u",
                "b_i",
                "concatenate",
                "dense_1",
                "activation_1",
                "dense_2",
                "activation_2",
                "rating",
            ],
        ),
    ):
        model(batch)
        assert model.losses == []
        named = [layer.name for layer in model.layers if not layer.name.startswith("flatten")]
        assert sorted(named) == sorted(["user_id", "movie_id", *layers])
        assert model.get_layer("P").output.shape == (None, 1, 200)
    assert [model.get_layer(f"dense_{n}").units for n in (1, 2)] == [2048, 256]
    assert {model.get_layer(f"activation_{n}").activation for n in (1, 2)} == {keras.activations.linear}
    assert (matrix_factorization(5, 4).name, deep_model(5, 4).name) == ("matrix_factorization", "deep_model")


@pytest.mark.parametrize("build", [matrix_factorization, deep_model])
def test_the_inputs_are_two_columns_of_ids(build):
    model = build(5, 4, 3, mu=2.0)
    assert [(one.name, one.shape, one.dtype) for one in model.inputs] == [
        ("user_id", (None, 1), "int32"),
        ("movie_id", (None, 1), "int32"),
    ]
    assert model.output.shape == (None, 1) and model.get_layer("add_mu")


def test_dropout_stands_before_each_dense_layer():
    keras.utils.clear_session()  # or the names that Keras counts up could be the right ones by chance
    model = deep_model(5, 4, 3, hidden=(6, 2), dropout=0.3)
    drops = {layer.name: layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)}
    assert drops == {"dropout_1": 0.3, "dropout_2": 0.3, "dropout_last": 0.3}
    before = {"dense_1": "dropout_1", "dense_2": "dropout_2", "rating": "dropout_last"}
    for dense, drop in before.items():
        assert model.get_layer(dense).input is model.get_layer(drop).output


def test_sizes_of_one_are_enough():
    assert matrix_factorization(1, 1, 1).count_params() == 4


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
        ((0, 4, 3), {}, "^n_users must be at least 1, but it is 0"),
        ((5, -1, 3), {}, "^n_items"),
        ((5, 4, 2.5), {}, "^K must be a whole number, but it is 2.5"),
        ((5, 4, 3), {"table_l2": -0.1}, "^table_l2 must not be negative"),
        ((5, 4, 3), {"lookup_l2": -0.1}, "^lookup_l2"),
        ((5, 4, 3), {"bias_lookup_l2": -0.1}, "^bias_lookup_l2"),
    ],
)
def test_bad_input_is_named(build, sizes, options, words):
    with pytest.raises(ValueError, match=words):
        build(*sizes, **options)


def test_deep_model_refuses_bad_layers():
    for dropout in (1, -0.1):
        with pytest.raises(ValueError, match="dropout must be at least 0 and below 1"):
            deep_model(5, 4, 3, dropout=dropout)
    with pytest.raises(ValueError, match="^hidden must be at least 1"):
        deep_model(5, 4, 3, hidden=(8, 0))
