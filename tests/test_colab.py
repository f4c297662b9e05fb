"""The copies for Google Colab: they set up by themselves, lead to each other, and run as the course does."""

import builtins
import contextlib
import json
import re
import subprocess
import sys
import urllib.request
import zipfile
from importlib import metadata

from tools import ROOT
from tools.colab import (
    BEGIN,
    END,
    ColabError,
    Place,
    buttons,
    copies,
    course_zip,
    for_colab,
    make,
    needed,
    set_up,
    settings,
    trial,
    with_buttons,
)
from tools.colab.__main__ import main
from tools.course import EXERCISES, NOTEBOOKS

import nbformat
import pytest
from packaging.requirements import Requirement

HERE = Place(address="http://127.0.0.1:1/course.zip")
PUBLISHED = Place("ada/course")


def read(path):
    return nbformat.read(path, as_version=4)


# --- What a notebook needs there ------------------------------------------------------------------


def test_the_ranges_are_those_of_the_course_but_for_two():
    lines = needed(settings())
    assert lines[0] == "python>=3.11,<3.14"
    ranges = {Requirement(line).name: str(Requirement(line).specifier) for line in lines}
    course = {
        Requirement(text).name: str(Requirement(text).specifier)
        for text in settings()["project"]["dependencies"]
    }
    assert "jupyterlab" not in ranges and "tensorflow-cpu" not in ranges
    other = {name for name in ranges if name != "python" and ranges[name] != course[name]}
    assert other == {"ipywidgets", "psutil"} and ranges["keras"] == "<4,>=3.14"
    assert len(lines) == len(ranges), "no name twice, although TensorFlow has two"


def test_what_is_there_is_used_and_what_lacks_is_named(monkeypatch):
    monkeypatch.setattr(metadata, "version", {"keras": "3.13.2", "numpy": "2.1.3"}.__getitem__)
    monkeypatch.setattr(metadata, "PackageNotFoundError", KeyError)
    lines = "python>=3.11,<3.14\nkeras>=3.12,<4\npooch>=1.8\nnumpy>=2.0,<3\n"
    absent, outdated = set_up.missing(set_up.requirements(lines), "3.13.1")
    assert [str(one) for one in absent] == ["pooch>=1.8"] and outdated == []


def test_keras_alone_may_be_renewed_beside_the_one_that_is_there(monkeypatch):
    monkeypatch.setattr(metadata, "version", {"keras": "3.13.2"}.__getitem__)
    absent, outdated = set_up.missing(set_up.requirements("python>=3.11\nkeras>=3.14,<4"), "3.13.1")
    assert absent == [] and [one.name for one in outdated] == ["keras"]
    asked = []
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: asked.append(command) or subprocess.CompletedProcess(command, 0)
    )
    set_up.install(outdated, "--target", "own")
    assert asked[0][-4:] == ["--no-deps", "--target", "own", "keras<4,>=3.14"]


