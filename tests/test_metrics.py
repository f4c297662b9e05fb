"""rmse and the baselines, on numbers small enough to check by hand."""

from course_utils.metrics import baseline_scores, bias_baseline, rmse

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def toy():
    """Two users, three movies: user 2 rates two stars below user 1; movie 30 has one rating."""
    return pd.DataFrame(
        {"user_id": [1, 1, 2, 2, 1], "movie_id": [10, 20, 10, 20, 30], "rating": [5, 4, 3, 2, 3]}
    )


def test_rmse_by_hand():
    assert rmse([4, 2, 5], [3, 2, 3]) == pytest.approx(np.sqrt(5 / 3), abs=1e-15)
    assert isinstance(rmse([4], [3]), float)


def test_rmse_takes_a_column_for_a_row():
    true = np.array([1.0, 2.0, 4.0])
    column = np.array([[1.5], [2.0], [3.0]])
    expected = np.sqrt(1.25 / 3)
    for pair in ((true, column), (column, true), (true[:, None], column), (pd.Series(true), column)):
        assert rmse(*pair) == pytest.approx(expected)


def test_rmse_counts_in_double_precision():
    # In int8, 127 - (-128) would overflow.
    assert rmse(np.array([127], dtype="int8"), np.array([-128], dtype="int8")) == 255


@pytest.mark.parametrize(
    ("true", "pred", "words"),
    [
        ([1, 2, 3], [1, 2], [r"\(3,\)", r"\(2,\)", "same number"]),
        ([1, 2, 3], [2], [r"\(3,\)", r"\(1,\)"]),
        (np.ones((3, 2)), np.ones((3, 2)), ["^y_true", r"\(3, 2\)"]),
        (np.ones(4), np.ones((2, 2)), ["^y_pred", r"\(2, 2\)"]),
        (3.0, 3.0, ["y_true", r"\(\)"]),
        (np.ones((1, 1, 1)), [1], ["y_true", r"\(1, 1, 1\)"]),
        ([], [], ["empty", r"\(0,\)"]),
        ([1, 2], [1, np.nan], ["y_pred", "1 values", "NaN"]),
        ([np.inf, 2], [1, 2], ["y_true", "infinite"]),
    ],
)
def test_rmse_refuses(true, pred, words):
    for word in words:
        with pytest.raises(ValueError, match=word):
            rmse(true, pred)


def test_rmse_refuses_a_row_vector():
    # (1, n) against (n, 1) is the broadcast that goes unnoticed most often.
    with pytest.raises(ValueError, match=r"\(1, 3\)"):
        rmse(np.ones((1, 3)), np.ones((3, 1)))


def test_biases_without_damping_solve_the_least_squares(toy):
    mu, b_u, b_i = bias_baseline(toy, damping=0, rounds=200)
    fitted = mu + toy["user_id"].map(b_u) + toy["movie_id"].map(b_i)
    # This table is exactly additive, so nothing may be left over.
    assert mu == pytest.approx(3.4)
    assert np.allclose(fitted, toy["rating"], atol=1e-6)
    assert b_u[1] - b_u[2] == pytest.approx(2)


def test_damping_draws_a_bias_of_few_ratings_to_zero(toy):
    _, _, plain = bias_baseline(toy, damping=0, rounds=200)
    _, _, damped = bias_baseline(toy, damping=5, rounds=200)
    assert abs(damped[30]) < 0.5 * abs(plain[30])


def test_one_round_by_hand(toy):
    mu, b_u, b_i = bias_baseline(toy, damping=1, rounds=1)
    # Movie 10 has the ratings 5 and 3, which lie 1.6 and -0.4 from 3.4: their sum 1.2 over 2 + 1.
    assert b_i[10] == pytest.approx(0.4)
    left = (3 - 3.4 - b_i[10]) + (2 - 3.4 - b_i[20])
    assert b_u[2] == pytest.approx(left / 3)


