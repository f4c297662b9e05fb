"""The catalogs: a ``.po`` file for each notebook and page, one for all drawings; what is wrong in them."""

import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tools.course import NOTEBOOKS, ROOT, SOLUTIONS, course_notebooks
from tools.languages import LOCALE, Message, plain, protected
from tools.languages.sources import fields, notebook_messages, page_messages, svg_messages, word_messages

import nbformat
import polib

PAGES = (ROOT / "README.md", ROOT / "INSTRUCTORS.md", NOTEBOOKS / "glossary.md")
DRAWINGS = NOTEBOOKS / "figures"
WORDS = ROOT / "tools" / "words.toml"


def sources() -> dict[str, list[Path]]:
    """Return the English files behind each catalog, by the catalog's name, such as "notebooks/00_welcome"."""
    notebooks = [*course_notebooks(), NOTEBOOKS / "project.ipynb", *course_notebooks(SOLUTIONS)]
    found = {path.relative_to(ROOT).with_suffix("").as_posix(): [path] for path in (*notebooks, *PAGES)}
    return found | {"notebooks/figures": sorted(DRAWINGS.glob("*.svg")), "words": [WORDS]}


def wanted(paths: list[Path]) -> list[Message]:
    """Return the messages of the English files of a catalog, in order, each once."""
    found: list[Message] = []
    for path in paths:
        if path.suffix == ".ipynb":
            found += notebook_messages(nbformat.read(path, as_version=4))
        elif path.suffix == ".toml":
            found += word_messages(path.read_text(encoding="utf-8"))
        elif path.suffix == ".svg":
            found += svg_messages(path.stem, path.read_text(encoding="utf-8"))
        else:
            found += page_messages(path.read_text(encoding="utf-8"))
    return list(dict.fromkeys(found))


def catalog_path(language: str, name: str) -> Path:
    """Return where a catalog lies."""
    return LOCALE / language / f"{name}.po"


def read(language: str, name: str) -> polib.POFile:
    """Return a catalog; an empty one where there is none yet."""
    path = catalog_path(language, name)
    if path.exists():
        return polib.pofile(str(path), wrapwidth=0)
    catalog = polib.POFile(wrapwidth=0)
    catalog.metadata = {"Language": language, "Content-Type": "text/plain; charset=UTF-8"}
    return catalog


def known(catalog: polib.POFile) -> dict[tuple[str, str], str]:
    """Return the finished translations of a catalog by (context, English)."""
    return {
        (one.msgctxt, one.msgid): one.msgstr
        for one in catalog
        if one.msgstr and not one.obsolete and not one.fuzzy
    }


