"""Lists and their metrics, on numbers small enough to check by hand, and beside scikit-learn."""

from course_utils.ranking import (
    coverage,
    ease,
    evaluate_lists,
    fold_in,
    gain_of_users,
    hide_last,
    hit_rate,
    mark,
    ndcg_at_k,
    ndcg_of_users,
    neighbors,
    precision_at_k,
    recall_at_k,
    recommend,
    top_n,
    varied_list,
)

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import ndcg_score

# Entry 0 belongs to no movie; it has the highest score on purpose.
SCORES = np.array([99, 0.1, 0.9, 0.5, 0.9, -2])


def test_top_n_sorts_and_breaks_ties_by_id():
    assert top_n(SCORES, n=5).tolist() == [2, 4, 3, 1, 5]
    assert top_n(SCORES, n=1).tolist() == [2]


def test_many_equal_scores_stay_in_the_order_of_the_ids():
    """NumPy's usual sort keeps the order of equal scores only in short rows: here are 400."""
    scores = np.tile([0.5, 0.5, 0.25, 0.5], 100)
    expected = [movie for movie in range(1, 400) if movie % 4 != 2] + list(range(2, 400, 4))
    assert top_n(scores, n=399).tolist() == expected
    assert top_n(scores, seen=[1], n=30).tolist() == expected[1:31]


def test_scores_may_be_whole_numbers_and_the_catalogue_one_movie():
    assert top_n([0, 3, 1, 2], seen=[1], n=3).tolist() == [3, 2]
    assert top_n([0, 3], n=1).tolist() == [1]


def test_row_0_may_hold_anything():
    for nothing in (np.nan, np.inf, -np.inf):
        assert top_n([nothing, 1, 3, 2], n=3).tolist() == [2, 3, 1]


def test_lists_have_ten_places():
    scores = np.arange(30.0)
    assert top_n(scores).tolist() == recommend(1, np.array([scores, scores]), np.zeros((2, 30), bool)).tolist()
    assert top_n(scores).tolist() == list(range(29, 19, -1))
    Q = np.random.default_rng(0).normal(size=(30, 3))
    assert len(neighbors(1, Q)[0]) == len(neighbors(1, Q)[1]) == 10
    assert list(evaluate_lists({1: range(1, 30)}, {1: [10, 11]})) == [
        "NDCG@10",
        "precision@10",
        "recall@10",
        "hit rate@10",
    ]


def test_top_n_leaves_out_what_was_seen_and_does_not_change_its_input():
    before = SCORES.copy()
    assert top_n(SCORES, seen=[2, 3, 2], n=2).tolist() == [4, 1]
    assert top_n(SCORES, seen=np.array([4]), n=np.int64(2)).tolist() == [2, 3]
    assert np.array_equal(SCORES, before)


def test_top_n_gets_shorter_and_empty():
    assert top_n(SCORES, seen=[1, 2, 3], n=5).tolist() == [4, 5]
    everything = top_n(SCORES, seen=range(1, 6), n=5)
    assert everything.tolist() == [] and everything.dtype.kind == "i"
    assert top_n([0, -np.inf, 1], n=2).tolist() == [2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n": 6}, "n=6 is more than the catalogue has: 5 movies"),
        ({"n": 0}, "^n must be at least 1"),
        ({"n": 2.0}, "^n must be a whole number"),
        ({"seen": [6]}, "Unknown movie 6: the ids go from 1 to 5"),
        ({"seen": [0]}, "Unknown movie 0"),
        ({"seen": ["Heat"]}, "A movie id is a whole number, but this is 'Heat'"),
        ({"scores": [[1, 2]]}, r"shape is \(1, 2\)"),
        ({"scores": [1]}, r"one row, .* shape is \(1,\)"),
        ({"scores": 1.0}, r"shape is \(\)"),
        ({"scores": [0, np.nan, 1]}, "holds NaN"),
    ],
)
def test_top_n_refuses(arguments, words):
    with pytest.raises(ValueError, match=words):
        top_n(**({"scores": SCORES, "n": 2} | arguments))


