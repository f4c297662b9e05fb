"""The network of notebook 07: its parts, its inputs, and that it is what its formula says, written in NumPy."""

import inspect

from course_utils.history import (
    NEAR,
    History,
    OrdinalStars,
    history_inputs,
    history_model,
    list_scores,
    near_in_time,
    side_features,
)
from course_utils.metrics import bias_baseline
from course_utils.models import matrix_factorization

import keras
import numpy as np
import pandas as pd
import pytest
from keras import ops

numbers = ops.convert_to_numpy  # of a weight or an output, whatever the backend
DAY = 86_400
SEEN = np.array([[1, 1, 0, 0], [1, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]], "float32")
SWITCHES = ("user_history", "movie_history", "leave_one_out", "part_biases", "side", "near", "ordinal")
PENALTIES = {  # which parts each penalty counts
    "lookup_l2": ("P", "Q"),
    "history_l2": ("user_history", "movie_history"),
    "bias_l2": ("b_u", "b_i"),
    "side_l2": ("user_side", "movie_side"),
    "part_bias_l2": ("b_user_history", "b_movie_history", "b_user_side", "b_movie_side"),
}


# --- The formula in NumPy -------------------------------------------------------------------------


def history_by_hand(table, train, own, other, pairs, leave_one_out):
    """Sum the vectors of what else is rated together with ``own``, over root n; pair after pair."""
    vectors = []
    for row, target in pairs:
        past = set(train.loc[train[own] == row, other])
        past -= {target} if leave_one_out else set()
        vectors.append(
            sum((table[column] for column in past), np.zeros(table.shape[1])) / max(len(past), 1) ** 0.5
        )
    return np.array(vectors)


def near_by_hand(train, part):
    """Go through the ratings one by one: the weighted errors of the same user's others, five times."""
    if part is train:
        rows, fold = np.zeros((len(train), 5)), np.arange(len(train)) % 10
        np.random.default_rng(0).shuffle(fold)
        for number in range(10):
            rows[fold == number] = near_by_hand(train[fold != number], train[fold == number])
        return rows
    mu, b_u, b_i = bias_baseline(train)
    rows = []
    for asked in part.itertuples():
        above, below = np.zeros(5), np.full(5, 2.0)
        for known in train.itertuples():
            if known.user_id == asked.user_id:
                distance = abs(known.timestamp - asked.timestamp)
                weight = np.exp(-distance / np.array([10, 60, 600, 3600, 86400]))
                above += weight * (known.rating - mu - b_u[known.user_id] - b_i[known.movie_id])
                below += weight
        rows.append(above / below)
    return np.array(rows)


def by_hand(model, train, features, part, off=()):
    """Return what the network should predict for the ratings in ``part``, and its parts by name."""
    on = {name: name not in off for name in SWITCHES}
    w = {layer.name: numbers(layer.trainable_weights[0]) for layer in model.layers if layer.trainable_weights}
    u, i = part["user_id"].to_numpy(), part["movie_id"].to_numpy()
    parts = {"P": w["P"][u], "Q": w["Q"][i], "b_u": w["b_u"][u], "b_i": w["b_i"][i]}
    user, movie, score = parts["P"], parts["Q"], parts["b_u"][:, 0] + parts["b_i"][:, 0]
    for side, own, other, pairs in (
        ("user", "user_id", "movie_id", list(zip(u, i, strict=True))),
        ("movie", "movie_id", "user_id", list(zip(i, u, strict=True))),
    ):
        if on[f"{side}_history"]:
            for name in (f"{side}_history", *([f"b_{side}_history"] if on["part_biases"] else [])):
                parts[name] = history_by_hand(w[name], train, own, other, pairs, on["leave_one_out"])
        if on["side"]:
            known = features[0][u] if side == "user" else features[1][i]
            for name in (f"{side}_side", *([f"b_{side}_side"] if on["part_biases"] else [])):
                parts[name] = known @ w[name]
    for name in ("user_history", "user_side"):
        user = user + parts.get(name, 0)
    for name in ("movie_history", "movie_side"):
        movie = movie + parts.get(name, 0)
    for name in PENALTIES["part_bias_l2"]:
        score = score + (parts[name][:, 0] if name in parts else 0)
    if on["near"]:
        score = score + near_by_hand(train, part) @ w["near_weights"][:, 0]
    score = score + (user * movie).sum(axis=1)
    if not on["ordinal"]:
        return (train["rating"].mean() + score)[:, None], parts
    above = 1 / (1 + np.exp(w["stars"] - score[:, None]))
    edge = np.ones((len(score), 1))
    return np.maximum(-np.diff(np.hstack([edge, above, 0 * edge])), 1e-6), parts


