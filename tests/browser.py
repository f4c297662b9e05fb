"""A browser for the tests: Chromium through Playwright. Where there is none, they are skipped and say why."""

import shutil
from pathlib import Path

import pytest

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
# Chromium's sandbox needs rights that a container does not have. The tests only open pages of this course.
OPTIONS = ["--no-sandbox"]


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium: the one on the PATH, or that of ``playwright install chromium``."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make tools")
    with playwright.sync_playwright() as api:
        path = next(filter(None, map(shutil.which, CHROMIUM)), None) or api.chromium.executable_path
        if not Path(path).is_file():
            pytest.skip("no Chromium was found: install it, or run `python -m playwright install chromium`")
        chromium = api.chromium.launch(executable_path=path, args=OPTIONS)
        yield chromium
        chromium.close()


def offline_page(browser, requests: list[str], **options):
    """Return a new page that reaches this machine only.

    Args:
        browser: as the fixture gives it.
        requests: gets the address of each request to somewhere else, which is refused.
        options: for the browser context, for example ``viewport``.
    """
    context = browser.new_context(**options)

    def answer(route):
        host = route.request.url.split("/")[2]
        if host.partition(":")[0] == "127.0.0.1":
            return route.continue_()
        requests.append(route.request.url)
        return route.abort()

    context.route("http*://**", answer)
    return context.new_page()


def serious_findings(page) -> list[str]:
    """Return what axe-core calls serious or critical on a page: rule, number of places, the first of them."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed: make tools"
    )
    # A color that is fading has not enough contrast yet.
    page.evaluate(
        "Promise.all(document.getAnimations().filter((one) => one instanceof CSSTransition)"
        ".map((one) => one.finished.catch(() => {})))"
    )
    return [
        f"{finding['id']} ({len(finding['nodes'])} x): {finding['nodes'][0]['html'][:200]}"
        for finding in axe.Axe().run(page).response["violations"]
        if finding["impact"] in ("serious", "critical")
    ]
