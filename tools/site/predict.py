"""What "predict your own stars" on the home page computes with: the movies' vectors of notebook 04.

They are trained once, from the ratings on this computer, and kept in ``build/predict``. The license of the data
forbids to pass them on, so a site for the public is built without (``make site PUBLIC=yes``).
"""

import base64
import hashlib
import json
import re
from pathlib import Path

from course_utils.data import load_movies, load_ratings, sizes, split_ratings
from course_utils.fetch import data_dir, find_tables
from course_utils.metrics import rmse
from course_utils.models import matrix_factorization
from course_utils.training import fit, set_seed
from tools.course import ROOT

import numpy as np
import pandas as pd

FOLDER = ROOT / "build" / "predict"
# The recipe of notebook 04, and the strong penalty on the bias that notebook 08 takes for a few ratings.
RECIPE = {"K": 64, "lookup_l2": 0.12, "bias_lookup_l2": 0.02}
L2, BIAS_L2 = 0.12, 0.5
# A change in one of these files trains again.
SOURCES = (Path(__file__), ROOT / "course_utils" / "models.py", ROOT / "course_utils" / "training.py")


def model_script(folder: Path = FOLDER) -> Path | None:
    """Return the JavaScript file with vectors, biases and titles; train when it is missing or outdated.

    Args:
        folder: where the file is kept.

    Returns:
        Its path, or None where the ratings are not on this computer: a website is no reason to fetch them.
    """
    if not find_tables(data_dir() / "ml-100k"):
        return None
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in SOURCES)).hexdigest()[:16]
    path = folder / f"predict-model-{digest}.js"
    if not path.is_file():
        content = f"window.COURSE_MODEL = {json.dumps(trained(), ensure_ascii=False)};\n"
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(content, encoding="utf-8")
        part.replace(path)  # whole or not at all
    return path


def trained() -> dict:
    """Train as notebook 04 does, and return what the page needs; vectors as 32-bit numbers in base64."""
    ratings, movies = load_ratings(), load_movies()
    train, test = split_ratings(ratings)
    n_users, n_items = sizes(ratings)
    mu = float(train["rating"].mean())
    set_seed(0)
    model = matrix_factorization(n_users, n_items, **RECIPE, mu=mu)
    fit(model, train)
    inputs = [test["user_id"], test["movie_id"]]
    score = rmse(test["rating"], model.predict(inputs, batch_size=4096, verbose=0).clip(1, 5))
    Q, b_i = (model.get_layer(name).get_weights()[0] for name in ("Q", "b_i"))
    counts = np.bincount(train["movie_id"], minlength=n_items)
    names = [in_order(*row) for row in movies[["title", "year"]].itertuples(index=False)]
    return {
        "K": RECIPE["K"],
        "mu": mu,
        "l2": L2,
        "biasL2": BIAS_L2,
        "rmse": round(score, 4),
        "titles": ["", *names],  # row 0 belongs to no movie
        "counts": counts.tolist(),
        "Q": _base64(Q),
        "b_i": _base64(b_i),
    }


def in_order(title: str, year: int) -> str:
    """Return "The Usual Suspects (1995)" for "Usual Suspects, The" and 1995.

    >>> in_order("Usual Suspects, The", 1995)
    'The Usual Suspects (1995)'
    """
    title = re.sub(r"^(.*), (The|An?)$", r"\2 \1", title)
    return title if pd.isna(year) else f"{title} ({year})"


def _base64(table: np.ndarray) -> str:
    return base64.b64encode(table.astype("<f4").tobytes()).decode()