@pytest.fixture
def made():
    """Random ratings of 6 users and 8 movies within two minutes or days apart, other pairs, random features."""
    rng = np.random.default_rng(3)
    pairs = rng.permutation([(user, movie) for user in range(1, 7) for movie in range(1, 9)])
    ratings = pd.DataFrame(pairs, columns=["user_id", "movie_id"])
    ratings["rating"] = np.array([1, 2, 3, 3, 4, 4, 4, 5])[np.arange(48) % 8]
    ratings["timestamp"] = 10_200 * DAY + rng.integers(0, 120, 48) + DAY * rng.integers(0, 2, 48)
    train, part = ratings.iloc[:20].reset_index(drop=True), ratings.iloc[20:].copy()
    part.iloc[:2, 3] += [-30 * DAY, 30 * DAY]  # far from everything that training knows
    features = rng.random((7, 4), "float32"), rng.random((9, 5), "float32")
    return train, pd.concat([part, train.iloc[:6]]), features  # some of the pairs are in their own history


def with_random_weights(model, seed=4):
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(0, 0.5, weight.shape))
    return model


def inputs_of(model, train, part):
    known = history_inputs(train, part)
    return {name: ops.convert_to_tensor(known[name]) for name in model.input}


ALONE = ("movie_history", "leave_one_out", "part_biases", "side", "near", "ordinal")


@pytest.mark.parametrize("off", [(), *((name,) for name in SWITCHES), ALONE, SWITCHES], ids=" ".join)
def test_the_model_is_the_formula(made, off):
    train, part, features = made
    model = with_random_weights(history_model(train, features, K=3, **dict.fromkeys(off, False)))
    expected, _ = by_hand(model, train, features, part, off)
    assert set(model.input) == {"user_id", "movie_id"} | (set() if "near" in off else {"near"})
    for size in (len(part), 1):
        found = numbers(model(inputs_of(model, train, part.iloc[-size:])))
        assert np.allclose(found, expected[-size:], atol=1e-5)


@pytest.mark.parametrize("name", PENALTIES)
def test_each_penalty_counts_its_parts_alone(made, name):
    train, part, features = made
    penalties = dict.fromkeys(PENALTIES, 0.0) | {name: 0.3}
    model = with_random_weights(history_model(train, features, K=3, **penalties))
    model(inputs_of(model, train, part))
    parts = by_hand(model, train, features, part)[1]
    expected = 0.3 * sum((parts[one] ** 2).sum() for one in PENALTIES[name]) / len(part)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)


def test_the_penalties_of_the_course(made):
    """The strengths that notebook 07 found on its validation parts are the defaults."""
    train, part, features = made
    model = with_random_weights(history_model(train, features, K=3))
    model(inputs_of(model, train, part))
    parts = by_hand(model, train, features, part)[1]
    strengths = dict(lookup_l2=0.06, history_l2=0.006, side_l2=0.01, bias_l2=0.0004, part_bias_l2=0.001)
    expected = sum(
        strengths[name] * (parts[one] ** 2).sum() / len(part) for name in PENALTIES for one in PENALTIES[name]
    )
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)
    assert inspect.signature(history_model).parameters["K"].default == 128


def test_what_is_known_is_not_trained(made):
    train, part, features = made
    model = history_model(train, features, K=3)
    rows = {"P": 7, "Q": 9, "user_history": 9, "movie_history": 7, "user_side": 4, "movie_side": 5}
    rows |= {f"b_{name}": rows[name] for name in ("user_history", "movie_history", "user_side", "movie_side")}
    rows |= {"b_u": 7, "b_i": 9, "near_weights": 5, "stars": 4}
    trained = {layer.name: layer.trainable_weights for layer in model.layers if layer.trainable_weights}
    assert {name: weights[0].shape[0] for name, weights in trained.items()} == rows
    assert len(model.trainable_weights) == len(rows), "one table each"
    assert len(model.non_trainable_weights) == 6, "four 0/1 matrices, two tables of features"


