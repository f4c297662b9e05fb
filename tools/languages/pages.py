"""Make the pages of another language, ``ko/...``, from the English files and the catalogs."""

import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path, PurePosixPath

from tools.course import EXERCISES, NOTEBOOKS, ROOT, SOLUTIONS, anchor
from tools.languages import SWITCH, blocks
from tools.languages.catalogs import known, read, sources
from tools.languages.sources import translated_notebook, translated_page, translated_svg

import nbformat

TARGET = re.compile(r"(?P<before>\]\()(?P<file>[^)#\s]*)(?:#(?P<place>[^)\s]*))?(?=\))")
IMAGE = re.compile(r'(?P<before><img[^>]*\ssrc=")(?P<file>[^"#]+)()(?=")')
HEADING = re.compile(r"^#{1,6} (.+)")


def translator(language: str, name: str) -> Callable[[str, str], str]:
    """Return a function from (context, English) to a catalog's translation; English where there is none."""
    translations = known(read(language, name))
    return lambda context, text: translations.get((context, text), text)


def tree(language: str) -> dict[str, bytes]:
    """Return every file of a language, by its path below ``ko/``.

    Notebooks and solutions, the exercises that are made from these, pages, drawings, and copies of the small
    tables that notebooks read from ``../data``.
    """
    found: dict[str, bytes] = {}
    for name, paths in sources().items():
        translate = translator(language, name)
        for path in paths:
            place = path.relative_to(ROOT).as_posix()
            if path.suffix == ".toml":
                continue  # for website and decks, which read the catalog itself
            if path.suffix == ".svg":
                text = path.read_text(encoding="utf-8")
                found[place] = translated_svg(path.stem, text, translate).encode()
            elif path.suffix == ".md":
                text = translated_page(path.read_text(encoding="utf-8"), translate)
                found[place] = links_of(text, place, language).encode()
            else:
                found[place] = _notebook(path, place, translate, language)
    # What notebooks read from ../data, and the style of live slides.
    for path in [*sorted((ROOT / "data" / "published").glob("*.*")), NOTEBOOKS / "rise.css"]:
        found[path.relative_to(ROOT).as_posix()] = path.read_bytes()
    return found


def _notebook(path: Path, place: str, translate: Callable[[str, str], str], language: str) -> bytes:
    notebook = translated_notebook(nbformat.read(path, as_version=4), translate)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = links_of(cell.source, place, language)
    return (nbformat.writes(notebook) + "\n").encode()


@cache
def _headings(language: str, place: str) -> dict[str, str]:
    """Return {English anchor: translated anchor} of a file, and nothing for one that has no catalog."""
    name = PurePosixPath(place).with_suffix("").as_posix()
    if name.startswith("exercises/"):
        name = name.replace("exercises/", "solutions/", 1)
    if name not in sources():
        return {}
    found = {}
    for one in read(language, name):
        for english, other in zip(_titles(one.msgid), _titles(one.msgstr), strict=False):
            if not one.obsolete and not one.fuzzy and one.msgstr:
                found[anchor(english)] = anchor(other)
    return found


def _titles(text: str) -> list[str]:
    return [match[1] for line in text.splitlines() if (match := HEADING.match(line))]


def translated_places() -> set[str]:
    """Return the paths of the English files that another language has, too."""
    files = [path for paths in sources().values() for path in paths if path.suffix != ".toml"]
    return {path.relative_to(ROOT).as_posix() for path in files} | {
        path.relative_to(ROOT).as_posix() for path in EXERCISES.glob("[0-9][0-9]_*.ipynb")
    }


def links_of(text: str, place: str, language: str) -> str:
    """Let the links of a translated text lead to translated pages, and to the English file where there is none.

    Args:
        text: Markdown.
        place: of the English file, from the root: "notebooks/00_welcome.ipynb".
        language: the language, a folder of the root.
    """
    there, here = translated_places(), PurePosixPath(place).parent

    def switched(match: re.Match) -> str:
        return f"[English]({_back(here)}{match['page']})"

    def led(match: re.Match) -> str:
        file, section = match["file"], match.groupdict().get("place")
        if re.match(r"[a-z]+:", file):
            return match[0]
        target = _joined(here, file) if file else place
        if target in there or target.startswith("data/published/"):
            led_to = _headings(language, target).get(section, section) if section else None
            return match["before"] + file + (f"#{led_to}" if led_to else "")
        return match["before"] + _back(here) + target + (f"#{section}" if section else "")

    pieces = []
    for block in blocks(text):
        if SWITCH.fullmatch(block):
            pieces.append(SWITCH.sub(switched, block))
        elif block.lstrip().startswith(("```", "~~~")):
            pieces.append(block)
        else:
            pieces.append(IMAGE.sub(led, TARGET.sub(led, block)))
    return "".join(pieces)


def _joined(folder: PurePosixPath, file: str) -> str:
    return PurePosixPath(os.path.normpath(folder / file)).as_posix()


def _back(folder: PurePosixPath) -> str:
    """Return the way from a translated page to the root: one more step than the English page has."""
    return "../" * (len(folder.parts) + 1)


def write(language: str, target: Path | None = None) -> list[str]:
    """Write all pages of a language, remove what is no longer one, and return the names of the files."""
    target = target or ROOT / language
    _headings.cache_clear()
    files = tree(language)
    for name, content in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_bytes() != content:
            path.write_bytes(content)
    from tools.grading.release import student_version  # here: only this needs nbgrader

    for path in sorted((target / SOLUTIONS.name).glob("[0-9][0-9]_*.ipynb")):
        made = student_version(path)
        name = f"{EXERCISES.name}/{path.name}"
        (target / EXERCISES.name).mkdir(exist_ok=True)
        nbformat.write(made, target / name)
        files[name] = b""
    for path in target.rglob("*"):
        kept = ".ipynb_checkpoints" in path.parts or path.relative_to(target).as_posix() in files
        if path.is_file() and not kept:
            path.unlink()
    return sorted(files)
