"""The website is built without a warning, its links work, and it reads well in a browser without a network."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

from tools.course import ROOT

import pytest
from browser import offline_page, serious_findings

REPOSITORY = "https://github.com/somebody/a-copy"
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
# Pages with everything that the theme colors: text, formulas, code, outputs, tables, pictures, signatures.
BOTH_THEMES = (
    "index",
    "notebooks/04_matrix_factorization",
    "notebooks/08_recommendations",
    "tools/site/api",
    "search",
)
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built website, as a folder. The repository's address is set, as the workflow does."""
    pytest.importorskip("myst_nb", reason="Sphinx and MyST-NB are not installed: make tools")
    from tools.npm import PackageError, unpacked

    try:
        unpacked("mathjax")
    except PackageError as problem:
        pytest.skip(str(problem))
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-E", "-b", "html"]
    done = subprocess.run(
        [*command, "-c", "tools/site", "-d", str(folder / "doctrees"), ".", str(folder / "html")],
        cwd=ROOT,
        env={**os.environ, "COURSE_REPOSITORY_URL": REPOSITORY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder / "html"


class Page(HTMLParser):
    """What a page links to, loads and shows."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids, self.links, self.loads, self.images = set(), [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag in ("script", "img", "iframe") and values.get("src"):
            self.loads.append(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "preload"):
            self.loads.append(values["href"])
        if tag == "img":
            self.images.append((values.get("src", ""), values.get("alt") or ""))


def broken_links(folder: Path) -> list[str]:
    """Return the links between pages of a folder whose page, or whose place on the page, does not exist."""
    pages = {path: Page(path) for path in sorted(folder.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            name, _, anchor = link.partition("#")
            target = (path.parent / unquote(name)).resolve() if name else path
            if not target.is_file():
                found.append(f"{path.relative_to(folder)}: {link}")
            elif anchor and target in pages and unquote(anchor) not in pages[target].ids:
                found.append(f"{path.relative_to(folder)}: {link} (no such place on that page)")
    return found


@pytest.mark.slow
def test_every_page_is_there(site):
    pages = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")}
    sources = [*(f"notebooks/{name}" for name in NOTEBOOKS), "index", "README", "tools/site/api", "search"]
    sources += [f"exercises/{path.stem}" for path in (ROOT / "exercises").glob("*.ipynb")]
    sources += ["INSTRUCTORS", "notebooks/glossary", "data/README", "benchmarks/README"]
    assert pages >= set(sources), set(sources) - pages


@pytest.mark.slow
def test_links_between_pages_work(site):
    assert broken_links(site) == []


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "b.html").write_text('<p id="here">')
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here"></a><a href="c.html"></a><a href="b.html#gone"></a>'
    )
    assert broken_links(tmp_path) == ["a.html: c.html", "a.html: b.html#gone (no such place on that page)"]


@pytest.mark.slow
def test_nothing_is_loaded_from_elsewhere(site):
    for path in site.rglob("*.html"):
        outside = [address for address in Page(path).loads if re.match(r"(https?:)?//", address)]
        assert not outside, f"{path.relative_to(site)}: {outside}"


@pytest.mark.slow
def test_every_picture_says_what_it_shows(site):
    pictures = [
        (path.name, source, text) for path in site.rglob("*.html") for source, text in Page(path).images
    ]
    # The theme's own small icons lie in _static and stand beside words.
    own = [picture for picture in pictures if "_static" not in picture[1]]
    assert len(own) > 25
    short = [
        picture for picture in own if len(picture[2]) < 15 or picture[2].startswith(("../_images", "_images"))
    ]
    assert not short, "Set mystnb.image.alt in the metadata of the cell that draws it: " + str(short)


@pytest.mark.slow
def test_notebooks_have_a_button_for_binder(site):
    links = Page(site / "notebooks" / "04_matrix_factorization.html").links
    assert any(link.startswith("https://mybinder.org/v2/gh/somebody/a-copy/main?") for link in links)
    assert not any("colab" in link for link in links)


@pytest.mark.slow
def test_the_api_page_has_every_module_and_function(site):
    ids = Page(site / "tools" / "site" / "api.html").ids
    modules = sorted((ROOT / "course_utils").rglob("[a-z]*.py"))
    assert ROOT / "course_utils" / "large" / "streaming.py" in modules
    for path in modules:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        public = re.findall(r"^(?:def|class) ([A-Za-z]\w*)", path.read_text(encoding="utf-8"), re.MULTILINE)
        missing = [name for name in public if f"{module}.{name}" not in ids]
        assert not missing, f"{module}: {missing}"


@pytest.mark.slow
def test_search_finds_embedding(site, browser):
    outside = []
    page = offline_page(browser, outside)
    page.goto(f"{(site / 'search.html').as_uri()}?q=embedding")
    page.wait_for_selector("#search-results li a")
    results = page.locator("#search-results li a").all_inner_texts()
    assert any("03 · Embeddings" in text for text in results), results
    assert outside == []
    page.context.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["index", *(f"notebooks/{stem}" for stem in NOTEBOOKS), "tools/site/api", "search"]
)
def test_page_is_accessible_and_complete_without_a_network(site, browser, name):
    path, outside = site / f"{name}.html", []
    formulas = path.read_text(encoding="utf-8").count('<span class="math') + path.read_text(
        encoding="utf-8"
    ).count('<div class="math')
    for scheme in ("light", "dark") if name in BOTH_THEMES else ("light",):
        page = offline_page(browser, outside, color_scheme=scheme)
        page.goto(path.as_uri())
        if formulas:
            page.wait_for_function(
                "n => document.querySelectorAll('mjx-container svg').length >= n", arg=formulas
            )
            assert page.locator("mjx-merror").count() == 0, "MathJax could not read a formula."
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(map(int, re.findall(r"\d+", color)[:3])) / 3
        assert (brightness > 200) == (scheme == "light") and (brightness < 60) == (scheme == "dark"), color
        assert serious_findings(page) == [], f"{name}, {scheme}"
        page.context.close()
    page = offline_page(browser, outside, viewport=PHONE)
    page.goto(path.as_uri())
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"], f"On a phone, the page is {width} pixels wide and scrolls sideways."
    page.context.close()
    assert outside == []


def test_binder_installs_the_pinned_packages_and_the_course():
    binder = ROOT / ".binder"
    included = re.findall(r"^-r (.+)$", (binder / "requirements.txt").read_text(), re.MULTILINE)
    assert [(binder / name).resolve() for name in included] == [ROOT / "requirements.txt"]
    assert re.fullmatch(r"python-3\.1[123]\n", (binder / "runtime.txt").read_text())
    assert os.access(binder / "postBuild", os.X_OK) or os.name == "nt"
    assert "--editable ." in (binder / "postBuild").read_text()
