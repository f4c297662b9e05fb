"""What students get: the course without solutions, without links to them, and otherwise whole."""

import json
import os
import re
import subprocess
import sys
import zipfile

from tools.course import ROOT
from tools.grading import student_copy
from tools.links import broken_links

import nbformat
import pytest


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """The unpacked copy."""
    folder = tmp_path_factory.mktemp("students")
    names = student_copy.make(folder / "course.zip")
    assert names
    with zipfile.ZipFile(folder / "course.zip") as packed:
        packed.extractall(folder)
    assert not list(folder.glob("*.part"))
    return folder / student_copy.FOLDER


def texts(folder):
    """(path, Markdown) of every guide and every text cell."""
    for path in [*folder.rglob("*.md"), *folder.rglob("*.ipynb")]:
        if path.suffix == ".md":
            yield path, path.read_text("utf-8")
        else:
            for cell in nbformat.read(path, as_version=4).cells:
                if cell.cell_type == "markdown":
                    yield path, cell.source


def test_there_is_no_solution_and_no_history(copied):
    names = {path.name for path in copied.iterdir()}
    assert {"README.md", "Makefile", "notebooks", "exercises", "course_utils", "requirements.txt"} <= names
    assert not {"solutions", "tests", "INSTRUCTORS.md", ".git"} & names
    everything = [path for path in copied.rglob("*") if path.is_file()]
    for path in everything:
        assert b"BEGIN SOLUTION" not in path.read_bytes(), path
    for source in (ROOT / "solutions").glob("*.ipynb"):
        for cell in nbformat.read(source, as_version=4).cells:
            # The longest line of each answer stands nowhere.
            if cell.cell_type == "code" and "### BEGIN SOLUTION" in cell.source:
                answer = cell.source.partition("### BEGIN SOLUTION")[2].partition("### END SOLUTION")[0]
                line = json.dumps(max(answer.splitlines(), key=len).strip())[1:-1].encode()
                student = copied / "exercises" / source.name
                assert len(line) < 16 or line not in student.read_bytes(), (source.name, line)


def test_no_text_leads_to_a_solution_and_every_link_leads_somewhere(copied):
    for path, text in texts(copied):
        assert "solutions" not in text, (path.name, text)
        found = [sentence for sentence in broken_links(text, path) if "which does not exist" in sentence]
        assert not found, (path.name, found)


def test_exercises_are_unchanged_but_for_links(copied):
    for path in (ROOT / "exercises").glob("*.ipynb"):
        ours, theirs = (nbformat.read(file, as_version=4) for file in (path, copied / "exercises" / path.name))
        assert [cell.source for cell in ours.cells if cell.cell_type == "code"] == [
            cell.source for cell in theirs.cells if cell.cell_type == "code"
        ]


def test_it_can_be_set_up(copied):
    """What `make lab` calls first works without the folders that are left out."""
    environment = {**os.environ, "PYTHONPATH": ""}
    for words in (["-m", "tools.setup", "--fits"], ["-c", "import course_utils.__main__, tools.stick"]):
        done = subprocess.run(
            [sys.executable, *words], cwd=copied, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def test_a_text_that_still_names_solutions_is_refused(tmp_path):
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "README.md").write_text("See ./solutions/01.ipynb!")
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    with pytest.raises(ValueError, match="README.md still names solutions"):
        student_copy.make(tmp_path / "x.zip", repository)
    assert not (tmp_path / "x.zip").exists()


def test_students_can_pull_after_they_ran_notebooks(tmp_path):
    """The three commands of README.md, with changes on both sides in a notebook and in an exercise."""
    row = next(line for line in (ROOT / "README.md").read_text("utf-8").splitlines() if "git stash" in line)
    commands = re.findall(r"`(git (?:stash|pull|restore)[^`]*)`", row.partition("| Running")[2])
    assert len(commands) == 3

    def run(folder, *words):
        git = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a"}
        git |= {"GIT_COMMITTER_EMAIL": "a@b", "GIT_CONFIG_GLOBAL": os.devnull}
        return subprocess.run(words, cwd=folder, check=False, capture_output=True, env=os.environ | git)

    course, student = tmp_path / "course", tmp_path / "student"
    for name in ("notebooks/n.ipynb", "exercises/mine.ipynb", "exercises/other.ipynb"):
        (course / name).parent.mkdir(parents=True, exist_ok=True)
        (course / name).write_text("old\n")
    run(course, "git", "init", "--quiet")
    run(course, "git", "add", ".")
    run(course, "git", "commit", "--quiet", "-m", "old")
    run(tmp_path, "git", "clone", "--quiet", str(course), str(student))
    for path in course.glob("*/*.ipynb"):
        path.write_text("new\n")
    run(course, "git", "commit", "--quiet", "-am", "new")
    (student / "notebooks" / "n.ipynb").write_text("run\n")
    (student / "exercises" / "mine.ipynb").write_text("my answer\n")
    assert run(student, "git", "pull").returncode, "This is what the row is about."
    for command in commands:
        done = run(student, "bash", "-c", command)
        assert done.returncode == 0, (command, done.stderr)
    assert (student / "notebooks" / "n.ipynb").read_text() == "new\n"
    assert (student / "exercises" / "mine.ipynb").read_text() == "my answer\n"
    assert (student / "exercises" / "other.ipynb").read_text() == "new\n"
