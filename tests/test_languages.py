"""The Korean course is in step with the English one: nothing missing, outdated, lost or left over."""

import ast
import copy
import json
import re
import tomllib

from tools import ROOT
from tools.course import NOTEBOOKS, course_notebooks
from tools.languages import LANGUAGES, blocks, catalogs, fill, needs_translation, pages, protected, sources
from tools.languages.__main__ import stale
from tools.languages.catalogs import problems, read, update, wanted, wrong
from tools.links import broken_links

import nbformat
import pytest

EVERY = sorted(catalogs.sources())


def codes(notebook):
    """Return the code of a notebook, with what its Checks say masked; comments are compared as lines."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        try:
            tree = ast.parse(cell.source)
        except SyntaxError:
            found.append(cell.source)
            continue
        is_check = "Check passed" in cell.source or "확인 통과" in cell.source
        said = {node.msg.id for node in ast.walk(tree) if isinstance(getattr(node, "msg", None), ast.Name)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assert) and node.msg is not None:
                node.msg = masked(node.msg)
            elif isinstance(node, ast.Assign) and {getattr(one, "id", "") for one in node.targets} & said:
                node.value = masked(node.value)
            elif is_check and isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
                node.args = [masked(one) for one in node.args]
        comments = re.findall(r"^ *#.*", cell.source, re.MULTILINE)
        found.append((ast.unparse(tree), comments))
    return found


def masked(node):
    """Return a string literal as an empty one; anything else as it is."""
    is_text = isinstance(node, ast.JoinedStr) or isinstance(getattr(node, "value", None), str)
    return ast.Constant("") if is_text else node


# --- The Korean course ----------------------------------------------------------------------------


def test_nothing_is_missing_outdated_or_wrong():
    for language in LANGUAGES:
        found = problems(language)
        assert not found, "\n".join([f"{len(found)} problems; `make korean-check` lists them all", *found[:20]])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    pytest.importorskip("nbgrader", reason="exercises are made with nbgrader: run `make tools` once")
    folder = tmp_path_factory.mktemp("made")
    names = pages.write("ko", folder / "ko")
    return folder / "ko", names


@pytest.mark.slow
def test_the_pages_are_what_the_catalogs_give(made):
    folder, names = made
    there = [
        path.relative_to(ROOT / "ko").as_posix()
        for path in (ROOT / "ko").rglob("*")
        if path.is_file() and ".ipynb_checkpoints" not in path.parts
    ]
    assert sorted(there) == names
    old = [name for name in names if (ROOT / "ko" / name).read_bytes() != (folder / name).read_bytes()]
    assert not old, f"run `make korean` and commit: {old[:5]}"


@pytest.mark.parametrize("path", course_notebooks(NOTEBOOKS), ids=lambda path: path.stem)
def test_code_and_outputs_are_the_same_bytes(path):
    english = nbformat.read(path, as_version=4)
    korean = nbformat.read(ROOT / "ko" / "notebooks" / path.name, as_version=4)
    assert codes(korean) == codes(english)
    assert [cell.id for cell in korean.cells] == [cell.id for cell in english.cells]
    for one, other in zip(english.cells, korean.cells, strict=True):
        if one.cell_type != "code":
            continue
        if "raises-exception" not in one.metadata.get("tags", []):
            compile(other.source, other.id, "exec")
        assert len(one.outputs) == len(other.outputs)
        for here, there in zip(one.outputs, other.outputs, strict=True):
            if here != there:  # only what a Check says may differ
                assert here.output_type == "stream"
                lines = zip(here.text.splitlines(), there.text.splitlines(), strict=True)
                is_check = "Check passed" in one.source
                assert all(a == b or is_check for a, b in lines), one.id


def test_links_of_korean_pages_lead_somewhere():
    found = []
    for path in sorted((ROOT / "ko").rglob("*")):
        if ".ipynb_checkpoints" in path.parts:  # JupyterLab's own copies
            continue
        if path.suffix == ".ipynb":
            texts = [
                cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"
            ]
        elif path.suffix == ".md" and "published" not in path.parts:
            texts = [path.read_text(encoding="utf-8")]
        else:
            continue
        # Alternative texts are shorter in Korean: a syllable says more than a letter.
        found += [
            f"{path.relative_to(ROOT)}: {problem}"
            for text in texts
            for problem in broken_links(text, path)
            if "alternative text" not in problem
        ]
    assert not found, "\n".join(found[:20])


def test_each_course_leads_to_the_other_in_the_first_cell():
    english = nbformat.read(NOTEBOOKS / "00_welcome.ipynb", as_version=4).cells[0].source
    korean = nbformat.read(ROOT / "ko" / "notebooks" / "00_welcome.ipynb", as_version=4).cells[0].source
    assert "[한국어](../ko/notebooks/00_welcome.ipynb)" in english.splitlines()[:3]
    assert "[English](../../notebooks/00_welcome.ipynb)" in korean.splitlines()[:3]


def test_sentences_end_politely_and_in_one_way():
    """합니다체: statements end in -니다, questions in -까, requests in -세요; never -해요."""
    other = re.compile(r"(?:해요|이에요|예요|거든요|네요|군요|어요|아요|지요|죠)(?=[.!?\s]|$)")
    found = []
    for name in EVERY:
        for one in read("ko", name):
            text = re.sub(r"(?:[가-힣]*세요)", "", one.msgstr)
            if match := other.search(text):
                found.append(f"{name} [{one.msgctxt}]: …{text[max(0, match.start() - 20) : match.end()]}")
    assert not found, "\n".join(found[:20])


def test_bold_closes_where_markdown_sees_it():
    """`**말(word)**은` is not bold: after a bracket, closing stars need a space or a sign (CommonMark)."""
    found = []
    for name in EVERY:
        for one in read("ko", name):
            text = re.sub(r"```.*?```|`[^`]*`", "x", one.msgstr, flags=re.DOTALL)
            for match in re.finditer(r"(?<!\*)\*\*(?=\S)([^*\n]+?)\*\*(?!\*)", text):
                after = text[match.end() : match.end() + 1]
                if re.search(r"[^\w\s]$", match[1]) and re.match(r"\w", after):
                    found.append(f"{name} [{one.msgctxt}]: {match[0]}{after}")
    assert not found, "\n".join(found[:20])


# --- The tests would notice -----------------------------------------------------------------------


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A made-up course of one notebook with a complete catalog."""
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# Ratings\n\nThere are `n` ratings, 1,682 in all.", id="a"),
            nbformat.v4.new_code_cell("assert n == 3, f'There are {n:,} ratings.'", id="b"),
        ]
    )
    path = tmp_path / "course.ipynb"
    nbformat.write(notebook, path)
    monkeypatch.setattr(catalogs, "LOCALE", tmp_path / "locale")
    monkeypatch.setattr(catalogs, "sources", lambda: {"course": [path]})
    update("ko", "course", [path])
    text = "=== 0\n# 평점\n=== 1\n평점은 `n`개, 모두 1,682개입니다.\n=== 2\n평점이 {n:,}개입니다.\n"
    assert fill.fill("ko", "course", text) == []
    assert problems("ko") == []
    return path


