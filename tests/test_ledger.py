"""What the course claims is shown: bands, Checks, experiments, causes, quizzes, numbers. And each can fail."""

import copy

from tools import ledger, prose_numbers, seeds
from tools.course import NOTEBOOKS, ROOT, course_notebooks

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ALL = [*course_notebooks(), NOTEBOOKS / "project.ipynb"]


@pytest.mark.parametrize("path", course_notebooks(), ids=lambda path: path.stem)
def test_notebook_shows_what_it_claims(path):
    assert ledger.problems(path) == []


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_numbers_in_sentences_are_bound(path):
    assert prose_numbers.unbound_in_notebook(path) == []


@pytest.mark.parametrize("name", [*prose_numbers.GUIDES, "notebooks/glossary.md"])
def test_numbers_in_guides_are_bound(name):
    assert prose_numbers.unbound_in_text(ROOT / name) == []


@pytest.mark.parametrize("path", sorted((NOTEBOOKS / "figures").glob("*.svg")), ids=lambda path: path.stem)
def test_numbers_in_drawings_are_bound(path):
    assert prose_numbers.unbound_in_text(path) == []


# --- Bands ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "found"),
    [
        ("assert abs(score - 0.9) < 0.003", [("score", 0.897, 0.903)]),
        ("assert 0.4 < share < 0.46, 'x'", [("share", 0.4, 0.46)]),
        ("assert a['b'] < 0.905 and c > 2", [("a['b']", -seeds.math.inf, 0.905), ("c", 2, seeds.math.inf)]),
        ("assert one < two - 0.01", [("one - (two)", -seeds.math.inf, -0.01)]),
        ("assert one > two + 0.01", [("two + 0.01 - (one)", -seeds.math.inf, 0.0)]),
        ("assert x == 3 and 'a' in names and names", []),
        ("assert abs(one - two) <= 1e-3", [("abs(one - two)", -seeds.math.inf, 1e-3)]),
    ],
)
def test_bounds_are_read_from_a_check(check, found):
    cells = [
        new_code_cell("print(1)", metadata={"tags": ["nbval-ignore-output"]}),
        new_code_cell(check, metadata={"tags": ["check"]}, id="c"),
    ]
    assert [(b.expression, b.low, b.high) for b in seeds.bands(new_notebook(cells=cells))] == found


def test_only_checks_behind_trained_cells_have_bands():
    check = new_code_cell("assert x < 2, 'm'", metadata={"tags": ["check"]})
    trained = new_code_cell("x", metadata={"tags": ["nbval-ignore-output"]})
    timed = new_code_cell("x", metadata={"tags": ["nbval-ignore-output", "timing"]})
    section = new_markdown_cell("## New")
    assert seeds.bands(new_notebook(cells=[check])) == []
    assert seeds.bands(new_notebook(cells=[timed, check])) == []
    assert seeds.bands(new_notebook(cells=[trained, section, check])) == []
    assert len(seeds.bands(new_notebook(cells=[trained, check]))) == 1


TRAINED = """from course_utils.training import set_seed

import numpy as np

set_seed(0)
score = 0.9 + np.random.rand() / 1000
print(f"RMSE {score:.4f} with 1,234 parameters")"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A notebook with one random number, as if executed, and its table of three seeds."""
    cells = [
        new_markdown_cell("## A section"),
        new_code_cell("fails", metadata={"tags": ["raises-exception"]}),
        new_code_cell(TRAINED, metadata={"tags": ["nbval-ignore-output"]}, id="train"),
        new_code_cell(
            "assert abs(score - 0.9005) < 0.003, 'Expected 0.9005.'\nprint('Check passed.')",
            metadata={"tags": ["check"]},
            id="check",
        ),
    ]
    # The first number that NumPy draws after the seed 0.
    value = 0.9 + np.random.RandomState(0).rand() / 1000
    cells[2].outputs = [new_output("stream", text=f"RMSE {value:.4f} with 1,234 parameters\n")]
    path = tmp_path_factory.mktemp("trained") / "01_x.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    return path, seeds.measure(path, 3)


@pytest.mark.slow
def test_seeds_are_measured_and_the_printed_number_is_found(trained, tmp_path):
    path, rows = trained
    (row,) = rows
    assert (row["cell"], row["expression"], row["low"], row["high"], row["seeds"]) == (
        *("check", "score", "0.8975", "0.9035", "3"),
    )
    assert 0.9 < float(row["mean"]) < 0.901 and 0.00001 < float(row["sd"]) < 0.001
    assert (row["printed_in"], row["printed_place"]) == ("train", "0")
    seeds.write_table(rows, tmp_path / "t.csv")
    assert seeds.read_table(tmp_path / "t.csv") == rows and not list(tmp_path.glob("*.part"))
    assert ledger.band_problems("01_x", nbformat.read(path, 4), rows) == []