def test_recommend():
    scores = np.array([SCORES, SCORES, -SCORES])
    seen = np.zeros((3, 6), dtype=bool)
    seen[2, 5] = True
    seen[1, 1:] = True
    assert recommend(2, scores, seen, n=2).tolist() == [1, 3]
    assert recommend(1, scores, seen, n=2).tolist() == [], "Somebody who has seen everything gets no list."
    seen[2, 0] = True  # the unused row: nobody can have seen it, but it must not disturb
    assert recommend(2, scores, seen, n=1).tolist() == [1]
    for unknown in (0, 3, -1):
        with pytest.raises(ValueError, match=f"Unknown user {unknown}: the ids go from 1 to 2"):
            recommend(unknown, scores, seen)
    with pytest.raises(ValueError, match="A user id is a whole number"):
        recommend("7", scores, seen)
    with pytest.raises(ValueError, match="tables of one shape"):
        recommend(1, scores, seen[:2])
    with pytest.raises(ValueError, match="more than the catalogue"):
        recommend(1, scores, seen, n=6)


def test_metrics_by_hand():
    """Movies 2 and 9 are relevant. The list of three has movie 2 in its second place."""
    ranked, relevant = [4, 2, 1], [2, 9]
    assert precision_at_k(ranked, relevant, 3) == pytest.approx(1 / 3)
    assert recall_at_k(ranked, relevant, 3) == 0.5
    assert hit_rate(ranked, relevant, 3) == 1 and hit_rate(ranked, relevant, 1) == 0
    assert ndcg_at_k(ranked, relevant, 3) == pytest.approx((1 / np.log2(3)) / (1 + 1 / np.log2(3)))
    assert ndcg_at_k([9, 2], relevant, 2) == 1 and ndcg_at_k([9], [9], 5) == 1


def test_k_and_the_number_of_relevant_movies_differ():
    """Movies 1, 2 and 3 are in the list of six; 1, 3, 7, 8 and 9 are relevant."""
    ranked, relevant = [1, 2, 3, 4, 5, 6], [1, 3, 7, 8, 9]
    best = 1 / np.log2([2, 3, 4, 5, 6])
    for k, hits in ((1, 1), (2, 1), (3, 2), (6, 2), (20, 2)):
        assert precision_at_k(ranked, relevant, k) == hits / k
        assert recall_at_k(ranked, relevant, k) == hits / 5, "of all relevant movies, however short the list is"
        assert hit_rate(ranked, relevant, k) == 1
        found = best[0] + (best[2] if k > 2 else 0)
        assert ndcg_at_k(ranked, relevant, k) == pytest.approx(found / best[: min(k, 5)].sum())


def test_a_relevant_movie_counts_once():
    for metric in (precision_at_k, recall_at_k, hit_rate, ndcg_at_k):
        assert metric([1, 4, 2], [1, 1, 2, 5, 5, 5], 3) == metric([1, 4, 2], [1, 2, 5], 3) > 0


def test_metrics_of_short_and_empty_lists():
    assert precision_at_k([2], [2], 10) == 0.1
    for metric in (precision_at_k, recall_at_k, hit_rate, ndcg_at_k):
        assert metric([], [2], 10) == 0
        assert metric(np.array([7, 2]), {2}, 2) == metric([7, 2], np.array([2]), 2)


@pytest.mark.parametrize("k", [1, 3, 10, 40])
def test_ndcg_agrees_with_scikit_learn(k):
    rng = np.random.default_rng(k)
    for _ in range(50):
        scores = rng.random(41)
        relevant = rng.choice(np.arange(1, 41), size=rng.integers(1, 15), replace=False)
        truth = np.isin(np.arange(1, 41), relevant)
        expected = ndcg_score([truth], [scores[1:]], k=k)
        assert ndcg_at_k(top_n(scores, n=40), relevant, k) == pytest.approx(expected, abs=1e-12)
        # A list that ends at k is all that counts.
        assert ndcg_at_k(top_n(scores, n=k), relevant, k) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", [precision_at_k, recall_at_k, hit_rate, ndcg_at_k])
def test_metrics_refuse(metric):
    with pytest.raises(ValueError, match="^k must be at least 1"):
        metric([1], [1], 0)
    with pytest.raises(ValueError, match="relevant is empty"):
        metric([1], [], 3)
    with pytest.raises(ValueError, match="holds a movie twice"):
        metric([1, 1], [1], 2)


