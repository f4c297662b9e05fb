"""The first stage of notebook 09: candidates, their recall, and the engine for learned vectors."""

import time

from course_utils import ranking, retrieval
from course_utils.large import engines

import keras
import numpy as np
import pandas as pd
import pytest

try:
    engines.check_engine("learned")
    MISSING = None
except engines.EngineMissing as reason:
    MISSING = str(reason)


@pytest.fixture
def tables():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(30, 41))
    seen, liked = rng.random((30, 41)) < 0.3, rng.random((30, 41)) < 0.1
    seen[:, 0] = liked[:, 0] = False
    return scores, seen, liked & ~seen


@pytest.mark.parametrize("n", [1, 5, 20])
def test_candidates_are_the_best_unseen_movies(tables, n):
    scores, seen, _ = tables
    before = scores.copy()
    for user, found in enumerate(retrieval.candidates(scores, seen, n)):
        assert set(found) == set(ranking.top_n(scores[user], np.flatnonzero(seen[user]), n))
    assert np.array_equal(scores, before)


def test_column_0_is_no_candidate_even_when_little_is_unseen():
    seen = np.array([[False, True, True, False]])
    assert sorted(retrieval.candidates(np.array([[9.0, 1, 2, 3]]), seen, 3)[0]) == [1, 2, 3]


@pytest.mark.parametrize("n", [1, 5, 20])
def test_recall_is_that_of_the_lists(tables, n):
    scores, seen, liked = tables
    users = np.flatnonzero(liked.any(axis=1))
    by_hand = [
        ranking.recall_at_k(
            ranking.top_n(scores[user], np.flatnonzero(seen[user]), n), np.flatnonzero(liked[user]), n
        )
        for user in users
    ]
    assert np.allclose(retrieval.recall_of_users(scores, seen, liked, n), by_hand)


def test_a_seen_movie_is_never_found():
    seen = liked = np.array([[False, True, False, False]])
    assert retrieval.recall_of_users(np.zeros((1, 4)), seen, liked, 3)[0] == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda scores, seen, liked: (scores[:, 1:], seen, liked, 3), "tables of one shape"),
        (lambda scores, seen, liked: (scores[0], seen[0], liked, 3), "tables of one shape"),
        (lambda scores, seen, liked: (scores * np.nan, seen, liked, 3), "NaN"),
        (lambda scores, seen, liked: (scores, seen, liked, 41), "too large: there are 40 movies"),
        (lambda scores, seen, liked: (scores, seen, liked, 0), "n must be"),
        (lambda scores, seen, liked: (scores, seen, liked & False, 3), "nothing to find"),
    ],
)
def test_what_makes_no_sense_is_refused(tables, change, words):
    scores, seen, liked, n = change(*tables)
    with pytest.raises(ValueError, match=words):
        retrieval.recall_of_users(scores, seen, liked, n)


def test_the_second_stage_orders_what_the_first_picked(tables):
    scores, seen, liked = tables
    second = np.random.default_rng(3).normal(size=scores.shape)
    ranked = retrieval.rank_candidates(scores, second, seen, n=8)
    for user in range(len(scores)):
        picked = ranking.top_n(scores[user], np.flatnonzero(seen[user]), 8)
        assert set(np.flatnonzero(np.isfinite(ranked[user]))) == set(picked)
        assert np.array_equal(ranked[user, picked], second[user, picked])
    whole = retrieval.rank_candidates(scores, second, seen & False, n=40)
    assert np.array_equal(whole[:, 1:], second[:, 1:])