def test_every_trained_weight_moves_in_a_step(made):
    train, _, features = made
    no_penalties = dict.fromkeys(PENALTIES, 0.0)
    model = with_random_weights(history_model(train, features, K=3, **no_penalties))
    before = [numbers(weight).copy() for weight in model.trainable_weights]
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="sparse_categorical_crossentropy")
    model.fit(inputs_of(model, train, train), train["rating"].to_numpy() - 1, batch_size=20, verbose=0)
    for weight, old in zip(model.trainable_weights, before, strict=True):
        assert not np.allclose(numbers(weight), old, atol=1e-6), weight.path


@pytest.mark.slow
def test_a_training_lowers_the_loss(made):
    train, _, features = made
    model = history_model(train, features, K=2)
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy")
    options = {"batch_size": 20, "epochs": 30, "verbose": 0}
    losses = model.fit(inputs_of(model, train, train), train["rating"].to_numpy() - 1, **options).history[
        "loss"
    ]
    assert losses[-1] < 0.95 * losses[0]


def test_without_parts_it_is_matrix_factorization(made):
    train, part, features = made
    model = with_random_weights(history_model(train, features, K=2, **dict.fromkeys(SWITCHES, False)))
    other = matrix_factorization(7, 9, 2, mu=train["rating"].mean())
    for layer in ("P", "Q", "b_u", "b_i"):
        other.get_layer(layer).set_weights(model.get_layer(layer).get_weights())
    pairs = [part["user_id"].to_numpy()[:, None], part["movie_id"].to_numpy()[:, None]]
    assert np.allclose(numbers(model(inputs_of(model, train, part))), numbers(other(pairs)), atol=1e-5)


def test_the_layers_have_the_names_of_the_formula(made):
    train, _, features = made
    model = history_model(train, features, K=2)
    dtypes = {name: one.dtype for name, one in model.input.items()}
    assert dtypes == {"user_id": "int32", "movie_id": "int32", "near": "float32"}
    names = {layer.name for layer in model.layers}
    drawn = {"user_vector", "movie_vector", "dot", "near_weights", "score", "stars"}
    assert names - {"user_id", "movie_id", "near"} == drawn.union(
        *PENALTIES.values(), {"user_features", "movie_features"}
    )
    plain = history_model(train, features, K=2, ordinal=False)
    assert plain.get_layer("add_mu") and plain.name == "history_model"


# --- How it starts --------------------------------------------------------------------------------


def test_vectors_start_small_and_different_and_biases_at_zero(made):
    train, _, features = made
    model = history_model(train, features, K=600)
    start = {
        layer.name: numbers(layer.trainable_weights[0]) for layer in model.layers if layer.trainable_weights
    }
    for name in ("b_u", "b_i", "near_weights"):
        assert not start[name].any(), f"{name}: what training never saw has to add nothing"
    vectors = ("P", "Q", "user_history", "movie_history", "user_side", "movie_side")
    for name in vectors:
        assert 0.045 < start[name].std() < 0.055 and abs(start[name].mean()) < 0.005, name
    rows = [start[name][0] for name in vectors]
    assert not any(np.array_equal(rows[i], rows[j]) for i in range(len(rows)) for j in range(i))


def test_thresholds_start_at_the_shares_of_the_stars(made):
    """Without any score the network predicts how often training saw each star."""
    train, part, features = made
    model = history_model(train, features, K=2)
    for weight in model.trainable_weights[:-1]:
        weight.assign(np.zeros(weight.shape))
    assert model.trainable_weights[-1] is model.get_layer("stars").thresholds
    shares = train["rating"].value_counts(normalize=True).sort_index().to_numpy()
    assert len(shares) == 5 and len(set(shares)) > 2
    assert np.allclose(numbers(model(inputs_of(model, train, part))), shares, atol=1e-5)


def test_stars_that_training_never_saw_get_a_share_in_a_thousand(made):
    train, _, features = made
    train["rating"] = train["rating"].clip(2, 4)
    thresholds = history_model(train, features, K=2).get_layer("stars").thresholds
    assert numbers(thresholds)[[0, 3]] == pytest.approx([-np.log(999), np.log(999)], rel=1e-4)


# --- The layers -----------------------------------------------------------------------------------


