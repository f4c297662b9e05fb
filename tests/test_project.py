"""The project sheet obeys the rules of the notebooks, its points add up, and task A can be solved."""

import re

from course_utils.data import load_ratings, sizes, split_ratings
from course_utils.made import write_example
from course_utils.metrics import baseline_scores, rmse
from course_utils.models import matrix_factorization
from course_utils.training import fit, set_seed
from tools import rules
from tools.course import ROOT, anchor, anchors

import nbformat

FOLDER = ROOT / "notebooks"
PATH = FOLDER / "project.ipynb"
NOTEBOOK = nbformat.read(PATH, as_version=4)
TEXT = "\n\n".join(cell.source for cell in NOTEBOOK.cells if cell.cell_type == "markdown")
TASKS = re.split(r"^## (?=Task )", TEXT, flags=re.MULTILINE)[1:]


def test_the_project_obeys_the_rules_of_the_notebooks():
    nbformat.validate(NOTEBOOK)
    checks = (rules.metadata_problems, rules.cell_problems, rules.section_problems)
    found = [sentence for check in checks for sentence in check(NOTEBOOK)]
    assert found + rules.link_problems(NOTEBOOK, PATH) == []
    assert [mark for mark in rules.HEADER if mark not in TEXT.partition("\n## ")[0]] == []
    assert "](00_welcome.ipynb#Course-map)" in TEXT.partition("\n## ")[0] and "## What you learned" in TEXT


def test_links_lead_to_sections():
    for _, _, target in rules.LINK.findall(TEXT):
        file, _, name = target.partition("#")
        if name:
            assert anchor(name) in anchors(FOLDER / file), f"{target} does not exist"


def test_each_task_is_complete_and_the_points_add_up():
    points = []
    for letter, task in zip("ABC", TASKS, strict=True):
        promised = re.match(rf"Task {letter}: .+ \((\d+) points\)\n", task)
        for part in ("**Hand in:**", "**Traps**", "**How to know that it is right:**"):
            assert part in task, f"task {letter} lacks {part}"
        given = [int(number) for number in re.findall(r"^\| (\d+) \|", task, re.MULTILINE)]
        assert sum(given) == int(promised[1]), f"task {letter}: {given} is not {promised[1]}"
        points += given
    assert sum(points) == 100 and "100 in all" in TEXT


def test_task_a_can_be_solved_as_its_text_says(tmp_path):
    train, test = split_ratings(ratings := load_ratings(write_example(tmp_path / "books.csv")))
    set_seed(0)
    settings = {"K": 16, "lookup_l2": 0.06, "bias_lookup_l2": 0.02}
    model = matrix_factorization(*sizes(ratings), **settings, mu=train["rating"].mean())
    fit(model, train, epochs=20, learning_rate=0.01, batch_size=256)
    stars = model.predict([test["user_id"], test["movie_id"]], batch_size=4096, verbose=0)
    score = rmse(test["rating"], stars.clip(train["rating"].min(), train["rating"].max()))
    assert abs(score - 0.696) < 0.02, f"The text says about 0.70, found {score:.4f}."
    assert score < baseline_scores(train, test)["both biases"] - 0.1
