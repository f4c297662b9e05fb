"""Every notebook obeys the rules, and every rule can fail."""

import json

from tools import execute as execute_notebooks
from tools.course import ROOT, course_notebooks
from tools.rules import MAX_LINES, problems

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

FOLDER = ROOT / "notebooks"
NOTEBOOKS = course_notebooks(FOLDER)
HEAD = """# 01 · A test

[← 00 Before](00_before.ipynb) · [02 After →](02_after.ipynb)

**You will be able to**
- test.

**You need:** nothing.

**Time:** 5 minutes."""
END = (
    "## What you learned\n\n- A thing.\n\n## Quiz\n"
    + "<details>answer</details>\n" * 3
    + "[02](02_after.ipynb)"
)


def test_there_are_notebooks():
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{number:02}" for number in range(len(NOTEBOOKS))]
    assert len(NOTEBOOKS) >= 6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_obeys_the_rules(path):
    found = problems(path, NOTEBOOKS)
    assert not found, "\n".join(f"{path.name} {sentence}" for sentence in found)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("figures/*.svg")), ids=lambda path: path.stem)
def test_drawing_describes_itself_and_loads_nothing(path):
    text = path.read_text(encoding="utf-8")
    assert "<title" in text and "<desc" in text and 'role="img"' in text
    assert "<script" not in text and "href=" not in text.replace('href="#', "")


@pytest.fixture
def course(tmp_path):
    """Write a made-up course of three notebooks; change the one in the middle; return what is wrong with it."""

    def write(change=None):
        notebook = new_notebook(
            cells=[
                new_markdown_cell(HEAD),
                new_code_cell("from course_utils.data import load_ratings\n\nimport keras", execution_count=1),
                new_markdown_cell("## One"),
                new_code_cell("print(1)", execution_count=2, outputs=[new_output("stream", text="1\n")]),
                new_markdown_cell("## Two"),
                new_code_cell("assert 1 < 2, 'Count again.'", execution_count=3, metadata={"tags": ["check"]}),
                new_markdown_cell(END),
            ],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        )
        if change:
            change(notebook)
        for name in ("00_before", "02_after"):
            nbformat.write(new_notebook(), tmp_path / f"{name}.ipynb")
        path = tmp_path / "01_test.ipynb"
        # Some changes make an invalid notebook on purpose, so it is written without validation.
        path.write_text(json.dumps(notebook), encoding="utf-8")
        return problems(path, course_notebooks(tmp_path))

    return write


def test_a_good_notebook_passes(course):
    assert course() == []


def change_cell(number, **values):
    """Return a change that sets attributes of one cell."""

    def change(notebook):
        for name, value in values.items():
            setattr(notebook.cells[number], name, value)

    return change


def replace(number, old, new):
    """Return a change that replaces text in one cell."""

    def change(notebook):
        assert old in notebook.cells[number].source
        notebook.cells[number].source = notebook.cells[number].source.replace(old, new)

    return change


def tag(number, *tags):
    return change_cell(number, metadata=nbformat.from_dict({"tags": list(tags)}))


def png():
    return new_output("display_data", data={"image/png": "aGk=", "text/plain": "<Figure>"})


def widget():
    return new_output("display_data", data={"application/vnd.jupyter.widget-view+json": {"model_id": "1"}})


