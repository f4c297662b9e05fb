"""Make, update and check the other languages: ``python -m tools.languages [--check]``, or ``make korean``."""

import argparse
import sys

from tools.languages import LANGUAGES
from tools.languages.catalogs import problems, read, sources, update
from tools.languages.pages import write


def stale(language: str) -> list[str]:
    """Return what is missing or outdated, old and new English one above the other."""
    lines = []
    for name in sources():
        for one in read(language, name):
            if one.fuzzy:
                lines += [
                    f"{name} [{one.msgctxt}] changed",
                    f"  was: {one.previous_msgid}",
                    f"  is:  {one.msgid}",
                ]
                lines += [f"  {LANGUAGES[language]}: {one.msgstr}"]
            elif not one.msgstr and not one.obsolete:
                lines += [f"{name} [{one.msgctxt}] has no translation", f"  is:  {one.msgid}"]
    return lines


def main(arguments: list[str]) -> int:
    """Update the catalogs, then check them and write the pages; return 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tools.languages", description=__doc__)
    parser.add_argument("--check", action="store_true", help="list what is stale or wrong; write no page")
    parser.add_argument("languages", nargs="*", default=list(LANGUAGES), help="such as ko; all unless named")
    options = parser.parse_args(arguments)
    failed = 0
    for language in options.languages:
        for name, paths in sources().items():
            update(language, name, paths)
        found = stale(language) + [line for line in problems(language) if "no translation" not in line]
        print("\n".join(found) or f"{language}: nothing is stale, nothing is wrong.")
        failed |= bool(found)
        if not options.check:
            print(f"{language}/: {len(write(language))} files")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
