"""Fixtures that more than one test file uses."""

import shutil
from pathlib import Path

from course_utils import data

import pandas as pd
import pytest

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
# Chromium's sandbox needs rights that a container does not have. The tests only open pages of this course.
OPTIONS = ["--no-sandbox"]


@pytest.fixture(scope="session")
def ratings() -> pd.DataFrame:
    """The real MovieLens 100K ratings. They are there after set-up; if not, this fetches them."""
    return data.load_ratings()


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium: the one on the PATH, or that of ``playwright install chromium``. Skips without."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make tools")
    with playwright.sync_playwright() as api:
        path = next(filter(None, map(shutil.which, CHROMIUM)), None) or api.chromium.executable_path
        if not Path(path).is_file():
            pytest.skip("no Chromium was found: install it, or run `python -m playwright install chromium`")
        chromium = api.chromium.launch(executable_path=path, args=OPTIONS)
        yield chromium
        chromium.close()
