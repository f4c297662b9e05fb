"""``python -m tools.colab``: see ``tools/colab/__init__.py``."""

import argparse
import sys

from tools import ROOT
from tools.colab import FOLDER, ColabError, Place, make, settings, with_buttons


def main(arguments: list[str]) -> int:
    """Make the copies, or write README's buttons; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.colab", description=__doc__)
    parser.add_argument("--address", default="", help="where course.zip will be, if not in the repository")
    parser.add_argument(
        "--public", action="store_true", help="without the data, whose license forbids to hand them on"
    )
    parser.add_argument(
        "--buttons", action="store_true", help="write the buttons into README.md, and nothing else"
    )
    options = parser.parse_args(arguments)
    try:
        github = settings()["course"]["github"]
        if options.buttons:
            readme = ROOT / "README.md"
            readme.write_text(
                with_buttons(readme.read_text(encoding="utf-8"), github), encoding="utf-8", newline="\n"
            )
            return 0
        names = make(Place(github, options.address), data=not options.public)
    except ColabError as problem:
        print(problem, file=sys.stderr)
        return 1
    print(f"{FOLDER.relative_to(ROOT).as_posix()}: {len(names)} files. {_about_data(options.public)}")
    return 0


def _about_data(public: bool) -> str:
    if public:
        return "course.zip has no data: notebooks fetch them on Colab."
    return (
        "course.zip has the data, whose license forbids to hand them on without permission: put it where only "
        "your class can reach it, or make it with PUBLIC=yes."
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
