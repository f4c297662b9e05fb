"""Build the website: ``python -m tools.site [--no-solutions] [--public] [--out folder]``."""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools.course import ROOT
from tools.languages import LANGUAGES

OUT = ROOT / "build" / "site"
DOCTREES = ROOT / "build" / "doctrees"


def sphinx(builder: str, out: Path, doctrees: Path, *options: str, language: str = "en") -> int:
    """Run Sphinx on this repository, or on a language's folder; warnings are errors. Return its exit code."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", builder, "-c", "tools/site"]
    source = "." if language == "en" else language
    environment = {**os.environ, "COURSE_LANGUAGE": language}
    command += ["-d", str(doctrees), *options, source, str(out)]
    return subprocess.run(command, cwd=ROOT, env=environment).returncode


def empty(folder: Path) -> None:
    """Remove the website that an earlier build left: it may hold what must not be in this one.

    Raises:
        ValueError: when the folder holds something else.
    """
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / ".buildinfo").is_file():
            raise ValueError(f"{folder} holds files that are no website of this course. Name an empty folder.")
        shutil.rmtree(folder)


def main(arguments: list[str]) -> int:
    """Build the site; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.site", description=__doc__)
    parser.add_argument("--no-solutions", action="store_true", help="leave out the solutions, for students")
    parser.add_argument("--public", action="store_true", help="leave out what was learned from the ratings")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the site; build/site unless given")
    parser.add_argument("--doctrees", type=Path, default=DOCTREES, help="folder for what Sphinx has read")
    chosen = parser.parse_args(arguments)
    out = chosen.out.resolve()
    try:
        empty(out)
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 1
    values = {"course_solutions": not chosen.no_solutions, "course_public": chosen.public}
    options = [word for name, value in values.items() for word in ("-D", f"{name}={int(value)}")]
    doctrees = chosen.doctrees.resolve()
    if code := sphinx("html", out, doctrees, *options):
        return code
    for language in LANGUAGES:
        if code := sphinx("html", out / language, doctrees / language, *options, language=language):
            return code
    print(f"Open {out / 'index.html'}")
    if not chosen.no_solutions:
        print("It contains the solutions of the exercises. For students: make site SOLUTIONS=no")
    if any(out.glob("_static/predict-model-*.js")):
        print("It contains what was learned from MovieLens, for you alone. For others: make site PUBLIC=yes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