def test_keras_that_is_in_use_can_not_be_renewed(monkeypatch, tmp_path):
    (tmp_path / "needed.txt").write_text("keras>=99\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "before")
    import keras  # noqa: F401

    with pytest.raises(set_up.SetUpError, match="keras is in use in an older version. Restart the session"):
        set_up.main(tmp_path)


@pytest.mark.parametrize(
    ("line", "python", "said"),
    [
        ("python>=3.11,<3.14", "3.14.0", r"python <3.14,>=3.11 \(here: 3.14.0\)"),
        ("numpy>=99", "3.12.0", r"numpy >=99 \(here: 2"),
    ],
)
def test_another_version_is_a_sentence_and_nothing_is_exchanged(line, python, said):
    with pytest.raises(set_up.SetUpError, match=said) as problem:
        set_up.missing(set_up.requirements(line), python)
    assert "another runtime version" in str(problem.value)


def test_only_what_lacks_is_installed_without_what_it_needs(monkeypatch, capsys):
    asked = []

    def run(command, **_):
        asked.append(command)
        return subprocess.CompletedProcess(command, len(asked) - 1, "", "no matching distribution")

    monkeypatch.setattr(subprocess, "run", run)
    set_up.install([])
    assert not asked
    set_up.install(set_up.requirements("pooch>=1.8"))
    assert asked[0][-2:] == ["--no-deps", "pooch>=1.8"]
    assert capsys.readouterr().out == "Installed pooch>=1.8.\n"
    with pytest.raises(set_up.SetUpError, match="pip can't install pooch>=1.8. It said: no matching"):
        set_up.install(set_up.requirements("pooch>=1.8"))


def test_a_runtime_without_tensorflow_is_the_wrong_one(monkeypatch):
    monkeypatch.setattr(metadata, "version", {}.__getitem__)
    monkeypatch.setattr(metadata, "PackageNotFoundError", KeyError)
    lines = "python>=3.11\npooch>=1.8\ntensorflow>=2.20"
    with pytest.raises(set_up.SetUpError, match=r"needs tensorflow>=2.20 \(here: none\)\. In Colab's menu"):
        set_up.missing(set_up.requirements(lines), "3.12.0")


# --- course.zip -----------------------------------------------------------------------------------


def test_the_zip_has_the_package_and_its_name_and_the_same_bytes_twice(tmp_path):
    zipped = course_zip(["python>=3.11", "keras>=3.12"], "1.2.3", None)
    assert zipped == course_zip(["python>=3.11", "keras>=3.12"], "1.2.3", None)
    (tmp_path / "course.zip").write_bytes(zipped)
    with zipfile.ZipFile(tmp_path / "course.zip") as archive:
        archive.extractall(tmp_path)
        names = archive.namelist()
    found = metadata.PathDistribution(tmp_path / "neural_recommenders_course-1.2.3.dist-info")
    assert found.version == "1.2.3" and found.requires == ["keras>=3.12"]
    package = {path.relative_to(ROOT).as_posix() for path in (ROOT / "course_utils").rglob("*.py")}
    assert package <= set(names) and "data/published/mf_published_log.csv" in names
    assert not [name for name in names if name.startswith("data/ml-100k")]


def test_the_data_are_in_it_when_asked_for(tmp_path):
    from course_utils.fetch import data_dir

    (tmp_path / "course.zip").write_bytes(course_zip(["python"], "1", data_dir() / "ml-100k"))
    with zipfile.ZipFile(tmp_path / "course.zip") as archive:
        inside = [name for name in archive.namelist() if name.startswith("data/ml-100k/")]
    assert len(inside) == 3
    with pytest.raises(ColabError, match="make data"):
        course_zip(["python"], "1", tmp_path / "nothing")


# --- The copies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(copies()), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_copy_has_the_code_of_the_course_and_nothing_that_lies_beside_it(path):
    original, names = read(path), copies()
    made = for_colab(original, path, PUBLISHED, names)
    first, *rest = made.cells
    assert first.cell_type == "code" and "https://github.com/ada/course/raw/colab/course.zip" in first.source
    assert len(first.source.splitlines()) <= 20
    nbformat.validate(made)
    for old, new in zip(original.cells, rest, strict=True):
        assert old.id == new.id
        if old.cell_type == "code":
            assert old.source == new.source and old.outputs == new.outputs
            continue
        for target in re.findall(r"\]\(([^)\s]+)\)", new.source) + re.findall(
            r'<img[^>]*src="([^"]+)"', new.source
        ):
            assert re.match(r"https?:|data:|#", target), f"{old.id}: {target[:80]} lies beside the notebook"


def test_links_lead_to_the_copies_and_pictures_are_inside():
    text = (
        "[Next](01_ratings.ipynb) and [there](02_one_hot.ipynb#The-source), [word](glossary.md#mu), "
        "[site](https://example.org/a), [below](#Quiz)\n\n![a map](figures/what_you_build.svg)"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
    path = NOTEBOOKS / "00_welcome.ipynb"
    made = for_colab(notebook, path, PUBLISHED, copies()).cells[1].source
    colab = "https://colab.research.google.com/github/ada/course/blob/colab"
    assert f"[Next]({colab}/01_ratings.ipynb) and [there]({colab}/02_one_hot.ipynb)," in made
    assert "[word](https://github.com/ada/course/blob/HEAD/notebooks/glossary.md#mu)" in made
    assert "[site](https://example.org/a), [below](#Quiz)" in made
    assert "![a map](data:image/svg+xml;base64," in made
    assert notebook.cells[0].source == text, "the original stays as it was"
    nowhere = for_colab(notebook, path, HERE, copies()).cells[1].source
    assert nowhere.startswith("Next and there, word, [site](https://example.org/a), [below](#Quiz)")


def test_an_exercise_leads_to_its_notebook():
    path = EXERCISES / "02_one_hot.ipynb"
    text = json.dumps(for_colab(read(path), path, PUBLISHED, copies()))
    assert "blob/colab/02_one_hot.ipynb" in text and "blob/colab/exercises/03_embeddings.ipynb" in text


def test_without_an_address_nothing_is_made(tmp_path):
    with pytest.raises(ColabError, match="ADDRESS=https"):
        make(Place(), tmp_path / "colab")
    assert not (tmp_path / "colab").exists()
    with pytest.raises(ColabError, match='must be "owner/name" or "", but it is \'https://github.com/a/b\''):
        Place("https://github.com/a/b")


# --- Run ------------------------------------------------------------------------------------------


def first_cell(address, folder):
    place = Place(address=address, folder=folder.as_posix())
    return for_colab(nbformat.v4.new_notebook(), NOTEBOOKS / "x.ipynb", place, {}).cells[0].source


@pytest.mark.parametrize("content", [None, b"<html>Sign in</html>"])
def test_a_wrong_address_is_a_sentence(tmp_path, content):
    if content:
        (tmp_path / "course.zip").write_bytes(content)
    with trial.served(tmp_path) as address, pytest.raises(RuntimeError, match="tell your teacher") as problem:
        exec(first_cell(f"{address}/course.zip", tmp_path / "there"), {"__builtins__": builtins})
    assert f"{address}/course.zip" in str(problem.value) and problem.value.__cause__ is None


def test_the_server_of_the_trial_serves_loopback_only(tmp_path):
    (tmp_path / "a.txt").write_text("here", encoding="utf-8")
    with trial.served(tmp_path) as address:
        assert address.startswith("http://127.0.0.1:")
        assert urllib.request.urlopen(f"{address}/a.txt").read() == b"here"
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{address}/a.txt", timeout=2)


@pytest.mark.slow
def test_copies_run_by_themselves(capsys):
    """00 and 01 in a kernel that starts in an empty folder: course_utils and the data come out of the zip."""
    assert trial.main(["00", "01"]) == 0, capsys.readouterr().out
    said = capsys.readouterr().out
    assert len(re.findall(r"0[01]_\w+\.ipynb: \d+ s\. Ready: Python 3", said)) == 2
    assert "exercises/01_ratings" not in said, "only what was asked for"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "said"),
    [("import sys; print('warning', file=sys.stderr)", "wrote to stderr"), ("1 / 0", "ZeroDivisionError")],
)
def test_the_trial_notices(tmp_path, code, said):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code, id="bad")])
    with pytest.raises(Exception, match=said):
        trial.run(notebook, sys.executable, tmp_path)
    with pytest.raises(RuntimeError, match="not from course.zip"):
        trial.run(nbformat.v4.new_notebook(), sys.executable, tmp_path)


# --- README's buttons -----------------------------------------------------------------------------


def test_buttons_appear_only_with_a_repository():
    assert buttons("") == ""
    made = buttons("ada/course")
    assert "https://colab.research.google.com/github/ada/course/blob/colab/00_welcome.ipynb" in made
    assert "https://codespaces.new/ada/course" in made and "https://mybinder.org/v2/gh/ada/course/HEAD" in made


def test_readme_has_the_buttons_of_its_constant():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme == with_buttons(readme, settings()["course"]["github"]), (
        "run `make colab` and commit README.md"
    )
    filled = with_buttons(readme, "ada/course")
    assert "codespaces.new/ada/course" in filled and with_buttons(filled, "") == with_buttons(readme, "")
    assert filled.index(BEGIN) < filled.index("codespaces.new") < filled.index(END)
    with pytest.raises(ColabError, match="must have the lines"):
        with_buttons("# Course\n", "ada/course")


def test_the_command_says_what_lacks(capsys):
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(
            "tools.colab.__main__.settings", lambda: {"course": {"github": ""}}
        )
        assert main([]) == 1
    assert "github = " in capsys.readouterr().err