@pytest.mark.parametrize("bad", [{"damping": -1}, {"rounds": 0}])
def test_biases_refuse(toy, bad):
    with pytest.raises(ValueError, match=str(next(iter(bad.values())))):
        bias_baseline(toy, **bad)
    with pytest.raises(ValueError, match="0 ratings"):
        bias_baseline(toy.head(0))


def test_the_biases_of_the_course_are_five_zeros_and_ten_rounds(toy):
    found, expected = bias_baseline(toy), bias_baseline(toy, damping=5, rounds=10)
    assert found[0] == expected[0]
    assert all(a.equals(b) for a, b in zip(found[1:], expected[1:], strict=True))
    assert not found[1].equals(bias_baseline(toy, rounds=11)[1]), "the tenth round still moves them"
    assert found[1].index.name == "user_id" and found[2].index.name == "movie_id"


def test_baselines_fall_back_for_unseen_ids(toy):
    test = pd.DataFrame({"user_id": [3, 1], "movie_id": [99, 99], "rating": [3.4, 4.0]})
    scores = baseline_scores(toy, test)
    assert list(scores) == ["global mean", "user mean", "movie mean", "both biases"]
    assert scores["global mean"] == pytest.approx(np.sqrt(0.36 / 2))
    assert scores["user mean"] == pytest.approx(0)  # unknown user: 3.4; user 1: (5 + 4 + 3) / 3 = 4
    assert scores["movie mean"] == pytest.approx(scores["global mean"])


def test_an_unseen_id_has_no_bias(toy):
    """User 3 and movie 99 are new; user 1 and movie 20 keep what training found for them."""
    test = pd.DataFrame({"user_id": [3, 1, 3], "movie_id": [20, 99, 99], "rating": [3, 4, 2]})
    mu, b_u, b_i = bias_baseline(toy)
    expected = np.array([mu + b_i[20], mu + b_u[1], mu])
    assert expected.min() > 2 and expected.max() < 5, "nothing is cut here"
    score = baseline_scores(toy, test)["both biases"]
    assert score == pytest.approx(np.sqrt(np.mean((expected - [3, 4, 2]) ** 2)))


def test_baselines_on_the_source_split(ratings):
    from course_utils.data import split_ratings

    scores = baseline_scores(*split_ratings(ratings))
    published = {"global mean": 1.119, "user mean": 1.036, "movie mean": 1.012, "both biases": 0.930}
    assert {name: round(score, 3) for name, score in scores.items()} == published


def test_baselines_are_cut_to_the_scale_of_the_training_ratings():
    """Ratings from 10 to 100. User 0 and movie 0 get only the highest, and meet in the test part alone."""
    rows = [(user, movie, 10 if user and movie else 100) for user in range(10) for movie in range(10)]
    ratings = pd.DataFrame(rows, columns=["user_id", "movie_id", "rating"])
    train, test = ratings.iloc[1:], ratings.iloc[:1]
    mu, b_u, b_i = bias_baseline(train)
    assert mu + b_u[0] + b_i[0] > 110
    assert baseline_scores(train, test)["both biases"] == 0
    # The same upside down: user 0 and movie 0 get only the lowest.
    train, test = (part.assign(rating=110 - part["rating"]) for part in (train, test))
    assert baseline_scores(train, test)["both biases"] == 0


@pytest.mark.parametrize("beyond", [0, 200])
def test_the_scale_is_that_of_the_training_ratings_not_of_the_test(beyond):
    """Whoever looks at the test ratings to learn the scale has looked at what is to be predicted."""
    rows = [(user, movie, 10 if user and movie else 100) for user in range(10) for movie in range(10)]
    ratings = pd.DataFrame(rows, columns=["user_id", "movie_id", "rating"])
    test = ratings.iloc[:1].assign(rating=beyond)
    assert baseline_scores(ratings.iloc[1:], test)["both biases"] == abs(100 - beyond)