BROKEN = {
    "unexecuted": (change_cell(3, execution_count=None), "was not executed"),
    "out of order": (change_cell(3, execution_count=7), "not executed once, in order"),
    "stderr": (change_cell(3, outputs=[new_output("stream", name="stderr", text="W0000")]), "stderr: W0000"),
    "error": (change_cell(3, outputs=[new_output("error", ename="KeyError", evalue="")]), "an error: KeyError"),
    "widget": (change_cell(3, outputs=[widget()]), "stores a widget"),
    "times": (change_cell(3, metadata=nbformat.from_dict({"execution": {"a": "b"}})), "stores times"),
    "no title": (replace(0, "# 01 ·", "# Welcome ·"), "must start with the title"),
    "no objectives": (replace(0, "**You will be able to**", "Goals"), "lacks **You will be able to**"),
    "no needs": (replace(0, "**You need:**", "Needs"), "lacks **You need:**"),
    "no time": (replace(0, "**Time:** 5 minutes", ""), "lacks **Time:**"),
    "no minutes": (replace(0, "5 minutes", "a while"), "must say its minutes"),
    "no way back": (replace(0, "(00_before.ipynb)", "(02_after.ipynb)"), "link to the previous notebook"),
    "no way on": (replace(0, "(02_after.ipynb)", "(00_before.ipynb)"), "link to the next notebook"),
    "no contents": (replace(0, "(00_before.ipynb)", "(02_after.ipynb)"), "link to the contents"),
    "no check": (change_cell(5, metadata={}), "has no Check cell"),
    "hollow check": (change_cell(5, source="assert 1 < 2"), "without an assert and a message"),
    "no summary": (replace(6, "## What you learned", "## End"), "lacks the section"),
    "short quiz": (replace(6, "<details>answer</details>\n<details>", "<details>"), "three to five questions"),
    "open answer": (replace(6, "</details>\n[02]", "\n[02]"), "three to five questions"),
    "no last link": (replace(6, "[02](02_after.ipynb)", ""), "must end with a link to 02_after.ipynb"),
    "broken link": (replace(2, "## One", "## One\n[x](99_gone.ipynb)"), "99_gone.ipynb, which does not exist"),
    "broken image": (
        replace(2, "## One", "## One\n![a picture of nothing](figures/x.svg)"),
        "figures/x.svg, which does not exist",
    ),
    "broken anchor": (
        replace(2, "## One", "## One\n[x](02_after.ipynb#Gone)"),
        "no such place in 02_after.ipynb",
    ),
    "broken anchor here": (replace(2, "## One", "## One\n[x](#Three)"), "no such place in 01_test.ipynb"),
    "broken link in HTML": (replace(2, "## One", '## One\n<a href="gone.md">x</a>'), "links to gone.md"),
    "broken link in a block": (
        replace(2, "## One", '<div>\n<a href="gone.md">x</a>\n</div>'),
        "links to gone.md",
    ),
    "broken image in HTML": (
        replace(2, "## One", '## One\n<img src="figures/x.svg" alt="a picture of nothing">'),
        "links to figures/x.svg, which does not exist",
    ),
    "HTML without alternative text": (
        replace(2, "## One", '## One\n<img src="00_before.ipynb">'),
        "no alternative text",
    ),
    "broken reference": (replace(2, "## One", "## One\n[x][gone]"), "has [x][gone], a link without an address"),
    "reference to nothing": (
        replace(2, "## One", "## One\n[x][y]\n\n[y]: gone.md"),
        "links to gone.md, which does not exist",
    ),
    "link to a file of one machine": (
        replace(2, "## One", "## One\n[x](file:///srv/x.html)"),
        "which is on one machine only",
    ),
    "figure without alternative text": (
        change_cell(5, outputs=[png()]),
        "code cell 3 draws a figure and does not say what it shows",
    ),
    "no alternative text": (replace(2, "## One", "## One\n![](00_before.ipynb)"), "no alternative text"),
    "attachment": (
        change_cell(2, attachments=nbformat.from_dict({"a.png": {"image/png": "aGk="}})),
        "as an attachment",
    ),
    "unknown tag": (tag(3, "skip"), "'skip', which is not on the list"),
    "path in code": (replace(3, "print(1)", "open('/home/ann/x')"), "path of one machine: .../home/ann"),
    "path in output": (change_cell(3, outputs=[new_output("stream", text="/tmp/x1/a")]), "path of one machine"),
    "path in a colored traceback": (
        change_cell(3, outputs=[new_output("stream", text="File \x1b[32m/home/ann/x.py\x1b[39m")]),
        "path of one machine: .../home/ann",
    ),
    "path in an error": (change_cell(3, outputs=[new_output("stream", text="in /usr/lib/x.py")]), "/usr/lib"),
    "path of a Mac": (replace(3, "print(1)", "open('/Volumes/stick/x')"), "one machine: .../Volumes/stick"),
    "path of a service": (replace(3, "print(1)", "open('/content/drive/x')"), "one machine: .../content/drive"),
    "address of a file": (
        change_cell(3, outputs=[new_output("stream", text="file:///srv/x")]),
        "one machine: ...file:///srv/x",
    ),
    "windows path": (replace(3, "print(1)", "open(r'C:\\Users')"), "path of one machine"),
    "kernel": (lambda nb: nb.metadata.kernelspec.update(name="tf-env"), "kernel name 'tf-env'"),
    "no kernel": (lambda nb: nb.metadata.pop("kernelspec"), "kernel name None"),
    "widget state": (lambda nb: nb.metadata.update(widgets={}), "state of widgets"),
    "ignored output": (tag(3, "nbval-ignore-output"), "code cell 2 prints what no test compares"),
    "timing": (tag(3, "timing"), "'timing' without 'nbval-ignore-output'"),
    "unchecked picture": (
        lambda nb: (
            nb.cells.insert(6, new_code_cell("plot()", execution_count=4, outputs=[png()], id="new")),
            None,
        )[1],
        "code cell 4 shows nothing that a test compares",
    ),
    "long cell": (change_cell(3, source="print(1)\n" * (MAX_LINES + 1)), f"at most {MAX_LINES}"),
    "magic": (change_cell(3, source="%timeit 1"), "magic or a shell command"),
    "shell": (change_cell(3, source="!pip install x"), "magic or a shell command"),
    "keras first": (change_cell(1, source="import keras\nimport course_utils"), "keras before course_utils"),
    "keras alone": (change_cell(1, source="import tensorflow as tf"), "keras before course_utils"),
    "invalid": (lambda nb: nb.cells[3].pop("outputs"), "no valid notebook"),
}


