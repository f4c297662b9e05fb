"""The glossary: every entry is complete, in its place, and leads to a section that uses the term."""

import re
from urllib.parse import unquote

from tools.course import ROOT, anchor, anchors, course_notebooks
from tools.rules import LINK

import nbformat
import pytest

FOLDER = ROOT / "notebooks"
GLOSSARY = (FOLDER / "glossary.md").read_text(encoding="utf-8")
# Below each heading: one sentence, an empty line, the Korean term, and the section that introduces it.
ENTRY = re.compile(r"## (.+)\n\n(.+)\n\n(.+) · \[(\d\d): ([^\]]+)\]\((\S+)\)\n")
HANGUL = re.compile("[가-힣]")


def plain(text: str) -> str:
    """Return a text in small letters, without emphasis; hyphens, underscores and line ends count as blanks."""
    return re.sub(r"[-_\s]+", " ", text.replace("*", "").casefold())


def problems(glossary: str, notebooks: dict[str, dict[str, str]]) -> list[str]:
    """Return what is wrong with a glossary. ``notebooks``: file name -> its sections."""
    head, *entries = re.split(r"^(?=## )", glossary, flags=re.MULTILINE)
    found, terms = [], []
    for entry in entries:
        match = ENTRY.fullmatch(entry.rstrip() + "\n")
        if not match:
            found.append(f"{entry.splitlines()[0]} lacks its sentence, its Korean term or its section")
            continue
        term, sentence, korean, number, section, target = match.groups()
        terms.append(term)
        file, _, name = unquote(target).partition("#")
        if not sentence.endswith(".") or re.search(r"[.!?] [A-Z]", sentence):
            found.append(f"{term} is not explained in one sentence")
        if not HANGUL.search(korean):
            found.append(f"{term} has no Korean term")
        if name != anchor(section) or not file.startswith(f"{number}_"):
            found.append(f"{term}: the text of its link is not the section {target}")
        elif name not in notebooks.get(file, {}):
            found.append(f"{term} links to {target}, which does not exist")
        elif plain(term).partition("@")[0].rstrip("s") not in plain(notebooks[file][name]):
            found.append(f"{term} does not occur in {target}")
    found += [f"{term} is in the glossary twice" for term in sorted(set(terms)) if terms.count(term) > 1]
    for before, after in zip(terms, terms[1:], strict=False):
        if before.casefold() > after.casefold():
            found.append(f"{after} stands after {before}: not in alphabetical order")
    for _, letter, target in LINK.findall(head):
        first = next((term for term in terms if term.upper().startswith(letter)), None)
        if target.startswith("#") and target != f"#{anchor(str(first))}":
            found.append(f"the letter {letter} links to {target}, not to {first}")
    missing = {term[0].upper() for term in terms} - {letter for _, letter, _ in LINK.findall(head)}
    return found + [f"no link leads to the letter {letter}" for letter in sorted(missing)]


NOTEBOOKS = {path.name: anchors(path) for path in course_notebooks(FOLDER)}


def test_the_glossary_of_the_course():
    assert problems(GLOSSARY, NOTEBOOKS) == []
    assert GLOSSARY.count("\n## ") >= 60
    assert {name for _, _, name in LINK.findall(GLOSSARY) if "#" not in name} == set()


def test_every_course_notebook_introduces_a_term():
    linked = {target.partition("#")[0] for _, _, target in LINK.findall(GLOSSARY)} - {""}
    assert linked == {path.name for path in course_notebooks(FOLDER)}


def test_links_to_the_glossary_lead_to_a_term():
    names = {anchor(heading) for heading in re.findall(r"^#+ (.+)", GLOSSARY, re.MULTILINE)}
    for path in sorted(FOLDER.glob("*.ipynb")):
        text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
        for _, _, target in LINK.findall(text):
            if target.startswith("glossary.md#"):
                assert unquote(target.partition("#")[2]) in names, f"{path.name} links to {target}"


SMALL = """# Glossary

[B](#Batch) · [W](#Weight)

## Batch

Examples that are read at once.

배치 · [02: A batch](02_one_hot.ipynb#A-batch)

## Weight

A number that is learned.

가중치 · [02: A layer](02_one_hot.ipynb#A-layer)
"""
SMALL_NOTEBOOKS = {"02_one_hot.ipynb": {"A-batch": "a **batch** of ids", "A-layer": "the weights"}}
BROKEN = {
    "no sentence": ("A number that is learned.\n", "", "## Weight lacks its sentence"),
    "no section": (" · [02: A layer](02_one_hot.ipynb#A-layer)", "", "## Weight lacks its sentence"),
    "two sentences": ("is learned.", "is learned. It grows.", "Weight is not explained in one sentence"),
    "no period": ("is learned.", "is learned", "Weight is not explained in one sentence"),
    "no Korean": ("가중치", "weight", "Weight has no Korean term"),
    "no such section": (
        "[02: A layer](02_one_hot.ipynb#A-layer)",
        "[02: B](02_one_hot.ipynb#B)",
        "does not exist",
    ),
    "no such notebook": ("(02_one_hot.ipynb#A-layer)", "(02_gone.ipynb#A-layer)", "which does not exist"),
    "other text": ("[02: A layer]", "[02: The layer]", "the text of its link is not the section"),
    "other number": ("[02: A layer]", "[03: A layer]", "the text of its link is not the section"),
    "not introduced there": (
        "02: A layer](02_one_hot.ipynb#A-layer",
        "02: A batch](02_one_hot.ipynb#A-batch",
        "occur",
    ),
    "twice": ("## Weight", "## Batch", "Batch is in the glossary twice"),
    "not in order": ("## Batch", "## Zebra", "Weight stands after Zebra: not in alphabetical order"),
    "letter": ("[W](#Weight)", "[W](#Batch)", "the letter W links to #Batch, not to Weight"),
    "no letter": (" · [W](#Weight)", "", "no link leads to the letter W"),
}


@pytest.mark.parametrize(("old", "new", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_every_rule_of_the_glossary_can_fail(old, new, words):
    assert problems(SMALL, SMALL_NOTEBOOKS) == [] and old in SMALL
    found = problems(SMALL.replace(old, new), SMALL_NOTEBOOKS)
    assert any(words in sentence for sentence in found), f"expected {words!r}, found {found}"
