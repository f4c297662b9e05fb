"""What the tests with a browser share; the browser itself is a fixture in conftest.py."""

from tools.patience import patience

import pytest


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
    context.set_default_timeout(1000 * patience(3))  # for everything that a test waits for
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


# Of many equal things, axe needs to see a few: it checks each word of code on its own, and that took minutes.
THIN = """() => {
  const seen = {}, few = (key, most) => (seen[key] = (seen[key] || 0) + 1) <= most;
  for (const word of document.querySelectorAll("pre span:not(:has(span))")) {
    const place = word.closest(".output, .jp-OutputArea, .jp-InputArea, .input, aside") || document.body;
    const kind = `${word.className} ${word.getAttribute("style")} ${place.className}`;
    if (!few(kind, 2)) word.replaceWith(word.textContent);
  }
  for (const drawn of document.querySelectorAll("mjx-container svg")) {
    if (!few("formula", 3)) drawn.replaceChildren();
  }
  for (const table of document.querySelectorAll("tbody")) {
    [...table.rows].slice(4).forEach((row) => row.remove());
  }
  for (const cell of document.querySelectorAll("div.cell")) {
    const shown = ["img", "table", "pre", "details"].filter((tag) => cell.querySelector(`.cell_output ${tag}`));
    if (!few(`cell with ${shown}`, 4)) cell.remove();
  }
  for (const entry of document.querySelectorAll(".toctree-l1")) if (!few("menu", 6)) entry.remove();
  for (const entry of document.querySelectorAll("dl.py")) if (!few(entry.className, 3)) entry.remove();
  document.querySelectorAll("datalist option").forEach((one) => few("option", 5) || one.remove());
}"""


def thin_out(page) -> None:
    """Leave only a few of each kind of thing on a page, for a quick look by ``serious_findings``."""
    page.evaluate(THIN)