def test_history_is_the_sum_over_root_n():
    layer = History(4, 4, 3, leave_one_out=False)
    layer.build()
    layer.seen.assign(SEEN)
    table = numbers(layer.table)
    result = numbers(layer(np.array([1, 3]), np.array([0, 0])))
    assert np.allclose(result[0], (table[0] + table[2] + table[3]) / np.sqrt(3), atol=1e-6)
    assert np.array_equal(result[1], np.zeros(3)), "no history, no vector, and no division by zero"


def test_history_leaves_out_the_target_only_when_it_is_there():
    layer = History(4, 4, 3)
    layer.build()
    layer.seen.assign(SEEN)
    table = numbers(layer.table)
    result = numbers(layer(np.array([1, 1, 2]), np.array([2, 1, 3])))
    assert np.allclose(result[0], (table[0] + table[3]) / np.sqrt(2), atol=1e-6)
    assert np.allclose(result[1], (table[0] + table[2] + table[3]) / np.sqrt(3), atol=1e-6)
    assert np.allclose(result[2], 0, atol=1e-6)


def test_history_knows_nothing_before_it_is_told():
    layer = History(2, 3, 4)
    layer.build()
    assert layer.seen.shape == (2, 3) and layer.table.shape == (3, 4) and not np.any(numbers(layer.seen))
    assert (layer.table.name, layer.seen.name) == ("table", "seen")
    assert layer.compute_output_shape((None,), (None,)) == layer.compute_output_shape((None,)) == (None, 4)


def test_ordinal_probabilities_by_hand():
    layer = OrdinalStars([-2.0, -1.0, 0.0, 1.0])
    probabilities = numbers(layer(np.array([[0.0], [9.0]])))
    above = 1 / (1 + np.exp([-2.0, -1.0, 0.0, 1.0]))
    assert np.allclose(probabilities[0], -np.diff([1.0, *above, 0.0]), atol=1e-6)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5) and probabilities[1].argmax() == 4
    assert layer.thresholds.name == "thresholds"


def test_crossed_thresholds_give_no_probability_below_the_floor():
    probabilities = numbers(OrdinalStars([0.0, -1.0, 1.0, 2.0])(np.array([[0.5]])))
    assert probabilities[0, 1] == pytest.approx(1e-6) and probabilities.min() > 0


@pytest.mark.parametrize("leave_one_out", [True, False])
def test_a_saved_history_model_predicts_the_same(made, tmp_path, leave_one_out):
    train, part, features = made
    model = with_random_weights(history_model(train, features, K=2, leave_one_out=leave_one_out))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    inputs = inputs_of(model, train, part)
    assert np.array_equal(numbers(model(inputs)), numbers(again(inputs)))
    assert again.get_layer("stars").start == model.get_layer("stars").start


@pytest.mark.parametrize("layer", [History, OrdinalStars])
def test_a_saved_model_names_its_layers_after_the_course(layer):
    """The name stands in every file that was saved: under another one, the file can't be loaded."""
    assert keras.saving.get_registered_name(layer) == f"course_utils>{layer.__name__}"


# --- Its inputs -----------------------------------------------------------------------------------


def test_history_inputs(made):
    train, part, _ = made
    inputs = history_inputs(train, part)
    assert list(inputs) == ["user_id", "movie_id", "near"]
    assert inputs["user_id"].tolist() == part["user_id"].tolist() and inputs["user_id"].dtype == "int32"
    assert inputs["movie_id"].tolist() == part["movie_id"].tolist() and inputs["movie_id"].dtype == "int32"
    assert np.array_equal(inputs["near"], near_in_time(train, part))


def test_near_in_time_is_the_sum_by_hand(made):
    train, part, _ = made
    assert NEAR == (10, 60, 600, 3600, 86_400)
    for table in (part, train):
        near = near_in_time(train, table)
        assert near.dtype == "float32" and near.shape == (len(table), 5)
        assert np.allclose(near, near_by_hand(train, table), atol=1e-6)
    shuffled = train.sample(frac=1, random_state=0)  # neither the order nor the index matters
    assert np.allclose(near_in_time(shuffled, part), near_in_time(train, part), atol=1e-6)
    # A rating has no say in its own numbers, not even through the biases.
    other = train.copy()
    other.iloc[3, other.columns.get_loc("rating")] = 1 if other.iloc[3]["rating"] > 2 else 5
    before, after = near_in_time(train, train), near_in_time(other, other)
    assert np.array_equal(before[3], after[3]) and not np.array_equal(before, after)


