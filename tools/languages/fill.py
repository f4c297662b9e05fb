"""Put translations into a catalog from a text file, and say what is wrong with them.

``python -m tools.languages.fill ko locale/ko/notebooks/00_welcome.po --list`` prints what has no translation,
as numbered messages; ``... --from FILE`` reads the same form back, with the translation below each number::

    === 12
    번역한 문장

A number is the place of the message in the catalog.
"""

import argparse
import re
import sys
from pathlib import Path

from tools.languages.catalogs import catalog_path, exceptions, read, sources, update, wrong

FORM = re.compile(r"^=== (\d+)[^\n]*\n(.*?)(?=^=== \d+|\Z)", re.MULTILINE | re.DOTALL)


def listed(language: str, name: str, everything: bool = False) -> str:
    """Return the messages of a catalog that need a translation, or all of them with what they have."""
    lines = []
    for number, one in enumerate(read(language, name)):
        if everything or not one.msgstr or one.fuzzy:
            lines += [f"=== {number} [{one.msgctxt}]", one.msgid]
            if one.msgstr:
                lines += ["--- " + ("outdated translation" if one.fuzzy else "translation"), one.msgstr]
    return "\n".join(lines)


def fill(language: str, name: str, text: str) -> list[str]:
    """Store the translations of a text; return what is wrong with them."""
    catalog, found = read(language, name), []
    excused = exceptions(language)
    for number, body in FORM.findall(text):
        entry, other = catalog[int(number)], body.strip("\n")
        if not other.strip():
            continue
        entry.msgstr, entry.previous_msgid = other, None
        entry.flags = [flag for flag in entry.flags if flag != "fuzzy"]
        for problem in wrong(entry.msgid, other, language, excused.get(entry.msgid, [])):
            found.append(
                f"{number} [{entry.msgctxt}]: {problem}\n    {entry.msgid[:300]!r}\n    {other[:300]!r}"
            )
    catalog.save(str(catalog_path(language, name)), newline="\n")
    return found


def main(arguments: list[str]) -> int:
    """Print or store; return 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tools.languages.fill", description=__doc__)
    parser.add_argument("language")
    parser.add_argument("name", help="a catalog, such as locale/ko/notebooks/00_welcome.po")
    parser.add_argument("--list", action="store_true", help="print what has no translation yet")
    parser.add_argument("--all", action="store_true", help="print every message with its translation")
    parser.add_argument("--from", dest="file", type=Path, help="a file with translations")
    options = parser.parse_args(arguments)
    name = options.name.removeprefix(f"locale/{options.language}/").removesuffix(".po")
    if name not in sources():
        print(f"There is no catalog {name!r}. There are: {', '.join(sources())}", file=sys.stderr)
        return 2
    update(options.language, name, sources()[name])
    if options.file:
        found = fill(options.language, name, options.file.read_text(encoding="utf-8"))
        print("\n".join(found) or "Nothing is wrong.")
        return bool(found)
    print(listed(options.language, name, options.all))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
