"""The course in another language: what is translated, and how a translated page is made from the English one.

English is the source. Each file has a catalog, ``locale/ko/...po`` (gettext, read with polib), with a message
for each block of Markdown: the message's context is the cell's id, or the heading of a page. Code, outputs,
formulas, ids and pictures are never translated; a notebook's catalog also has what its Checks say.
``python -m tools.languages`` makes, updates and checks; CONTRIBUTING.md says how to change a sentence.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tools.course import ROOT

LANGUAGES = {"ko": "한국어"}
LOCALE = ROOT / "locale"
# The line of a page that leads to the other language. It is written by hand, so nobody translates it.
SWITCH = re.compile(r"^\[(?:English|한국어)\]\((?:\.\./)+(?:[a-z]{2}/)?(?P<page>[^)]+)\)$", re.MULTILINE)
FENCE = re.compile(r"^ {0,3}(```+|~~~+)")


@dataclass(frozen=True)
class Message:
    """A piece of English text to translate: where it stands, and what it says."""

    context: str
    text: str


def blocks(markdown: str) -> list[str]:
    """Split Markdown at its blank lines, but not inside code. Separators are kept: joining gives it back.

    >>> blocks("# Title\\n\\nOne\\ntwo")
    ['# Title', '\\n\\n', 'One\\ntwo']
    """
    found, part, fence = [], [], None
    for line in markdown.splitlines(keepends=True):
        mark = FENCE.match(line)
        if mark and fence is None:
            fence = mark[1]
        elif mark and line.strip().startswith(fence):
            fence = None
        if fence is None and not mark and not line.strip():
            found.append(("blank", line))
        else:
            found.append(("text", line))
    joined: list[str] = []
    kinds: list[str] = []
    for kind, line in found:
        if kinds and kinds[-1] == kind:
            joined[-1] += line
        else:
            joined.append(line)
            kinds.append(kind)
    for position, (kind, block) in enumerate(zip(kinds, list(joined), strict=True)):
        # The line end belongs to the separator: a message has none.
        if kind == "text" and block.endswith("\n"):
            joined[position] = block[:-1]
            if position + 1 < len(joined):
                joined[position + 1] = "\n" + joined[position + 1]
            else:
                part.append("\n")
    return joined + part


# What a translation carries over as it is, in the order of precedence.
PROTECTED = re.compile(
    r"(?P<fence>^ {0,3}(?:```|~~~).*?^ {0,3}(?:```|~~~) *$)"
    r"|(?P<code>(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`))"
    r"|(?P<math>\$\$.+?\$\$|(?<![\\$\d])\$[^$\n]+?\$(?!\d))"
    r"|(?P<html><[a-zA-Z/!][^>]*>)"
    r"|(?P<link>\]\([^)\s]+\))"
    r"|(?P<entity>&\w+;)",
    re.MULTILINE | re.DOTALL,
)


def protected(text: str) -> list[str]:
    """Return the formulas, code spans, HTML tags and addresses of links of a text, sorted.

    >>> protected("The row `P[3]` of $P$, see [there](#a).")
    ['$P$', '](#a)', '`P[3]`']
    """
    return sorted(match[0] for match in PROTECTED.finditer(text))


def plain(text: str) -> str:
    """Return a text without what is protected."""
    return PROTECTED.sub(" ", text)


def needs_translation(block: str) -> bool:
    """Tell whether a block has words: a formula, a picture without text or a block of code has none."""
    rest = plain(block)
    rest = re.sub(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])", " ", rest)  # single letters are names of variables
    return bool(re.search(r"[A-Za-z]{2,}", rest))


def messages(context: str, markdown: str) -> Iterator[Message]:
    """Yield the messages of a Markdown text."""
    for block in blocks(markdown):
        if block.strip() and needs_translation(block):
            yield Message(context, block)