def test_evaluate_lists_is_the_mean_over_users_with_something_relevant():
    lists = {1: [4, 2, 1], 2: [3, 1, 2], 3: [1, 2, 3]}
    scores = evaluate_lists(lists, {1: [2, 9], 2: [5], 3: []}, k=3)
    assert list(scores) == ["NDCG@3", "precision@3", "recall@3", "hit rate@3"]
    assert scores["precision@3"] == pytest.approx(1 / 6) and scores["recall@3"] == 0.25
    assert scores["hit rate@3"] == 0.5
    assert scores["NDCG@3"] == pytest.approx(ndcg_at_k([4, 2, 1], [2, 9], 3) / 2)
    with pytest.raises(ValueError, match="No user has a relevant movie"):
        evaluate_lists(lists, {1: []})
    with pytest.raises(ValueError, match="User 7 has relevant movies, but no list"):
        evaluate_lists(lists, {7: [1]})


def test_coverage():
    assert coverage([[1, 2], np.array([2, 3])], n_movies=4) == 0.75
    assert coverage([], n_movies=4) == 0
    assert coverage([[1, 2], [3]], n_movies=3) == 1
    with pytest.raises(ValueError, match="catalogue only 1"):
        coverage([[1, 2]], n_movies=1)
    with pytest.raises(ValueError, match="^n_movies must be at least 1"):
        coverage([], n_movies=0)


@pytest.fixture
def movies():
    rng = np.random.default_rng(0)
    return rng.normal(size=(30, 4)), rng.normal(size=(30, 1))


def test_fold_in_by_hand():
    """One rating, one factor: (q^2 + l2, q; q, 1 + bias_l2) (p, b) = (q, 1) x what the bias leaves over."""
    p, b = fold_in({1: 5}, np.array([[0.0], [2.0]]), np.array([0.0, 0.5]), mu=3.5, l2=1, bias_l2=1)
    assert np.linalg.solve([[5, 2], [2, 2]], [2, 1]) == pytest.approx([p[0], b])
    assert (p[0], b) == pytest.approx((1 / 3, 1 / 6))


def test_fold_in_is_ridge_regression(movies):
    Q, b_i = movies
    stars = {3: 5, 8: 1, 20: 4.5, 29: 2}
    p, b = fold_in(stars, Q, b_i, mu=3.5, l2=0.12, bias_l2=0.12)
    rows = list(stars)
    X = np.column_stack([Q[rows], np.ones(4)])
    ridge = Ridge(alpha=4 * 0.12, fit_intercept=False).fit(X, np.array([5, 1, 4.5, 2]) - 3.5 - b_i[rows, 0])
    assert ridge.coef_ == pytest.approx(np.append(p, b)) and p.shape == (4,)


def test_fold_in_is_where_the_gradient_is_zero(movies):
    """The loss is written as it is in training: mean squared error plus two penalties of different strength."""
    Q, b_i = movies
    rows, stars = np.array([3, 8, 20, 29, 11]), np.array([5, 1, 4.5, 2, 3])
    p, b = fold_in(dict(zip(rows, stars, strict=True)), Q, b_i, mu=3.5, l2=0.3, bias_l2=0.05)

    def loss(p, b):
        error = stars - (3.5 + b + b_i[rows, 0] + Q[rows] @ p)
        return np.mean(error**2) + 0.3 * np.sum(p**2) + 0.05 * b**2

    for way in np.eye(5):
        up, down = (loss(p + step * way[:4], b + step * way[4]) for step in (1e-4, -1e-4))
        assert abs(up - down) / 2e-4 < 1e-8, "neither a little more nor a little less of anything is better"
    assert type(b) is float and p.dtype == "float64"


def test_fold_in_takes_what_a_network_has(movies):
    """Keras' tables are float32, and a profile may hold NumPy's whole numbers."""
    Q, b_i = (table.astype("float32") for table in movies)
    stars = {np.int64(3): 5, np.int64(8): np.float32(1)}
    p, b = fold_in(stars, Q, b_i, mu=3.5, l2=0.1, bias_l2=0.1)
    assert np.append(p, b) == pytest.approx(np.append(*fold_in({3: 5, 8: 1}, *movies, 3.5, 0.1, 0.1)), abs=1e-5)