def change(path, number, source):
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[number].source = source
    nbformat.write(notebook, path)


def test_a_new_sentence_is_named(small):
    change(small, 0, "# Ratings\n\nThere are `n` ratings, 1,682 in all.\n\nA new sentence came.")
    assert problems("ko") == ["course [a]: no translation of 'A new sentence came.'"]
    update("ko", "course", [small])
    assert problems("ko") == ["course [a]: no translation of 'A new sentence came.'"]


def test_a_changed_sentence_is_outdated_and_shown_beside_the_old_one(small, monkeypatch):
    change(small, 0, "# Ratings\n\nThere are `n` ratings, 1,683 in all.")
    update("ko", "course", [small])
    (found,) = problems("ko")
    assert "outdated" in found and "1,682" in found and "1,683" in found
    monkeypatch.setattr("tools.languages.__main__.sources", catalogs.sources)
    listed = "\n".join(stale("ko"))
    assert "was: There are `n` ratings, 1,682 in all." in listed and "평점은 `n`개" in listed
    update("ko", "course", [small])
    assert len(problems("ko")) == 1, "a second look does not make it good"
    assert (
        fill.fill("ko", "course", "=== 1\n평점은 `n`개, 모두 1,683개입니다.\n") == [] and problems("ko") == []
    )


