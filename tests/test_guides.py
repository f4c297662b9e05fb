"""Every guide: its links lead somewhere, and it names only commands, files and functions that exist."""

import importlib.metadata

from tools.course import NOTEBOOKS, ROOT
from tools.guides import problems, scripts
from tools.links import broken_links, code

import nbformat
import pytest

NAMES = ("*.md", "data/*.md", "data/published/*.md", "benchmarks/*.md", "notebooks/*.md", "tools/site/*.md")
GUIDES = sorted(path for name in NAMES for path in ROOT.glob(name))
each_guide = pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.relative_to(ROOT).as_posix())


def test_the_guides_are_there():
    names = {path.relative_to(ROOT).as_posix() for path in GUIDES}
    assert {
        "README.md",
        "INSTRUCTORS.md",
        "CONTRIBUTING.md",
        "data/README.md",
        "notebooks/glossary.md",
    } <= names


@each_guide
def test_links_lead_somewhere(path):
    assert broken_links(path.read_text(encoding="utf-8"), path) == []


@each_guide
def test_what_a_guide_names_exists(path):
    assert problems(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_what_a_notebook_names_exists(path):
    cells = nbformat.read(path, as_version=4).cells
    assert problems("\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")) == []


def test_programs_that_guides_call_are_installed():
    pytest.importorskip("nbdime", reason="nbdime is not installed: make tools")
    known = {script.name for script in importlib.metadata.entry_points(group="console_scripts")}
    for path in GUIDES:
        missing = scripts(path.read_text(encoding="utf-8")) - known
        assert not missing, f"{path.name} calls {missing}"


def test_programs_are_found_in_a_text():
    text = "`.venv/bin/nbdime x`, `.venv\\Scripts\\python x`\n\n```\n.venv/bin/jupyter-lab\n```\n.venv/bin/no"
    assert scripts(text) == {"nbdime", "jupyter-lab"}


def test_code_of_a_text():
    assert code("`a` b\n\n```sh\nc\nd\n```\n\n    e\n") == ["a", "c\nd\n", "e\n"]


GOOD = """Run `make lab` or `make lab OPTIONS="--no-browser --port=9000"`. `make` alone lists all: make believe.

```
PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels make lab      # make nothing of this
cd course && make data && cd ..
.venv/bin/python -m tools.grading.grade submissions --only 02_one_hot --out points.csv
.venv\\Scripts\\python -m course_utils lab --port=9000
py -3.12 -m venv .venv
python -m pip install x
```

`course_utils.data.load_ratings` in `course_utils/data.py`, `course_utils.large.streaming`, `tools.execute`,
`tests/wrong_answers/NN_name.toml`, `notebooks/*.ipynb`, `COURSE_DATA_DIR=/data`, `https://x.org/tools/gone`
"""
BROKEN = {
    "target": ("make lab`", "make lap`", "names `make lap`, and the Makefile has no such target"),
    "target behind another": ("make data &&", "make date &&", "names `make date`"),
    "target behind a variable": ("wheels make lab", "wheels make laboratory", "names `make laboratory`"),
    "variable of make": ("OPTIONS=", "OPTION=", "names OPTION=, which the Makefile does not know"),
    "module": ("tools.grading.grade", "grading.grade", "names the module grading.grade"),
    "module of ours": ("-m tools.grading.grade", "-m tools.grade", "names `python -m tools.grade`"),
    "module that is no command": ("-m course_utils", "-m course_utils.data", "which is no command"),
    "module on Windows": ("-m venv", "-m venvv", "names the module venvv"),
    "option": ("--only", "--just", "names --just of tools.grading.grade"),
    "function": (
        ".load_ratings",
        ".read_ratings",
        "names course_utils.data.read_ratings, which does not exist",
    ),
    "module in words": ("`tools.execute`", "`tools.executor`", "names tools.executor, which does not exist"),
    "file": ("course_utils/data.py", "course_utils/date.py", "names course_utils/date.py"),
    "files": ("NN_name.toml", "NN_name.json", "names tests/wrong_answers/NN_name.json"),
    "environment": ("COURSE_DATA_DIR", "COURSE_DATA", "names COURSE_DATA, which nothing reads"),
}


def test_a_good_guide_passes():
    assert problems(GOOD) == []


@pytest.mark.parametrize(("old", "new", "sentence"), BROKEN.values(), ids=BROKEN.keys())
def test_every_rule_can_fail(old, new, sentence):
    assert old in GOOD
    found = problems(GOOD.replace(old, new))
    assert any(sentence in one for one in found), found


def test_broken_links_of_a_guide_are_found(tmp_path):
    (tmp_path / "other.md").write_text("# One place\n")
    path = tmp_path / "guide.md"
    text = (
        "[a](other.md#One-place) [b](other.md#Gone) [c](gone.md) <a href='gone.png'>d</a> [e][f] ![](other.md)"
    )
    found = " ".join(broken_links(f"{text} [g](.)", path))
    assert "other.md#Gone, and there is no such place" in found and "gone.md" in found and "gone.png" in found
    assert "[e][f]" in found and "alternative text" in found and "links to ., which does not exist" in found
    assert "One-place" not in found