def _outside(notebook, rows):
    notebook.cells[2].outputs[0].text = "RMSE 0.9300 with 1,234 parameters\n"


def _deleted(notebook, rows):
    notebook.cells[2].outputs = []


def _widened(notebook, rows):
    notebook.cells[3].source = notebook.cells[3].source.replace("0.003", "3")


def _widened_in_both(notebook, rows):
    _widened(notebook, rows)
    rows[0] |= {"low": "-2.0995", "high": "3.9005"}


def _exchanged(notebook, rows):
    notebook.cells[3].source = "assert score, 'Expected a score.'"


def _too_near(notebook, rows):
    rows[0] |= {"mean": "0.9034"}


def _few_seeds(notebook, rows):
    rows[0] |= {"seeds": "2"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_outside, "the stored output shows 0.9300"),
        (_deleted, "its output is not stored"),
        (_widened, "unknown to bands.csv"),
        (_widened_in_both, "far wider than the seeds show"),
        (_exchanged, "no longer has the bounds"),
        (_too_near, "leave no room"),
        (_few_seeds, "three at least"),
    ],
)
def test_what_breaks_a_band_is_noticed(trained, change, words):
    path, rows = trained
    notebook, rows = nbformat.read(path, 4), copy.deepcopy(rows)
    change(notebook, rows)
    found = ledger.band_problems("01_x", notebook, rows)
    assert any(words in sentence for sentence in found), found


# --- Checks ---------------------------------------------------------------------------------------


def test_a_check_that_is_removed_or_thinned_out_is_noticed():
    path = course_notebooks()[1]
    notebook = nbformat.read(path, 4)
    place = next(n for n, cell in enumerate(notebook.cells) if "check" in cell.metadata.get("tags", []))
    whole = notebook.cells[place].source
    notebook.cells[place].source = "print('Check passed.')"
    assert any("other Checks" in sentence for sentence in ledger.check_problems(path.stem, notebook))
    del notebook.cells[place]
    assert any("other Checks" in sentence for sentence in ledger.check_problems(path.stem, notebook))
    assert "assert" in whole


def test_an_assert_that_asserts_nothing_is_noticed():
    cells = [new_code_cell("assert True, 'yes'\nassert x > 1", metadata={"tags": ["check"]})]
    constant, silent = ledger.empty_asserts(new_notebook(cells=cells))
    assert "asserts a constant" in constant and "without a message" in silent


# --- Experiments and causes -----------------------------------------------------------------------


def experiment(*, ask=True, check=True):
    cells = [
        new_markdown_cell("## One"),
        new_markdown_cell("**Predict before you run.** More or less?" if ask else "Look."),
        new_code_cell("print(1)", metadata={"tags": ["experiment"]}, id="try"),
    ]
    if check:
        cells.append(new_code_cell("assert 1, 'x'", metadata={"tags": ["check"]}))
    return new_notebook(cells=cells)


def test_an_experiment_asks_before_and_is_checked_after():
    assert ledger.experiment_problems(experiment()) == []
    assert "no prediction" in ledger.experiment_problems(experiment(ask=False))[0]
    assert "no Check follows" in ledger.experiment_problems(experiment(check=False))[0]


CAUSE = "It falls because the rate is small."


def caused(**entry):
    notebook = experiment()
    notebook.cells.append(new_markdown_cell(f"A sentence. {CAUSE} Another."))
    full = {"notebook": "04_x", "sentence": "because the rate is small", "why": "the run with a larger rate"}
    return ledger.cause_problems("04_x", notebook, [full | entry] if entry else [])


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({}, "without a ground"),
        ({"ground": "experiment", "cell": "try"}, None),
        ({"ground": "experiment", "cell": "other"}, "no cell tagged"),
        ({"ground": "hope"}, "the ground 'hope'"),
        ({"ground": "source"}, "cites no source"),
        ({"ground": "arithmetic"}, None),
        ({"ground": "arithmetic", "why": "so"}, "says not why"),
        ({"ground": "arithmetic", "sentence": "because it rains"}, "that is gone"),
    ],
)
def test_a_cause_needs_a_ground(entry, words):
    found = caused(**entry)
    assert (found == []) if words is None else any(words in sentence for sentence in found), found


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("It rains. So we stay.", 1),
        ("We stay so that it rains.", 0),
        ("That is why it works, and it leads to more.", 1),
        ("```\nbecause\n```", 0),
        ("- The first because of this\n- the second", 1),
    ],
)
def test_causal_sentences_are_found(text, number):
    notebook = new_notebook(cells=[new_markdown_cell("# T"), new_markdown_cell(text)])
    assert len(ledger.causal_sentences(notebook)) == number


