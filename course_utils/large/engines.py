"""Two engines from outside, each in a process of its own: Spark's ALS and faiss' approximate neighbors.

``python -m course_utils.large.engines als|neighbors|learned SETTINGS RESULT`` runs one of them; ``run_engine``
does so from a notebook. Why not in the notebook's own process? Spark fills the screen with messages. And faiss
has its own copy of OpenMP: several copies in one process can crash it, above all on macOS. So nothing here
imports TensorFlow or scikit-learn.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from course_utils.made import factors, falling

import numpy as np

JAVA = 17  # the oldest Java that Spark 4 runs on


class EngineMissing(RuntimeError):
    """Something that the engine needs is not installed. The message says what, and how to get it."""


class EngineFailed(RuntimeError):
    """The engine started, but did not finish. The message holds the last line that it printed."""


def java_version() -> int | None:
    """Return the main version of the Java that Spark would use (17, 21, ...), or None when there is none."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home, "bin"))) if home else shutil.which("java")
    if not java:
        return None
    said = subprocess.run([java, "-version"], capture_output=True, encoding="utf-8", check=False)
    found = re.search(r'version "(?:1\.)?([0-9]+)', said.stderr + said.stdout)
    return int(found[1]) if found else None


def check_engine(name: str) -> None:
    """Raise EngineMissing, with a sentence that says what to install, if an engine can't run."""
    package = {"als": "pyspark", "neighbors": "faiss", "learned": "faiss"}[name]
    if importlib.util.find_spec(package) is None:
        raise EngineMissing(f"The package {package} is not installed. Run `make tools` once, then this again.")
    if name == "als" and (version := java_version() or 0) < JAVA:
        found = f"found Java {version}" if version else "found none"
        raise EngineMissing(
            f"Spark needs Java {JAVA} or newer, but {found}. Install a JDK {JAVA} (adoptium.net or your "
            "package manager), or let JAVA_HOME name one that you have. Then run this again."
        )


def run_engine(name: str, settings: dict, limit: float = 600) -> dict:
    """Run ``als``, ``neighbors`` or ``learned`` in a fresh process and return what it returns.

    Args:
        name: "als", "neighbors" or "learned".
        settings: the arguments of that function.
        limit: seconds to wait at most.

    Raises:
        EngineMissing: when a package or Java is missing.
        EngineFailed: when the process fails or takes too long.
    """
    check_engine(name)
    with tempfile.TemporaryDirectory() as folder:
        given, result, said = (Path(folder, file) for file in ("settings.json", "result.json", "said.txt"))
        given.write_text(json.dumps(settings), encoding="utf-8")
        command = [sys.executable, "-m", "course_utils.large.engines", name, str(given), str(result)]
        with open(said, "wb") as output:
            try:
                done = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=limit,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise EngineFailed(f"{name} was not done after {limit:g} s, so it was ended.") from None
        if done.returncode:
            text = said.read_text(encoding="utf-8", errors="replace").strip() or "nothing"
            raise EngineFailed(
                f"{name} ended with exit code {done.returncode}. It said last: {text.splitlines()[-1][:300]}"
            )
        return json.loads(result.read_text(encoding="utf-8"))


def als(
    train: str,
    test: str,
    *,
    rank: int = 10,
    reg: float = 0.1,
    iterations: int = 10,
    cores: int = 2,
    seed: int = 0,
    memory: str = "2g",
) -> dict:
    """Fit Spark's ALS: target = P_u . Q_i, without biases.

    ALS means alternating least squares: with Q fixed, every P_u is the solution of a small linear system, and
    the other way round. Spark multiplies the penalty by the number of ratings of the row, as do Zhou
    and others, "Large-Scale Parallel Collaborative Filtering for the Netflix Prize", AAIM 2008.

    Args:
        train: a Parquet file or folder with user_id, movie_id and target.
        test: one with the column row as well: the place of the prediction in the result.
        rank: number of factors, K.
        reg: penalty.
        iterations: times that both P and Q are solved.
        cores: threads of the local cluster.
        seed: of the first factors.
        memory: of Spark's Java process.

    Returns:
        predictions (None for users and movies without training ratings), start_seconds (until the cluster is up
        and the ratings are loaded), fit_seconds, n_train.
    """
    from pyspark.ml.recommendation import ALS
    from pyspark.sql import SparkSession

    start = time.perf_counter()
    builder = SparkSession.builder.master(f"local[{cores}]").config("spark.driver.memory", memory)
    for key, value in {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": str(2 * cores),
        "spark.default.parallelism": str(2 * cores),
    }.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    try:
        ratings = spark.read.parquet(train).select("user_id", "movie_id", "target").cache()
        n_train = ratings.count()
        loaded = time.perf_counter()
        engine = ALS(rank=rank, regParam=reg, maxIter=iterations, seed=seed)
        engine.setNumBlocks(2 * cores).setUserCol("user_id").setItemCol("movie_id").setRatingCol("target")
        model = engine.fit(ratings)
        fitted = time.perf_counter()
        rows = model.transform(spark.read.parquet(test)).select("row", "prediction").collect()
    finally:
        spark.stop()
    predictions = [None if np.isnan(p) else p for _, p in sorted((row.row, row.prediction) for row in rows)]
    return {
        "predictions": predictions,
        "start_seconds": loaded - start,
        "fit_seconds": fitted - loaded,
        "n_train": n_train,
    }


