"""Print the course into one PDF: ``python -m tools.site.pdf [--out file] [notebook ...]``.

Sphinx puts the notebooks onto one page, and a browser prints it: Playwright's Chromium, or the one on the PATH.
Nothing is executed; what stands in the notebooks is printed, with the answers of the quizzes.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tools.course import ROOT, course_notebooks
from tools.site.__main__ import sphinx

from playwright.sync_api import Error, sync_playwright

OUT = ROOT / "build" / "course.pdf"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
# In a folded answer, the answer; and all formulas, before the page is measured.
READY = """() => {
  document.querySelectorAll("details").forEach((one) => (one.open = true));
  return Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
}"""
FOOT = (
    '<p style="width: 100%; margin: 0 15mm; font: 8pt sans-serif; color: #444; display: flex; justify-content: '
    'space-between"><span>Neural recommenders</span><span class="pageNumber"></span></p>'
)


class PrintError(RuntimeError):
    """The PDF can't be made: there is no browser, or Sphinx found a fault."""


def one_page(notebooks: list[Path], folder: Path) -> Path:
    """Write the notebooks as one HTML page into a folder and return its path.

    Raises:
        PrintError: when Sphinx finds a fault; it says where.
    """
    names = ",".join(path.relative_to(ROOT).with_suffix("").as_posix() for path in notebooks)
    code = sphinx("singlehtml", folder / "html", folder / "doctrees", "-D", f"course_print={names}")
    if code:
        raise PrintError("Sphinx could not put the notebooks onto one page: see above.")
    # Sphinx writes it into a folder, with addresses as if it lay at the top.
    return (folder / "html" / "tools" / "site" / "print.html").rename(folder / "html" / "index.html")


def browser_path(default: str) -> str:
    """Return the program of a Chromium: the one on the PATH, or Playwright's own.

    Raises:
        PrintError: when there is none.
    """
    for path in (*map(shutil.which, BROWSERS), default):
        if path and Path(path).is_file():
            return path
    raise PrintError(
        "No Chromium was found to print with. Install it, or run: python -m playwright install chromium"
    )


def write(notebooks: list[Path], target: Path) -> None:
    """Print notebooks into one PDF, with page numbers and an outline.

    Raises:
        PrintError: see ``one_page`` and ``browser_path``; also when the browser fails.
    """
    # As root, in a container, Chromium's sandbox does not start. It only opens the page made here.
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as api:
        program = browser_path(api.chromium.executable_path)
        page_file = one_page(notebooks, Path(folder))
        try:
            browser = api.chromium.launch(executable_path=program, args=arguments)
            page = browser.new_page()
            page.set_default_timeout(600_000)
            page.goto(page_file.as_uri())
            page.evaluate("window.MathJax && MathJax.startup.promise")  # not there without a formula
            page.evaluate(READY)
            part = target.with_suffix(".part")
            target.parent.mkdir(parents=True, exist_ok=True)
            margin = {"top": "15mm", "bottom": "18mm", "left": "15mm", "right": "15mm"}
            page.pdf(path=part, format="A4", margin=margin, print_background=True, outline=True, tagged=True,
                     display_header_footer=True, header_template="<p></p>", footer_template=FOOT)  # fmt: skip
            browser.close()
        except Error as problem:
            raise PrintError(f"The browser could not print: {problem}") from problem
        part.replace(target)


def main(arguments: list[str]) -> int:
    """Print the notebooks in ``arguments``, or the whole course; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.site.pdf", description="Print the course into a PDF."
    )
    parser.add_argument("--out", type=Path, default=OUT, help="the file; build/course.pdf unless given")
    parser.add_argument("notebooks", nargs="*", type=Path, help="only these notebooks")
    chosen = parser.parse_args(arguments)
    wanted = [path.resolve() for path in chosen.notebooks] or course_notebooks()
    try:
        write(wanted, chosen.out.resolve())
    except PrintError as problem:
        print(problem, file=sys.stderr)
        return 1
    print(f"{chosen.out}: {chosen.out.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