@pytest.mark.parametrize(("change", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_every_rule_can_fail(course, change, words):
    found = course(change)
    assert any(words in sentence for sentence in found), f"expected {words!r}, found {found}"


def test_links_that_lead_somewhere_are_fine(course):
    """To headings, ids, other notebooks, the web; and what looks like a link in code or a formula is none."""
    text = (
        "## One\n[a](#Two) [b](#here) [c](00_before.ipynb) <a id='here'></a> [d](https://example.com/lib/x) "
        "`[x](gone.md) R[u][i]` and\n\n    [x](gone.md)\n\n[e][f]\n\n[f]: 02_after.ipynb"
    )
    assert course(replace(2, "## One", text)) == []


def test_a_figure_that_says_what_it_shows_is_fine(course):
    def change(notebook):
        notebook.cells[5].outputs = [png()]
        notebook.cells[5].metadata["mystnb"] = {"image": {"alt": "Bars of three errors, the last the lowest"}}

    assert course(change) == []


def test_a_check_in_the_same_section_is_enough(course):
    def change(notebook):
        tag(3, "nbval-ignore-output")(notebook)
        notebook.cells[4].source = "no heading"

    assert course(change) == []


@pytest.mark.slow
def test_execution_stores_nothing_that_changes(tmp_path):
    path = tmp_path / "00_x.ipynb"
    timing = new_code_cell("import time; time.time()", metadata={"tags": ["timing"]}, id="timing")
    bar = new_code_cell("from tqdm.auto import tqdm\nfor _ in tqdm(range(3)): pass\nprint('done')", id="bar")
    notebook = new_notebook(
        cells=[timing, bar], metadata={"kernelspec": {"name": "python3", "display_name": "x"}}
    )
    nbformat.write(notebook, path)
    execute_notebooks.execute(path)
    first = path.read_bytes()
    execute_notebooks.execute(path)
    assert path.read_bytes() == first
    stored = nbformat.read(path, as_version=4)
    assert stored.cells[0].outputs and stored.cells[0].execution_count == 1
    assert [output.text for output in stored.cells[1].outputs] == ["done\n"]
    stored.cells[0].source += "  # changed"
    nbformat.write(stored, path)
    execute_notebooks.execute(path)
    assert nbformat.read(path, as_version=4).cells[0].outputs != stored.cells[0].outputs


@pytest.mark.slow
def test_a_failing_notebook_is_left_as_it_was(tmp_path, capsys):
    path = tmp_path / "00_x.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("print(1)"), new_code_cell("1 / 0")]), path)
    before = path.read_bytes()
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        execute_notebooks.execute(path)
    assert execute_notebooks.main([path]) == 1
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.slow
def test_what_moved_is_listed_old_beside_new(tmp_path, capsys):
    def stored(source, output, *tags):
        return new_code_cell(source, outputs=[output], metadata={"tags": list(tags)})

    picture = new_output("display_data", {"image/png": "AAAA", "text/plain": "<Figure>"})
    number = new_output("execute_result", {"text/plain": "0.25"}, execution_count=3)
    cells = [
        stored("print('rows 3')\nprint('RMSE 0.90')", new_output("stream", text="rows 3\nRMSE 0.93\n")),
        stored("print(7)", new_output("stream", text="7\n")),
        stored("0.5", number, "nbval-ignore-output"),
        new_code_cell("print('new cell')"),
        stored("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()", picture),
    ]
    path = tmp_path / "00_test.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    assert execute_notebooks.main([path]) == 0
    out = capsys.readouterr().out
    assert "  cell 1\n    old: RMSE 0.93\n    new: RMSE 0.90\n" in out and "rows 3" not in out
    assert "  cell 3 (trained or timed: its Check passed)\n    old: 0.25\n    new: 0.5\n" in out
    assert "cell 2" not in out and "cell 4" not in out
    assert "cell 5: the figure changed" in out
    assert execute_notebooks.main([path]) == 0
    assert "cell" not in capsys.readouterr().out