# --- Quizzes --------------------------------------------------------------------------------------

ASKED = """**Question {0}.** How many weights?

- **A** 943
- **B** 4,715
- **C** none

<details><summary>Answer</summary>

**B.** 943 rows of five. **A**: one each. **C**: a layer has weights.

</details>"""


def quiz(change=lambda text: text, **key):
    cells = []
    for number in (1, 2):
        if number == 2:
            cells.append(new_markdown_cell("## Quiz"))
        entry = {"question": number, "right": "B", "expression": "943 * 5"} | key
        entry = {name: value for name, value in entry.items() if value is not None}
        cells.append(new_markdown_cell(change(ASKED.format(number)), metadata={"quiz": [entry]}))
    return ledger.quiz_problems(new_notebook(cells=cells))


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        (lambda text: text, {}, None),
        (lambda text: text, {"expression": "943 * 6"}, "stands in the options []"),
        (lambda text: text.replace("- **A** 943", "- **A** 4,715"), {}, "['A', 'B']"),
        (lambda text: text, {"expression": None}, "no expression"),
        (lambda text: text, {"right": "A"}, "must begin with the letter"),
        (lambda text: text.replace("**C**: a layer has weights.", ""), {}, "the wrong answer C"),
        (lambda text: text.replace("- **C** none\n", ""), {}, "three to five options"),
        (lambda text: text.replace("Question 1", "Question 3"), {"question": 3}, "numbered from 1"),
    ],
)
def test_quizzes_are_complete_and_their_numbers_right(change, key, words):
    found = quiz(change, **key)
    assert (found == []) if words is None else any(words in sentence for sentence in found), found


def test_a_question_belongs_in_the_middle():
    cell = new_markdown_cell("## Quiz\n\n" + ASKED.format(1), metadata={"quiz": []})
    assert any("in the middle" in sentence for sentence in ledger.quiz_problems(new_notebook(cells=[cell])))


# --- Numbers in prose -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("RMSE 0.897 after 20 epochs, 80,000 ratings.", ["0.897", "80,000"]),
        ("`0.5` and [a link 944](x_123.ipynb) of 2021", ["944"]),
        ('Koren, "Matrix Factorization Techniques", IEEE Computer 42(8), 2009, says 0.5.', ["0.5"]),
        ("Python 3.11 at 127.0.0.1, Keras 3.15", []),
        ("93.7 % and $0.05$, then 528,027.", ["93.7", "0.05", "528,027"]),
        ("<!-- t --> 0.123 <!-- end of t --> 0.5", ["0.5"]),
    ],
)
def test_numbers_are_found_in_prose(text, numbers):
    assert prose_numbers.numbers_in(text) == numbers


def test_a_rounded_number_is_known_and_another_is_not():
    known = prose_numbers.Known([0.89674, 1878172, 0.9375])
    assert known.has("0.897") and known.has("0.8967") and known.has("1,878,172") and known.has("93.8")
    assert not known.has("0.898") and not known.has("1,878,173") and not known.has("0.855")


def test_arithmetic_that_is_written_out_is_bound_when_it_is_right():
    assert "825,344" in prose_numbers.written_out("that is 402 x 2,048 + 2,048 = 825,344 weights")
    assert prose_numbers.written_out("that is 402 x 2,048 + 2,048 = 825,345 weights") == set()


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_a_wrong_number_in_a_notebook_is_noticed(path, tmp_path):
    notebook = nbformat.read(path, 4)
    notebook.cells.append(new_markdown_cell("The RMSE was 7.7713 in the end."))
    copy_of = tmp_path / path.name
    nbformat.write(notebook, copy_of)
    assert any("7.7713" in sentence for sentence in prose_numbers.unbound_in_notebook(copy_of))


def test_a_wrong_number_in_a_guide_is_noticed():
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8") + "\nIt takes 7,771 s.\n"
    assert "README.md: 7,771" in prose_numbers.unbound_in_text(readme, text)
