"""The course for who can install nothing: copies of the notebooks for Google Colab, and README's buttons.

``python -m tools.colab``, or ``make colab``, fills ``build/colab``: each notebook and exercise with a first
cell that sets up, its drawings inside it and its links leading to the other copies; and ``course.zip`` with
``course_utils``, the data and ``set_up.py``. The one constant is ``github`` in ``[tool.course]`` of
pyproject.toml: the repository whose branch ``colab`` has the content of that folder.
"""

import base64
import copy
import io
import mimetypes
import re
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

from course_utils.checks import DataError
from course_utils.fetch import data_dir, find_tables
from tools.course import EXERCISES, NOTEBOOKS, ROOT, course_notebooks

import nbformat
from packaging.requirements import Requirement

FOLDER = ROOT / "build" / "colab"
ON_COLAB = "/content/course"  # where the first cell unpacks course.zip
BRANCH = "colab"
FIRST_CELL = """\
# For Google Colab. Run this cell first, each time you open the notebook: it fetches the course and its data.
import io
import runpy
import urllib.request
import zipfile

ADDRESS = {address!r}
try:
    with urllib.request.urlopen(ADDRESS, timeout=60) as answer:
        course = zipfile.ZipFile(io.BytesIO(answer.read()))
except (OSError, zipfile.BadZipFile) as problem:
    raise RuntimeError(f"Can't fetch {{ADDRESS}} ({{problem}}). Try again; or tell your teacher.") from None
course.extractall({folder!r})
_ = runpy.run_path({set_up!r}, run_name="__main__")"""


class ColabError(ValueError):
    """The copies for Colab can't be made; the message says why."""


@dataclass(frozen=True)
class Place:
    """Where the copies are published.

    Args:
        github: "owner/name" of a repository on GitHub, or nothing: then notebooks do not link to each other.
        address: of ``course.zip``; what ``github`` says, unless given.
        folder: where the first cell unpacks it.
    """

    github: str = ""
    address: str = ""
    folder: str = ON_COLAB

    def __post_init__(self):
        if self.github and not re.fullmatch(r"[\w.-]+/[\w.-]+", self.github, re.ASCII):
            raise ColabError(
                'github in [tool.course] of pyproject.toml must be "owner/name" or "", but it is '
                f"{self.github!r}."
            )

    def zip_address(self) -> str:
        """Return the address of ``course.zip``.

        Raises:
            ColabError: neither was given.
        """
        if self.address:
            return self.address
        if not self.github:
            raise ColabError(
                'Nothing says where course.zip will be. Fill in github = "owner/name" in [tool.course] of '
                "pyproject.toml, or give the address of the file: make colab ADDRESS=https://..."
            )
        return f"https://github.com/{self.github}/raw/{BRANCH}/course.zip"

    def notebook(self, name: str) -> str:
        """Return the address that opens a copy, for example of "00_welcome.ipynb"."""
        return f"https://colab.research.google.com/github/{self.github}/blob/{BRANCH}/{name}"

    def file(self, name: str) -> str:
        """Return the address that shows a file of the repository."""
        return f"https://github.com/{self.github}/blob/HEAD/{name}"


def settings(root: Path = ROOT) -> dict:
    """Return ``[tool.course]`` and ``[project]`` of pyproject.toml as {"course": ..., "project": ...}."""
    pyproject = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return {"course": pyproject["tool"]["course"], "project": pyproject["project"]}


def needed(known: dict) -> list[str]:
    """Return what a notebook needs on Colab, one requirement a line, "python" first.

    It is what the course installs elsewhere, with the same ranges, except ``without`` (what Colab has of its
    own instead: JupyterLab, for example) and ``other`` (a wider range).

    Args:
        known: what ``settings`` returns.
    """
    options = known["course"]["colab"]
    lines = [f"python{known['project']['requires-python']}"]
    for text in known["project"]["dependencies"]:
        requirement = Requirement(text)
        name = "tensorflow" if requirement.name == "tensorflow-cpu" else requirement.name
        line = f"{name}{options['other'].get(name, requirement.specifier)}"
        if name not in options["without"] and line not in lines:
            lines.append(line)
    return lines