def test_a_sentence_that_moved_keeps_its_translation(small):
    notebook = nbformat.read(small, as_version=4)
    moved = copy.deepcopy(notebook.cells[0])
    moved.id = "z"
    notebook.cells[0] = moved
    nbformat.write(notebook, small)
    assert len(problems("ko")) == 4, "two are new, two are gone"
    update("ko", "course", [small])
    assert problems("ko") == []


def test_a_catalog_without_a_file_is_named(small):
    catalogs.catalog_path("ko", "gone").write_text('msgid ""\nmsgstr ""\n', encoding="utf-8")
    assert problems("ko") == ["gone: there is no such English file"]


@pytest.mark.parametrize(
    ("english", "korean", "said"),
    [
        ("See `fit` and `loss`.", "`fit`을 보세요.", "lacks ['`loss`']"),
        ("The row $P_u$.", "행 $P_i$입니다.", "lacks ['$P_u$'], has ['$P_i$']"),
        ("See [there](#Quiz).", "[거기](#퀴즈)를 보세요.", "lacks ['](#Quiz)']"),
        ("<b>One</b> word.", "낱말 하나.", "tags and links must be the same"),
        ("It is 0.93 here.", "여기서는 0.94입니다.", "lacks the numbers ['0.93']"),
        ("It is near.", "0.5에 가깝습니다.", "has numbers that the English text has not: ['0.5']"),
        ("It is {n:.3f}.", "{n:.2f}입니다.", "the fields must be the same"),
        ("Read the whole sentence again.", "Read the whole sentence.", "has no Korean in it"),
        (
            "A long English sentence.",
            "저것은 long english sentence 입니다.",
            "left over: 'long english sentence'",
        ),
        ("The row `P`.", "`P`을(를) 봅니다.", "choose the particle"),
        ("A bias.", "바이어스입니다.", "'바이어스': the course says '편향' for 'bias'"),
    ],
)
def test_a_wrong_translation_is_noticed(english, korean, said):
    found = "; ".join(wrong(english, korean, "ko"))
    assert (
        said in found
        or said.replace("'ead", "'Read") in found
        or "English left over" in found
        and "left" in said
    )


def test_a_right_one_is_not():
    good = [
        ("Three users, September 1997.", "1997년 9월, 사용자 3명입니다."),
        (
            'It is written up ("Using Filters to weave an information tapestry").',
            '논문("Using Filters to weave an information tapestry")입니다.',
        ),
        ("The row `P[3]` of $P$.", "$P$의 행 `P[3]`입니다."),
    ]
    for english, korean in good:
        assert list(wrong(english, korean, "ko")) == [], english


# --- Taking apart and putting together ------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a\n",
        "a\n\nb",
        "a\n\n\n- b\n- c\n",
        "```\na\n\nb\n```\n\nc",
        "\n\na\n\n",
        "~~~\n\n~~~",
        "| a |\n| - |\n",
    ],
)
def test_blocks_give_the_text_back(text):
    assert "".join(blocks(text)) == text
    assert all(not block.strip() or not block.endswith("\n") for block in blocks(text))


def test_blocks_do_not_split_code():
    assert [block for block in blocks("```\na\n\nb\n```\n\nc") if block.strip()] == ["```\na\n\nb\n```", "c"]


@pytest.mark.parametrize(
    "block", ["$$x = 2$$", ["`code`", "and"][0], "![](a.svg)", "```\nwords here\n```", "| 1 | 2 |"]
)
def test_what_has_no_words_is_no_message(block):
    assert not needs_translation(block)


