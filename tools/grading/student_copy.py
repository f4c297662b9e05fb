"""Make the copy that students get: ``python -m tools.grading.student_copy``, or ``make release``.

It is the course as it was committed last, as a zip, without the solutions, what belongs to teachers and makers,
git's history, and every link to one of these.
"""

import io
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from tools import ROOT
from tools.languages import LANGUAGES
from tools.links import links

TARGET = ROOT / "build" / "course-for-students.zip"
FOLDER = "course"
# For teachers and makers. tests/ has answers of students, tools/grading/ takes solutions apart.
LEFT_OUT = (
    *("solutions/", "tests/", "tools/grading/", "tools/site/", "tools/slides/", ".github/", ".ci/"),
    *("tools/exercise_rules.py", "tools/mutate.py", "tools/rules.py", "tools/ledger.py"),
    *("INSTRUCTORS.md", "CONTRIBUTING.md", "CHANGELOG.md", ".gitattributes"),
    *("ko/solutions/", "ko/INSTRUCTORS.md", "locale/", "tools/languages/"),
)
# What makes no sense without the solutions, or for students.
SENTENCE = re.compile(r" *Solutions are in .*?\.(?=\s|$)( They help most after you have tried\.)?")
SECTION = re.compile(r"^## (?:For instructors|강사용 안내)\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
# In another language: any sentence that leads to the solutions or names their folder.
OTHER_SENTENCE = re.compile(
    r" *(?:[^.!?\n|]|\.(?=\S))*(?:\]\((?:\.\./)*solutions/[^)]*\)|`solutions/?`)(?:[^.!?\n|]|\.(?=\S))*[.!?]?"
)


def make(target: Path = TARGET, root: Path = ROOT) -> list[str]:
    """Write the zip, whole or not at all, and return the names of its files.

    Raises:
        subprocess.CalledProcessError: ``root`` is no git repository with a commit.
        ValueError: something still leads to a solution.
    """
    archive = ["git", "-C", str(root), "archive", "--format=tar", "HEAD"]
    content = subprocess.run(archive, capture_output=True, check=True).stdout
    files, modes = {}, {}
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar.getmembers():
            if member.isfile() and not member.name.startswith(LEFT_OUT):
                files[member.name] = tar.extractfile(member).read()
                modes[member.name] = member.mode
    for name in files:
        if name.endswith((".md", ".ipynb")):
            files[name] = _cut(name, files[name].decode("utf-8"), set(files)).encode()
            if re.search(rb"\bsolutions[/`]", files[name]):
                raise ValueError(f"{name} still names solutions: mend tools/grading/student_copy.py")
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_suffix(".part")
    with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in sorted(files.items()):
            about = zipfile.ZipInfo(f"{FOLDER}/{name}")
            about.external_attr = modes[name] << 16
            about.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(about, data)
    beside.replace(target)
    return sorted(files)


def _cut(name: str, text: str, there: set[str]) -> str:
    """Return a Markdown file or a notebook without links to what is not there."""
    if name.endswith(".md"):
        return _cut_links(name, text, there)
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            source = "".join(cell["source"])
            cut = _cut_links(name, source, there)
            if cut != source:
                cell["source"] = cut.splitlines(keepends=True)
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"


def _cut_links(name: str, text: str, there: set[str]) -> str:
    text = SECTION.sub("", SENTENCE.sub("", text))
    if name.startswith(tuple(f"{language}/" for language in LANGUAGES)):
        text = OTHER_SENTENCE.sub("", text)
    for link in links(text):
        place = link.target.partition("#")[0]
        if not place or re.match(r"[a-z]+:", place) or link.picture:
            continue
        if _path(name, place) not in there:
            text = re.sub(rf"\[([^\]]+)\]\({re.escape(link.target)}\)", r"\1", text)
    return text


def _path(name: str, place: str) -> str:
    """Return the path that a link in the file ``name`` leads to."""
    parts: list[str] = []
    for part in (PurePosixPath(name).parent / place).parts:
        if part == "..":
            parts = parts[:-1]
        else:
            parts.append(part)
    return "/".join(parts)


def main() -> int:
    """Write the zip and say what is in it; return the exit code."""
    try:
        names = make()
    except (ValueError, OSError, subprocess.CalledProcessError) as problem:
        print(problem, (getattr(problem, "stderr", None) or b"").decode(), file=sys.stderr)
        return 1
    size = TARGET.stat().st_size / 1e6
    print(
        f"{TARGET.relative_to(ROOT)}: {len(names)} files, {size:.1f} MB, as committed last, without solutions"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