def course_zip(lines: list[str], version: str, data: Path | None) -> bytes:
    """Return ``course.zip``: ``course_utils``, its metadata, published logs, ``set_up.py``, perhaps the data.

    Args:
        lines: what ``needed`` returns.
        version: of the course.
        data: the folder with the three tables; without it, notebooks fetch the data themselves.

    Raises:
        ColabError: the data are not there.
    """
    about = f"neural_recommenders_course-{version}.dist-info/METADATA"
    metadata = ["Metadata-Version: 2.1", "Name: neural-recommenders-course", f"Version: {version}"]
    files = {
        # Notebook 00 asks for it. Without a file in it, a zip would leave the folder out.
        about: "\n".join(metadata + [f"Requires-Dist: {line}" for line in lines[1:]]) + "\n",
        "needed.txt": "\n".join(lines) + "\n",
        "set_up.py": (Path(__file__).parent / "set_up.py").read_text(encoding="utf-8"),
        # It says that this is the course, so that the data are looked for beside it.
        "pyproject.toml": "# Made by tools/colab.\n",
        "notebooks/README.md": "Notebooks run here, so that ../data is where they expect it.\n",
    }
    for path in [*(ROOT / "course_utils").rglob("*.py"), *(ROOT / "data" / "published").glob("*.*")]:
        files[path.relative_to(ROOT).as_posix()] = path.read_bytes()
    if data:
        try:
            tables = find_tables(data)
        except DataError as problem:
            raise ColabError(str(problem)) from problem
        if not tables:
            raise ColabError(f"{data} has no data yet. Run `make data`, then this again.")
        for path in tables:
            files["data/ml-100k/" + path.relative_to(data).as_posix()] = path.read_bytes()
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in sorted(files.items()):
            # The same input gives the same bytes: no time of today in it.
            entry = zipfile.ZipInfo(name, date_time=(2026, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(entry, content)
    return memory.getvalue()


def for_colab(
    notebook: nbformat.NotebookNode, path: Path, place: Place, names: dict[Path, str]
) -> nbformat.NotebookNode:
    """Return a copy of a notebook for Colab: a first cell that sets up, drawings inside, links that lead on.

    Args:
        notebook: the notebook.
        path: where it lies in the repository.
        place: where the copies are published.
        names: the names of the copies, by the paths of the notebooks.
    """
    made = copy.deepcopy(notebook)
    for cell in made.cells:
        if cell.cell_type == "markdown":
            cell.source = _links(cell.source, path, place, names)
        # The rest is for JupyterLab, slides and tests.
        fails = "raises-exception" in cell.metadata.get("tags", [])
        cell.metadata = nbformat.from_dict({"tags": ["raises-exception"]} if fails else {})
    code = FIRST_CELL.format(
        address=place.zip_address(), folder=place.folder, set_up=f"{place.folder}/set_up.py"
    )
    first = nbformat.v4.new_code_cell(code, id="set-up")
    made.cells.insert(0, first)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    made.metadata = nbformat.from_dict({"kernelspec": kernel, "colab": {"provenance": []}})
    return made


LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
IMAGE = re.compile(r'(<img[^>]*\ssrc=")([^"]+)(")')


def _links(text: str, path: Path, place: Place, names: dict[Path, str]) -> str:
    """Put pictures into the text, let links lead to the copies; one that leads nowhere becomes its text."""

    def replaced(match: re.Match) -> str:
        target = match["target"]
        if match["picture"]:
            return f"![{match['text']}]({_inside(target, path)})"
        file, _, section = target.partition("#")
        if not file or re.match(r"[a-z]+:", file):
            return match[0]
        if not place.github:
            return match["text"]
        there = (path.parent / file).resolve()
        if there in names:
            # Colab names a section by an id of its own: the link leads to the notebook.
            return f"[{match['text']}]({place.notebook(names[there])})"
        address = place.file(there.relative_to(ROOT).as_posix()) + (f"#{section}" if section else "")
        return f"[{match['text']}]({address})"

    text = IMAGE.sub(lambda match: match[1] + _inside(match[2], path) + match[3], text)
    return LINK.sub(replaced, text)


def _inside(target: str, path: Path) -> str:
    """Return a picture as a data address, so that the notebook needs no other file."""
    if re.match(r"[a-z]+:", target):
        return target
    file = path.parent / target
    kind = mimetypes.guess_type(file.name)[0] or "image/svg+xml"
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"


def copies() -> dict[Path, str]:
    """Return the names of the copies, by the paths of the notebooks and exercises."""
    notebooks = [*course_notebooks(), NOTEBOOKS / "project.ipynb"]
    return {path: path.name for path in notebooks} | {
        path: f"exercises/{path.name}" for path in course_notebooks(EXERCISES)
    }


def make(place: Place, target: Path = FOLDER, data: bool = True) -> list[str]:
    """Fill ``target`` with the copies and ``course.zip``; return their names.

    Raises:
        ColabError: an address or the data are missing.
    """
    known, names = settings(), copies()
    place.zip_address()  # before anything is written
    zipped = course_zip(needed(known), known["project"]["version"], data_dir() / "ml-100k" if data else None)
    (target / "exercises").mkdir(parents=True, exist_ok=True)
    (target / "course.zip").write_bytes(zipped)
    for path, name in names.items():
        made = for_colab(nbformat.read(path, as_version=4), path, place, names)
        nbformat.write(made, target / name)
    return ["course.zip", *names.values()]


# --- README's buttons -----------------------------------------------------------------------------

BEGIN, END = "<!-- buttons: made by `python -m tools.colab --buttons` -->\n", "<!-- end of buttons -->\n"


def buttons(github: str) -> str:
    """Return the line of README.md that opens notebook 00 elsewhere, or nothing when no repository is named."""
    if not github:
        return ""
    place = Place(github)
    colab, first = place.notebook("00_welcome.ipynb"), "lab/tree/notebooks/00_welcome.ipynb"
    return (
        f"**Without installing anything**, open notebook 00 [in Google Colab]({colab}),\n"
        f"[in a Codespace](https://codespaces.new/{github}) (a machine with all of this in it), or\n"
        f"[on Binder](https://mybinder.org/v2/gh/{github}/HEAD?urlpath={first}).\n\n"
    )


def with_buttons(readme: str, github: str) -> str:
    """Return README.md's text with the buttons that belong to the repository.

    Raises:
        ColabError: the two comments between which they stand are gone.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ColabError(f"README.md must have the lines {BEGIN.strip()!r} and {END.strip()!r}.")
    return before + begin + buttons(github) + end + after