def update(language: str, name: str, paths: list[Path]) -> polib.POFile:
    """Bring a catalog in step with the English text, and write it.

    A translation stays where its English sentence is the same. Where a sentence of the same context changed,
    its old translation is kept as a suggestion: it is marked "fuzzy", with the old English beside it, and is
    not used.
    """
    old, messages = read(language, name), wanted(paths)
    before = {(one.msgctxt, one.msgid): one for one in old if not one.obsolete}
    elsewhere = {one.msgid: one for one in old if one.msgstr and not one.fuzzy and not one.obsolete}
    now = {(one.context, one.text) for one in messages}
    left: dict[str, list[polib.POEntry]] = {}
    for key, entry in before.items():
        if key not in now and entry.msgstr:
            left.setdefault(entry.msgctxt, []).append(entry)
    made = read(language, name)
    made.clear()
    for message in messages:
        entry = before.get((message.context, message.text))
        if entry is None:
            entry = polib.POEntry(msgctxt=message.context, msgid=message.text)
            if message.text in elsewhere:  # the cell's id changed, or the sentence moved
                entry.msgstr = elsewhere[message.text].msgstr
            elif left.get(message.context):
                stale = left[message.context].pop(0)
                entry.msgstr, entry.previous_msgid = stale.msgstr, stale.previous_msgid or stale.msgid
                entry.flags = ["fuzzy"]
        made.append(entry)
    path = catalog_path(language, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save(str(path), newline="\n")
    return made


def words(language: str) -> dict[str, str]:
    """Return the words of pages and decks in a language, such as {"home.start": "Start reading"}."""
    messages = word_messages(WORDS.read_text(encoding="utf-8"))
    if language == "en":
        return {one.context: one.text for one in messages}
    translations = known(read(language, "words"))
    return {one.context: translations.get((one.context, one.text), one.text) for one in messages}


# --- What is wrong --------------------------------------------------------------------------------

NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
# A word that names a number or a month in English: the translation may write it with digits.
NUMBER_WORD = re.compile(
    r"\b(?:zeros?|ones?|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|sixty|"
    r"seventy|eighty|ninety|hundreds?|thousands?|thousandths?|millions?|billions?|dozens?|half|halves|twice|once|"
    r"thirds?|quarters?|fifths?|sixths?|sevenths?|eighths?|ninths?|tenths?|hundredths?|first|second|third|fourth|fifth|single|both|pair|January|February|"
    r"March|April|May|June|July|August|September|October|November|December|[a-z]+teenth?s?|[a-z]+-fold|"
    r"decades?)\b",
    re.IGNORECASE,
)
HANGUL = re.compile(r"[가-힣]")
# English in brackets, quotation marks or capital letters is a name or the term at its first use.
NAMES = re.compile(r"\([^()]*\)|“[^”]*”|\"[^\"]*\"|\[[^\]]*\]")
ENGLISH = re.compile(r"\b[a-z]+(?:[ ,]+[a-z]+){2,}\b")
PARTICLES = re.compile(
    r"[가-힣`$)]\((?:을|를|은|는|이|가|과|와|로)\)|(?:을|은|이|과)/(?:를|는|가|와)|(?:를|는|가|와)/(?:을|은|이|과)"
)


def terms(language: str) -> list[dict]:
    """Return ``locale/ko/terms.toml``: how a term is translated, and how never."""
    path = LOCALE / language / "terms.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))["term"] if path.exists() else []


def exceptions(language: str) -> dict[str, list[str]]:
    """Return which checks a message is excused from, by its English text, with the reason in the file."""
    path = LOCALE / language / "exceptions.toml"
    found: dict[str, list[str]] = {}
    if path.exists():
        for one in tomllib.loads(path.read_text(encoding="utf-8")).get("exception", []):
            found.setdefault(one["english"], []).append(one["check"])
    return found


def wrong(english: str, other: str, language: str, allowed: list[str] = ()) -> Iterator[str]:
    """Yield what is wrong with a translation, one sentence a finding.

    Args:
        english: the message.
        other: its translation.
        language: which ``terms.toml`` holds.
        allowed: names of checks that this message is excused from.
    """
    lost, added = Counter(protected(english)), Counter(protected(other))
    if lost != added:
        missing, more = list((lost - added).elements()), list((added - lost).elements())
        yield f"code, formulas, tags and links must be the same: lacks {missing}, has {more} too many"
    if fields(english) != fields(other):
        yield f"the fields must be the same: {fields(english)}, but it has {fields(other)}"
    if "numbers" not in allowed:
        # "1.9 million" is 190만: a number before such a word is written with other digits.
        own = re.sub(rf"{NUMBER.pattern}(?= (?:million|billion))", " ", plain(english))
        lost, added = Counter(NUMBER.findall(own)), Counter(NUMBER.findall(plain(other)))
        if lost - added:
            yield f"lacks the numbers {list((lost - added).elements())}"
        if (more := added - lost) and not NUMBER_WORD.search(english):
            yield f"has numbers that the English text has not: {list(more.elements())}"
    rest = plain(other)
    if (
        not HANGUL.search(rest)
        and "english" not in allowed
        and re.search(r"[a-z]{3,}.*[a-z]{3,}", plain(english))
    ):
        yield "has no Korean in it"
    if "english" not in allowed and (left := ENGLISH.search(NAMES.sub(" ", rest))):
        yield f"has English left over: {left[0]!r}"
    if found := PARTICLES.search(other):
        yield f"{found[0]!r}: choose the particle that is read aloud"
    for term in terms(language):
        for never in term.get("never", []):
            if never in rest:
                yield f"{never!r}: the course says {term['korean']!r} for {term['english']!r}"


def problems(language: str) -> list[str]:
    """Return what is wrong with a language, one sentence a finding, each with the catalog and the context."""
    found, excused = [], exceptions(language)
    everything = sources()
    for name, paths in everything.items():
        catalog = read(language, name)
        entries = {(one.msgctxt, one.msgid): one for one in catalog if not one.obsolete}
        messages = wanted(paths)
        for message in messages:
            entry = entries.pop((message.context, message.text), None)
            where = f"{name} [{message.context}]"
            if entry is None or not entry.msgstr:
                found.append(f"{where}: no translation of {message.text[:80]!r}")
            elif entry.fuzzy:
                found.append(f"{where}: outdated. Was {entry.previous_msgid!r}, is {message.text!r}")
            else:
                allowed = excused.get(message.text, [])
                found += [f"{where}: {text}" for text in wrong(message.text, entry.msgstr, language, allowed)]
        found += [f"{name} [{context}]: the English text {text[:60]!r} is gone" for context, text in entries]
    there = {
        path.relative_to(LOCALE / language).with_suffix("").as_posix()
        for path in (LOCALE / language).rglob("*.po")
    }
    found += [f"{name}: there is no such English file" for name in sorted(there - set(everything))]
    return found
