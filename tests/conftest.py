"""Fixtures that more than one test file uses."""

from course_utils import data

import pandas as pd
import pytest


@pytest.fixture(scope="session")
def ratings() -> pd.DataFrame:
    """The real MovieLens 100K ratings. They are there after set-up; if not, this fetches them."""
    return data.load_ratings()