def item_vectors(n_items: int, K: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Make factors that look learned: (Q of shape (n_items, K + 1), 1000 users of shape (1000, K + 1)).

    Each factor is weaker than the one before it, and the last column holds the biases: b_i for a movie, 1 for
    a user. So one inner product is P_u . Q_i + b_i, all that a ranking needs.
    """
    rng = np.random.default_rng(seed)
    Q = np.column_stack([factors(rng, n_items, falling(K)), rng.normal(0, 0.4, n_items)])
    P = np.column_stack([factors(rng, 1000, falling(K)), np.ones(1000)])
    return Q.astype("float32"), P.astype("float32")


def same_length(Q: np.ndarray) -> np.ndarray:
    """Add a column to Q that gives all rows the same length, so that the best product is the nearest point.

    For rows of equal length, ``|u - q|^2 = |u|^2 + |q|^2 - 2 u.q`` is smallest where ``u.q`` is largest. A user
    gets 0 in the new column, which leaves the product as it was. (Bachrach and others, "Speeding Up the Xbox
    Recommender System Using a Euclidean Transformation for Inner-Product Spaces", RecSys 2014)
    """
    squares = (Q**2).sum(axis=1)
    return np.column_stack([Q, np.sqrt(squares.max() - squares)]).astype("float32")


def approximate_neighbors(
    n_items: int, *, K: int = 32, lists: int = 1024, probes: Sequence[int] = (8, 32, 128), queries: int = 200
) -> dict:
    """Find the ten best items of a user among many: exactly, and with an inverted file index (IVF) of faiss.

    The index sorts the items into ``lists`` groups of near points (k-means) and looks only into the few groups
    whose centers are nearest to the user. faiss: Douze and others, "The Faiss library", arXiv 2401.08281, 2024.

    Args:
        n_items: number of item vectors, made by ``item_vectors``.
        K: number of factors.
        lists: groups.
        probes: how many groups to look into, one measurement each.
        queries: users, one after the other, on one thread: as in a server that answers one request a thread.

    Returns:
        build_seconds, exact_ms (a query), and for each of ``probes``: ms, recall (share of the true ten that
        were found), speed_up (over exact).
    """
    import faiss

    Q, P = item_vectors(n_items, K)
    P = P[:queries]
    exact = faiss.IndexFlatIP(K + 1)
    exact.add(Q)
    start = time.perf_counter()
    points = same_length(Q)
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(K + 2), K + 2, lists)
    index.train(points[: 64 * lists])
    index.add(points)
    build_seconds = time.perf_counter() - start
    faiss.omp_set_num_threads(1)

    def search(one, users):
        start = time.perf_counter()
        found = np.concatenate([one.search(user[None], 10)[1] for user in users])
        return found, (time.perf_counter() - start) / len(users) * 1000

    truth, exact_ms = search(exact, P)
    measured = []
    for number in probes:
        index.nprobe = number
        found, ms = search(index, np.column_stack([P, np.zeros(len(P), "float32")]))
        recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)])
        measured.append({"probes": number, "ms": ms, "recall": float(recall), "speed_up": exact_ms / ms})
    return {"build_seconds": build_seconds, "exact_ms": exact_ms, "approximate": measured}


def near_copies(Q: np.ndarray, n: int, noise: float, seed: int = 0) -> np.ndarray:
    """Make many vectors from few learned ones: draw n rows of Q, with replacement, and add noise to each.

    The noise of a column has the standard deviation ``noise`` times that of the column. So the many lie in the
    clusters of the few. They are no films.
    """
    rng = np.random.default_rng(seed)
    drawn = Q[rng.integers(0, len(Q), n)]
    return (drawn + noise * Q.std(axis=0) * rng.normal(size=drawn.shape)).astype("float32")


def compare_indexes(P: np.ndarray, Q: np.ndarray, n_items: int = 0) -> tuple[int, list[dict]]:
    """Run ``learned_neighbors`` in a process of its own; return n_items and the indexes (notebook 09).

    Args:
        P: the users' vectors.
        Q: the items'.
        n_items: search among so many ``near_copies`` of the items; 0 means the items.

    Raises:
        EngineMissing: when faiss is missing.
        EngineFailed: when the process fails or takes too long.
    """
    check_engine("learned")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "vectors.npz")
        np.savez(file, P=P, Q=Q)
        result = run_engine("learned", {"file": str(file), "n_items": n_items})
    return result["n_items"], result["indexes"]


def learned_neighbors(
    file: str, *, n_items: int = 0, noise: float = 0.3, queries: int = 200, seed: int = 0
) -> dict:
    """Find the ten best items of a user among learned vectors: exactly, and with faiss (notebook 09).

    IVF looks only into the tenth of the groups (k-means) that is nearest. HNSW walks through a graph of near
    items (Malkov and Yashunin, "Efficient and Robust Approximate Nearest Neighbor Search Using Hierarchical
    Navigable Small World Graphs", IEEE TPAMI 42(4), 2020). Both are measured twice: with products, and with the
    distances between points of the ``same_length``. PQ keeps one byte for every four numbers of a vector: which
    of 256 learned pieces is nearest (Jegou, Douze and Schmid, "Product Quantization for Nearest Neighbor
    Search", IEEE TPAMI 33(1), 2011).

    Args:
        file: an npz file with the users' vectors ``P`` and the items' ``Q``, whose columns are a multiple of 4.
        n_items: search among this many ``near_copies`` of the items instead of the items; 0 means the items.
        noise: of the copies.
        queries: users, one after the other, on one thread.
        seed: of the copies.

    Returns:
        n_items, and one entry for each index in ``indexes``, the exact one first: name, build_seconds, ms (a
        query), recall (share of the true ten among the ten that were found), recall_100 (among a hundred that
        were found), bytes (an item, in the saved index).
    """
    import faiss

    with np.load(file) as vectors:
        P, Q = (np.ascontiguousarray(vectors[name], "float32") for name in ("P", "Q"))
    Q = near_copies(Q, n_items, noise, seed) if n_items else Q
    P, K, groups = P[:queries], Q.shape[1], max(16, int(len(Q) ** 0.5))
    points, as_points = same_length(Q), np.column_stack([P, np.zeros(len(P))])[:queries].astype("float32")
    near, product = faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT
    by_product = {
        "exact": faiss.IndexFlatIP(K),
        "IVF": faiss.IndexIVFFlat(faiss.IndexFlatIP(K), K, groups, product),
        "HNSW": faiss.IndexHNSWFlat(K, 16, product),
        "PQ": faiss.IndexPQ(K, K // 4, 8, product),
    }
    by_distance = {
        "IVF, same length": faiss.IndexIVFFlat(faiss.IndexFlatL2(K + 1), K + 1, groups, near),
        "HNSW, same length": faiss.IndexHNSWFlat(K + 1, 16, near),
    }
    measured, truth = [], None
    for name, index in (by_product | by_distance).items():
        items, users = (points, as_points) if name in by_distance else (Q, P)
        if name.startswith("IVF"):
            index.nprobe = groups // 10
            index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, 64
        elif name.startswith("HNSW"):
            index.hnsw.efSearch = 64
        elif name == "PQ":
            index.pq.cp.min_points_per_centroid, index.pq.cp.max_points_per_centroid = 1, 40
            index.pq.cp.niter = 10
        faiss.omp_set_num_threads(os.cpu_count() or 1)
        start = time.perf_counter()
        index.train(items)
        index.add(items)
        built = time.perf_counter() - start
        faiss.omp_set_num_threads(1)
        start = time.perf_counter()
        found = np.concatenate([index.search(user[None], 10)[1] for user in users])
        ms = (time.perf_counter() - start) / len(users) * 1000
        truth = found if truth is None else truth
        more = index.search(users, 100)[1]
        recall, among_100 = (
            np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, other, strict=True)])
            for other in (found, more)
        )
        measured.append(
            {
                "name": name,
                "build_seconds": built,
                "ms": ms,
                "recall": float(recall),
                "recall_100": float(among_100),
                "bytes": faiss.serialize_index(index).nbytes / len(items),
            }
        )
    return {"n_items": len(Q), "indexes": measured}


if __name__ == "__main__":
    name, given, result = sys.argv[1:]
    settings = json.loads(Path(given).read_text(encoding="utf-8"))
    engine = {"als": als, "neighbors": approximate_neighbors, "learned": learned_neighbors}[name]
    done = engine(**settings)
    Path(result).write_text(json.dumps(done), encoding="utf-8")
