"""Links in Markdown and in the HTML inside it: what a text links to, and which links lead nowhere."""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

from tools.course import anchor, anchors

import nbformat
from markdown_it import MarkdownIt

MARKDOWN = MarkdownIt("commonmark").enable("table")
MARKDOWN.validateLink = lambda address: True  # it would take "file:..." for text
# Square brackets that stayed text: a link whose address was to stand elsewhere, and does not.
UNDEFINED = re.compile(r"\[[^\]\[]+\]\[[^\]\[]*\]")
SHORTEST_ALTERNATIVE = 15  # letters that say what a picture shows


@dataclass(frozen=True)
class Link:
    """A link or a picture: where it leads, and the text that stands for a picture that can't be seen."""

    target: str
    picture: bool = False
    text: str = ""


class _Html(HTMLParser):
    """Collects links, pictures and ids of a piece of HTML."""

    def __init__(self, html: str):
        super().__init__()
        self.links: list[Link] = []
        self.ids: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and "href" in values:
            self.links.append(Link(values["href"]))
        if tag == "img":
            self.links.append(Link(values.get("src", ""), picture=True, text=values.get("alt", "")))


def _tokens(text: str) -> Iterator:
    for token in MARKDOWN.parse(text):
        yield token
        yield from token.children or ()


def links(text: str) -> list[Link]:
    """Return every link and picture of a Markdown text, also those written in HTML, but none in code."""
    found = []
    for token in _tokens(text):
        if token.type == "link_open":
            found.append(Link(token.attrs["href"]))
        elif token.type == "image":
            found.append(Link(token.attrs["src"], picture=True, text=token.content))
        elif token.type in ("html_inline", "html_block"):
            found += _Html(token.content).links
    return found


def code(text: str) -> list[str]:
    """Return every piece of code in a Markdown text: blocks, and words between backticks."""
    return [token.content for token in _tokens(text) if token.type in ("fence", "code_block", "code_inline")]


def places(path: Path) -> set[str]:
    """Return the places in a notebook or a Markdown file that a link can lead to: headings and ids."""
    return _places(path, path.stat().st_mtime_ns)


@functools.cache
def _places(path: Path, changed: int) -> set[str]:
    """Read a file once, as long as it was not changed."""
    if path.suffix == ".ipynb":
        cells = nbformat.read(path, as_version=4).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        names = set(anchors(path))
    else:
        text = path.read_text(encoding="utf-8")
        names = {anchor(heading) for heading in re.findall(r"^#+ (.+)", text, re.MULTILINE)}
    html = [token.content for token in _tokens(text) if token.type in ("html_inline", "html_block")]
    return names.union(*(_Html(piece).ids for piece in html))


def broken_links(text: str, path: Path) -> list[str]:
    """Return what is wrong with the links of a text, one sentence a finding.

    Args:
        text: Markdown: a file, or a cell of a notebook.
        path: the file that it is a part of. Links start from its folder.
    """
    found = []
    for link in links(text):
        if link.picture and len(link.text) < SHORTEST_ALTERNATIVE:
            found.append(f"the image {link.target} has no alternative text that says what it shows")
        if link.target.startswith("file:"):
            found.append(f"links to {link.target}, which is on one machine only")
        if re.match(r"[a-z]+:", link.target):
            continue
        name, _, place = unquote(link.target).partition("#")
        target = path.parent / name if name else path
        # A folder is no page: JupyterLab and the website can't show it.
        if not target.is_file():
            found.append(f"links to {link.target}, which does not exist")
        elif place and target.suffix in (".md", ".ipynb") and place not in places(target):
            found.append(f"links to {link.target}, and there is no such place in {target.name}")
    for token in _tokens(text):
        if token.type == "text":
            found += [f"has {piece}, a link without an address" for piece in UNDEFINED.findall(token.content)]
    return found