def test_fold_in_finds_a_known_user(movies):
    Q, b_i = movies
    p = np.array([1.0, -0.5, 0.3, 0.0])
    stars = {row: 3.5 - 0.2 + b_i[row, 0] + Q[row] @ p for row in range(1, 30)}
    found, b = fold_in(stars, Q, b_i.ravel(), mu=3.5, l2=1e-9, bias_l2=1e-9)
    assert found == pytest.approx(p, abs=1e-6) and b == pytest.approx(-0.2, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stars": {}}, "The profile is empty: rate at least one movie"),
        ({"stars": {30: 4}}, "Unknown movie 30: the ids go from 1 to 29"),
        ({"stars": {0: 4}}, "Unknown movie 0"),
        ({"stars": {1: np.nan}}, "Ratings must be numbers"),
        ({"l2": 0}, "must be above 0"),
        ({"l2": np.nan}, "must be above 0"),
        ({"bias_l2": -1}, "must be above 0"),
        ({"bias_l2": 0}, "must be above 0"),
        ({"l2": 0, "bias_l2": 0}, "must be above 0"),
        ({"stars": {1: 4, 2: np.inf}}, "Ratings must be numbers"),
    ],
)
def test_fold_in_refuses(movies, change, words):
    arguments = {"stars": {1: 4}, "Q": movies[0], "b_i": movies[1], "mu": 3.5, "l2": 0.1, "bias_l2": 0.1}
    with pytest.raises(ValueError, match=words):
        fold_in(**(arguments | change))


def test_neighbors():
    Q = np.array([[9, 9], [1, 0], [5, 0.1], [0, 2], [-1, 0], [0, 0]])
    nearest, cosine = neighbors(1, Q, n=3)
    assert nearest.tolist() == [2, 3, 5], "The longest vector is not the nearest, the direction counts."
    assert cosine == pytest.approx([5 / np.hypot(5, 0.1), 0, 0])
    assert len(neighbors(1, Q, n=5)[0]) == 4, "All others: a movie is no neighbor of its own."
    with pytest.raises(ValueError, match="Unknown movie 6"):
        neighbors(6, Q)
    with pytest.raises(ValueError, match="Unknown movie 0"):
        neighbors(0, Q)
    with pytest.raises(ValueError, match="more than the catalogue"):
        neighbors(1, Q, n=6)


@pytest.mark.parametrize("factor", [-1, 1e-6, 1e6])
def test_neighbors_do_not_depend_on_length_or_sign_of_all_vectors(movies, factor):
    Q = movies[0]
    nearest, cosine = neighbors(7, Q, n=29)
    expected = [Q[7] @ row / np.linalg.norm(Q[7]) / np.linalg.norm(row) for row in Q]
    assert cosine == pytest.approx([expected[movie] for movie in nearest])
    assert sorted(nearest) == [movie for movie in range(1, 30) if movie != 7] and (np.diff(cosine) <= 0).all()
    again = neighbors(7, factor * Q, n=29)
    assert again[0].tolist() == nearest.tolist() and again[1] == pytest.approx(cosine)


def test_a_movie_without_a_vector_is_nobodys_neighbor():
    Q = np.array([[0, 0], [1, 0], [0, 0], [1, 1], [-1, 1]], "float32")
    nearest, cosine = neighbors(1, Q, n=3)
    assert nearest.tolist() == [3, 2, 4] and cosine == pytest.approx([0.5**0.5, 0, -(0.5**0.5)])
    assert neighbors(2, Q, n=3)[1].tolist() == [0, 0, 0]
    assert neighbors(4, Q, n=3)[0].tolist() == [2, 3, 1], "the last movie has neighbors, too"


# ---- hide_last, mark, ndcg_of_users, gain_of_users, ease


def _three_users():
    return pd.DataFrame(
        {
            "user_id": [1, 1, 1, 1, 2, 2, 2, 2],
            "movie_id": [4, 3, 2, 1, 1, 2, 3, 4],
            "rating": [5, 1, 4, 2, 5, 5, 1, 4],
            "timestamp": [10, 20, 30, 40, 7, 7, 7, 7],
        }
    )


def test_hide_last_takes_the_most_recent_and_keeps_the_order_of_the_file():
    old, hidden = hide_last(_three_users(), n=1)
    assert hidden[["user_id", "movie_id"]].to_numpy().tolist() == [[1, 1], [2, 4]]
    assert len(old) == 6
    old, hidden = hide_last(_three_users().iloc[::-1], n=1, skip=1)
    assert hidden[["user_id", "movie_id"]].to_numpy().tolist() == [[1, 2], [2, 2]]
    # With skip, the last one is in neither part.
    assert len(old) == 4 and 1 not in old.loc[old["user_id"] == 1, "movie_id"].to_numpy()


@pytest.mark.parametrize("options", [{"n": 0}, {"skip": -1}, {"n": 4}, {"n": 2, "skip": 2}])
def test_hide_last_refuses_what_leaves_nothing(options):
    with pytest.raises(ValueError):
        hide_last(_three_users(), **options)