def test_the_table_holds_what_the_functions_say(tables):
    scores, seen, liked = tables
    liked[:, 5], seen[:, 5] = True, False
    wide = [np.repeat(table, 4, axis=1)[:, 3:] for table in tables]
    models = {"a": ("seen", wide[0]), "b": ("nothing", -wide[0])}
    table = retrieval.compare(models, wide[1], wide[2], than="a")
    assert table["knows"].to_dict() == {"a": "seen", "b": "nothing"}
    ndcg = {name: ranking.ndcg_of_users(scores, *wide[1:]) for name, (_, scores) in models.items()}
    for name, (_, scores) in models.items():
        assert table.loc[name, "NDCG@10"] == ndcg[name].mean()
        assert table.loc[name, "recall@100"] == retrieval.recall_of_users(scores, *wide[1:], 100).mean()
        assert np.allclose(
            table.loc[name, ["gain", "from", "to"]].astype(float), ranking.gain_of_users(ndcg["a"], ndcg[name])
        )
    lists = [ranking.top_n(wide[0][user], np.flatnonzero(wide[1][user])) for user in range(30)]
    assert table.loc["a", "median ratings"] == np.median(wide[1].sum(axis=0)[np.concatenate(lists)])
    assert list(retrieval.compare(models, wide[1], wide[2])) == list(table)[:4]


def test_vectors_are_asked_for_without_a_movie():
    ids = {name: keras.Input(shape=(), dtype="int32", name=name) for name in ("user_id", "movie_id")}
    user, movie = (keras.ops.cast(one[:, None], "float32") for one in ids.values())
    towers = keras.Model(ids, [1000 * user + movie, movie + 1000 * user])
    P, Q = retrieval.vectors(towers, n_users=4, n_items=3)
    assert P.tolist() == [[0], [1000], [2000], [3000]] and Q.tolist() == [[0], [1], [2]]


def test_the_first_call_does_not_count():
    calls = []
    spent = retrieval.milliseconds(lambda: calls.append(1) or (len(calls) == 1 and time.sleep(0.2)), repeat=3)
    assert len(calls) == 4 and 0 <= spent < 150


def test_folding_in_all_is_folding_in_each():
    rng = np.random.default_rng(4)
    Q, b_i = rng.normal(size=(6, 2)), rng.normal(size=(6, 1))
    part = pd.DataFrame({"user_id": [1, 1, 3], "movie_id": [2, 5, 4], "rating": [5, 3, 1]})
    stars = retrieval.fold_in_all(part, Q, b_i, 3.5, 5, l2=0.1, bias_l2=0.3)
    assert stars.shape == (5, 6) and np.allclose(stars[[0, 2, 4]], 3.5 + b_i.T)
    p, b = ranking.fold_in({2: 5, 5: 3}, Q, b_i, 3.5, l2=0.1, bias_l2=0.3)
    assert np.allclose(stars[1], 3.5 + b + b_i[:, 0] + Q @ p)


def test_near_copies_stay_near():
    Q = np.random.default_rng(1).normal(size=(50, 8)).astype("float32")
    same = engines.near_copies(Q, 200, noise=0)
    assert same.shape == (200, 8) and {tuple(row) for row in same} <= {tuple(row) for row in Q}
    assert np.abs(engines.near_copies(Q, 200, noise=0.1) - same).mean() < 0.2
    assert not np.array_equal(engines.near_copies(Q, 9, 0, seed=1), engines.near_copies(Q, 9, 0, seed=2))


@pytest.mark.slow
@pytest.mark.skipif(MISSING is not None, reason=f"faiss can't run: {MISSING}")
def test_indexes_find_most_of_the_true_ten():
    rng = np.random.default_rng(2)
    for n_items in (0, 1000):
        n, indexes = engines.compare_indexes(rng.normal(size=(20, 8)), rng.normal(size=(600, 8)), n_items)
        found = {index["name"]: index for index in indexes}
        assert {"exact", "IVF", "HNSW", "PQ", "IVF, same length", "HNSW, same length"} == set(found)
        assert found["exact"]["recall"] == 1 and found["HNSW"]["recall"] > 0.8
        assert n == (n_items or 600)
        assert all(index["recall"] <= index["recall_100"] <= 1 for index in found.values())
        assert found["exact"]["bytes"] < found["HNSW"]["bytes"]
        assert all(index["ms"] > 0 and 0 < index["recall"] <= 1 for index in found.values())