def test_near_in_time_knows_training_ratings_of_the_same_user_only(made):
    train, part, _ = made
    near = near_in_time(train, part)
    assert np.allclose(near[:2, :3], 0, atol=1e-6), "a month away, nothing is near"
    strangers = part.assign(user_id=99)
    assert not near_in_time(train, strangers).any()
    other = train.copy()
    other.loc[other["user_id"] == 1, "timestamp"] += 7 * DAY
    changed = (near_in_time(other, part) != near).any(axis=1)
    assert set(part["user_id"][changed]) == {1}
    assert near_in_time(train, part, widths=(60,)).shape == (len(part), 1)
    assert np.array_equal(near_in_time(train, part, widths=(60,))[:, 0], near[:, 1])
    assert near_in_time(train, part.drop(columns="rating")).shape == near.shape, "the stars are not read"


USERS = pd.DataFrame(
    {"user_id": [1, 2, 4], "age": [29, 30, 39], "gender": ["F", "M", "F"], "occupation": ["a", "b", "b"]}
)
MOVIES = pd.DataFrame(
    {
        "movie_id": [1, 2, 3, 4, 5, 6, 7],
        "year": pd.array([1995, 1999, None, 1922, 1934, 1935, 1959], "Int64"),
        "genres": ["Comedy|Drama", "Drama", "unknown", "Comedy", "Drama|War", "Drama", "Comedy"],
    }
)


def test_side_features_say_what_two_have_in_common():
    """The product of two rows is what both have in common, over the root of both counts."""
    about_user, about_movie = side_features(USERS, MOVIES, n_users=6, n_items=9)
    people = {1: {20, "F", "a"}, 2: {30, "M", "b"}, 4: {30, "F", "b"}}
    films = {1: {1995, "C", "D"}, 2: {1995, "D"}, 3: {1930, "unknown"}, 4: {1930, "C"}}
    films |= {5: {1930, "D", "W"}, 6: {1935, "D"}, 7: {1955, "C"}}
    for table, known, shape in ((about_user, people, (6, 2 + 2 + 2)), (about_movie, films, (9, 4 + 4))):
        assert table.shape == shape and table.dtype == "float32"
        expected = np.zeros((len(table), len(table)))
        for one, words in known.items():
            for other, others in known.items():
                expected[one, other] = len(words & others) / np.sqrt(len(words) * len(others))
        assert np.allclose(table @ table.T, expected, atol=1e-6)
        assert (table >= 0).all()


@pytest.mark.parametrize("switches", [{}, {"side": False}, {"part_biases": False}, {"movie_history": False}])
def test_list_scores_give_the_order_of_the_model_for_unseen_pairs(switches):
    rng = np.random.default_rng(3)
    n_users, n_items = 6, 9
    pairs = [(u, i) for u in range(1, n_users) for i in range(1, n_items)]
    known = rng.permutation(len(pairs))[:16]
    train = pd.DataFrame([pairs[k] for k in known], columns=["user_id", "movie_id"])
    train["rating"] = 1 + np.arange(16) % 5
    features = (rng.random((n_users, 3)).astype("float32"), rng.random((n_items, 4)).astype("float32"))
    model = history_model(train, features, K=4, near=False, **switches)
    for weight in model.trainable_weights:
        if "thresholds" not in weight.path:
            weight.assign(rng.normal(size=weight.shape))
    scores = list_scores(model, n_users, n_items)
    assert scores.shape == (n_users, n_items)
    seen = set(map(tuple, train[["user_id", "movie_id"]].to_numpy()))
    for user_id in range(1, n_users):
        unseen = np.array([i for i in range(1, n_items) if (user_id, i) not in seen], dtype="int32")
        chances = model({"user_id": np.full(len(unseen), user_id, "int32"), "movie_id": unseen})
        stars = numbers(chances) @ np.arange(1.0, 6)
        order = np.argsort(-scores[user_id, unseen])
        assert (np.diff(stars[order]) <= 1e-6).all()


def test_list_scores_refuse_a_network_with_near():
    train = pd.DataFrame({"user_id": [1, 2], "movie_id": [1, 2], "rating": [1, 5]})
    features = (np.ones((3, 2), "float32"), np.ones((3, 2), "float32"))
    with pytest.raises(ValueError, match="near=False"):
        list_scores(history_model(train, features, K=2), 3, 3)