def test_every_text_of_the_course_is_put_back_as_it_was():
    """With a translator that changes nothing, every page comes out as it went in."""
    same = lambda context, text: text  # noqa: E731
    for paths in catalogs.sources().values():
        for path in paths:
            if path.suffix == ".ipynb":
                notebook = nbformat.read(path, as_version=4)
                assert sources.translated_notebook(notebook, same) == notebook, path
            elif path.suffix == ".md":
                text = path.read_text(encoding="utf-8")
                assert sources.translated_page(text, same) == text, path


def test_sentences_of_checks_are_exchanged_in_code_and_in_stored_outputs():
    code = (
        'x = 2\nassert x == 1, (\n    "Once "\n    f"it is {x:.2f}."\n)\n'
        'print(f"Check passed: {x} times.")\nprint(x)'
    )
    cell = nbformat.v4.new_code_cell(code, id="c")
    cell.outputs = [nbformat.v4.new_output("stream", text="Check passed: 2 times.\n2\n")]
    notebook = nbformat.v4.new_notebook(cells=[cell])
    assert [text for _, text in sources.sentences(code)] == ["Once it is {x:.2f}.", "Check passed: {x} times."]
    korean = {"Once it is {x:.2f}.": '"한 번": {x:.2f}입니다.', "Check passed: {x} times.": "확인 통과: {x}번."}
    made = sources.translated_notebook(notebook, lambda context, text: korean[text]).cells[0]
    assert 'assert x == 1, (\n    f"\\"한 번\\": {x:.2f}입니다."\n)' in made.source
    assert 'print(f"확인 통과: {x}번.")\nprint(x)' in made.source
    assert made.outputs[0].text == "확인 통과: 2번.\n2\n"
    with pytest.raises(AssertionError, match='"한 번": 2.00입니다.'):
        exec(made.source, {})


def test_a_drawing_gets_its_texts_and_nothing_else():
    svg = '<svg><!-- words --><title id="t">A user</title><text x="1">row<tspan> 3</tspan> of it</text></svg>'
    assert [one.text for one in sources.svg_messages("d", svg)] == ["A user", "row", "of it"]
    made = sources.translated_svg(
        "d", svg, lambda context, text: f"<{text}>".replace("<", "(").replace(">", ")")
    )
    assert made == '<svg><title id="t">(A user)</title><text x="1">(row)<tspan> 3</tspan> (of it)</text></svg>'


def test_every_sentence_of_the_english_course_is_a_message():
    """No block escapes: what is no message has no two words of English in a row, code and links aside."""
    covered = re.compile(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|<[^>]*>|\]\(.*?\)", re.DOTALL)
    for name, paths in catalogs.sources().items():
        messages = {one.text for one in wanted(paths)}
        for path in (path for path in paths if path.suffix == ".ipynb"):
            for cell in nbformat.read(path, as_version=4).cells:
                if cell.cell_type == "markdown":
                    for block in set(blocks(cell.source)) - messages:
                        assert not re.search(r"[a-z]{2,} [a-z]{2,}", covered.sub(" ", block)), (name, block)


def test_an_exception_is_needed_and_has_a_reason():
    path = ROOT / "locale" / "ko" / "exceptions.toml"
    for one in tomllib.loads(path.read_text(encoding="utf-8"))["exception"]:
        assert len(one["reason"]) > 15
        entries = [entry for name in EVERY for entry in read("ko", name) if entry.msgid == one["english"]]
        assert any(list(wrong(entry.msgid, entry.msgstr, "ko")) for entry in entries), one["english"]


def test_the_catalogs_are_gettext(tmp_path):
    """Any translation program can read them."""
    for name in EVERY:
        text = catalogs.catalog_path("ko", name).read_text(encoding="utf-8")
        assert text.startswith("#\nmsgid") or text.startswith("msgid") and "charset=UTF-8" in text
    assert json.dumps(protected("`a`")) == '["`a`"]'