def test_mark_sets_exactly_the_pairs():
    marked = mark(_three_users().iloc[:2], 3, 5)
    assert marked.dtype == bool and marked.sum() == 2 and marked[1, 4] and marked[1, 3]


def test_ndcg_of_users_is_ndcg_of_each_list():
    rng = np.random.default_rng(0)
    for _ in range(30):
        scores = rng.integers(0, 4, (7, 13)).astype(float)  # with ties
        seen, relevant = rng.random((7, 13)) < 0.3, rng.random((7, 13)) < 0.3
        relevant[:, 0] = relevant[0] = False
        relevant &= ~seen
        relevant[2, 5:], relevant[3] = False, False
        seen[4, 1:], relevant[4] = True, False
        users = np.flatnonzero(relevant.any(axis=1))
        expected = [
            ndcg_at_k(recommend(user, scores, seen, 3), np.flatnonzero(relevant[user]), 3) for user in users
        ]
        assert np.allclose(ndcg_of_users(scores, seen, relevant, k=3), expected, atol=1e-12)


def test_ndcg_of_users_refuses_nan_shapes_and_nothing_relevant():
    table, no = np.zeros((3, 4)), np.zeros((3, 4), dtype=bool)
    with pytest.raises(ValueError, match="NaN"):
        ndcg_of_users(np.full((3, 4), np.nan), no, ~no)
    with pytest.raises(ValueError, match="one shape"):
        ndcg_of_users(table, no, no[:2])
    with pytest.raises(ValueError, match="nothing to score"):
        ndcg_of_users(table, no, no)


def test_a_seen_movie_is_no_hit_even_when_it_is_marked_relevant():
    scores = np.array([[0, 0, 0], [0, 9.0, 1.0]])
    seen, relevant = scores > 5, scores > 0.5
    # Movie 1 is left out of the list, and movie 2 moves to the first place: one of two.
    assert np.isclose(ndcg_of_users(scores, seen, relevant, k=2)[0], 1 / (1 + 1 / np.log2(3)))


def test_gain_of_users_is_the_mean_difference_with_an_interval_that_holds_it():
    rng = np.random.default_rng(1)
    before = rng.random(400)
    gain, low, high = gain_of_users(before, before + rng.normal(0.1, 1, 400))
    assert low < gain < high and abs((high - low) / 2 - 1.96 * 1 / 20) < 0.02
    assert gain_of_users(before, before + 0.5)[1:] == pytest.approx((0.5, 0.5))
    with pytest.raises(ValueError, match="one length"):
        gain_of_users(before, before[:-1])


def test_ease_solves_its_least_squares_problem():
    X = (np.random.default_rng(2).random((30, 6)) < 0.4).astype(float)
    weights = ease(X, l2=2.0)
    assert np.allclose(np.diag(weights), 0)
    for movie in range(6):  # each column: ridge regression on the other columns
        others = np.arange(6) != movie
        best = np.linalg.solve(X[:, others].T @ X[:, others] + 2 * np.eye(5), X[:, others].T @ X[:, movie])
        assert np.allclose(weights[others, movie], best)
    with pytest.raises(ValueError, match="above 0"):
        ease(X, 0)


def test_varied_list_takes_turns_by_hand():
    scores = np.array([10.0, 9.0, 5.0, 0.0])  # stretched: 1, 0.9, 0.5, 0
    alike = np.eye(4)
    alike[0, 1] = alike[1, 0] = 0.8
    assert varied_list(scores, alike, weight=0, n=4).tolist() == [0, 1, 2, 3]
    # With weight 1: 1 (value 1), then 0.9 - 0.8 = 0.1 against 0.5 and 0: candidate 2 comes second.
    assert varied_list(scores, alike, weight=1, n=3).tolist() == [0, 2, 1]
    # With weight 2: 0.9 - 1.6 is below 0: candidate 3 before candidate 1.
    assert varied_list(scores, alike, weight=2, n=4).tolist() == [0, 2, 3, 1]
    assert varied_list(np.ones(3), np.zeros((3, 3)), weight=1, n=3).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("shape", "n"), [((3, 3), 4), ((3, 2), 2), ((4, 4), 0)])
def test_varied_list_refuses_what_does_not_fit(shape, n):
    with pytest.raises(ValueError):
        varied_list(np.arange(3.0) if shape[0] == 3 else np.arange(4.0), np.zeros(shape), weight=1, n=n)
