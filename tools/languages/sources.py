"""Where messages come from: notebooks, pages, drawings; and how a translation is put back into them."""

import ast
import copy
import re
import tomllib
from collections.abc import Callable, Iterator

from tools.languages import Message, blocks, messages, needs_translation

import nbformat

# What is put into metadata for people: the slides' notes, and what a figure shows.
NOTES = ("ask", "wrong")
TEXT_OF_SVG = re.compile(r"(?<=>)[^<>]+(?=<)")  # no drawing has a style or a script in it

Translate = Callable[[str, str], str]  # (context, English) -> the other language


# --- Markdown pages -------------------------------------------------------------------------------


def page_parts(markdown: str) -> list[tuple[str, str]]:
    """Return (heading, text) of each part of a page that begins with a heading; the context of its messages."""
    parts, fenced = [("top", "")], False
    for line in markdown.splitlines(keepends=True):
        fenced ^= line.startswith("```")
        heading = re.match(r"#{1,6} (.+)", line)
        if heading and not fenced:
            parts.append((heading[1].strip(), ""))
        parts[-1] = (parts[-1][0], parts[-1][1] + line)
    return [part for part in parts if part[1]]


def page_messages(markdown: str) -> Iterator[Message]:
    """Yield the messages of a Markdown page."""
    for heading, text in page_parts(markdown):
        yield from messages(heading, text)


def translated_text(context: str, markdown: str, translate: Translate) -> str:
    """Return a Markdown text with each of its messages translated."""
    return "".join(
        translate(context, block) if block.strip() and needs_translation(block) else block
        for block in blocks(markdown)
    )


def translated_page(markdown: str, translate: Translate) -> str:
    """Return a Markdown page with each of its messages translated."""
    return "".join(translated_text(heading, text, translate) for heading, text in page_parts(markdown))


# --- Notebooks ------------------------------------------------------------------------------------


def notebook_messages(notebook: nbformat.NotebookNode) -> Iterator[Message]:
    """Yield the messages of a notebook: its Markdown, its notes and alternative texts, what its Checks say."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            yield from messages(cell.id, cell.source)
        elif cell.cell_type == "code":
            for _, text in sentences(cell.source):
                yield Message(f"{cell.id} code", text)
        for key, text in _noted(cell):
            yield Message(f"{cell.id} {key}", text)


def _noted(cell: nbformat.NotebookNode) -> Iterator[tuple[str, str]]:
    notes = cell.metadata.get("speaker_notes", {})
    for key in NOTES:
        if notes.get(key):
            yield key, notes[key]
    if alt := cell.metadata.get("mystnb", {}).get("image", {}).get("alt"):
        yield "alt", alt


def translated_notebook(notebook: nbformat.NotebookNode, translate: Translate) -> nbformat.NotebookNode:
    """Return a copy of a notebook in another language. Code and outputs stay, but for what Checks say."""
    made = copy.deepcopy(notebook)
    for cell in made.cells:
        for key, text in list(_noted(cell)):
            if key == "alt":
                cell.metadata.mystnb.image.alt = translate(f"{cell.id} alt", text)
            else:
                cell.metadata.speaker_notes[key] = translate(f"{cell.id} {key}", text)
        if cell.cell_type == "markdown":
            cell.source = translated_text(cell.id, cell.source, translate)
        elif cell.cell_type == "code":
            said = sentences(cell.source)
            others = {text: translate(f"{cell.id} code", text) for _, text in said}
            cell.source = _with_sentences(cell.source, said, others)
            _say(cell.outputs, others)
    return made


def sentences(code: str) -> list[tuple[ast.expr, str]]:
    """Return the sentences in code that a reader is told: those of ``assert``, and "Check passed: ...".

    A field of an f-string stays as it is written, in braces: "It is {rmse:.3f}."

    >>> [text for _, text in sentences("assert x == 1, f'x is {x}, not 1.'")]
    ['x is {x}, not 1.']
    """
    try:
        tree = ast.parse(code)
    except SyntaxError:  # a cell that shows an error on purpose
        return []
    found, nodes = [], list(ast.walk(tree))
    said = [node.args[0] for node in nodes if isinstance(node, ast.Call) and _is_print(node)]
    if any((_text(node) or "").startswith("Check passed") for node in said):
        found += said  # a Check says nothing else
    found += [node.msg for node in nodes if isinstance(node, ast.Assert) and node.msg is not None]
    # text = "..." before an assert that says it, or says it as a part: f"{text} Look again."
    assigned = [node for node in nodes if isinstance(node, ast.Assign)]
    while True:
        names = {one.id for node in found for one in ast.walk(node) if isinstance(one, ast.Name)}
        more = [
            node.value
            for node in assigned
            if {getattr(target, "id", "") for target in node.targets} & names
            and _text(node.value)
            and node.value not in found
        ]
        if not more:
            break
        found += more
    found = [(node, text) for node in found if (text := _text(node)) and needs_translation(text)]
    return sorted(found, key=lambda pair: (pair[0].lineno, pair[0].col_offset))


def _is_print(node: ast.Call) -> bool:
    return getattr(node.func, "id", "") == "print" and bool(node.args)


def _text(node: ast.expr) -> str | None:
    """Return a string literal as text, fields in braces; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if not isinstance(node, ast.JoinedStr):
        return None
    text = ""
    for part in node.values:
        if isinstance(part, ast.Constant):
            text += part.value.replace("{", "{{").replace("}", "}}")
        else:
            field = ast.unparse(ast.JoinedStr([part]))  # f'{rmse:.3f}'
            text += field[2:-1]
    return text


def _with_sentences(code: str, said: list[tuple[ast.expr, str]], others: dict[str, str]) -> str:
    """Return code with its sentences exchanged, each as one literal between double quotation marks."""
    lines = code.splitlines(keepends=True)
    for node, text in reversed(said):
        other = others[text]
        if other == text:
            continue
        literal = ("f" if isinstance(node, ast.JoinedStr) else "") + '"' + _escaped(other, node) + '"'
        # ast counts bytes.
        first = lines[node.lineno - 1].encode()[: node.col_offset].decode()
        last = lines[node.end_lineno - 1].encode()[node.end_col_offset :].decode()
        lines[node.lineno - 1 : node.end_lineno] = [first + literal + last]
    return "".join(lines)


def _escaped(text: str, node: ast.expr) -> str:
    """Return a text as it stands in a literal; the fields of an f-string keep their quotation marks."""

    def outside(piece: str) -> str:
        return piece.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    if not isinstance(node, ast.JoinedStr):
        return outside(text)
    return "".join(
        piece.replace('"', "'") if FIELD.fullmatch(piece) else outside(piece)
        for piece in re.split(rf"({FIELD.pattern})", text)
    )


FIELD = re.compile(r"(?<!\{)\{(?!\{)[^{}]+(?:\{[^{}]*\}[^{}]*)*\}(?!\})")


def fields(text: str) -> list[str]:
    """Return the fields of an f-string's text, sorted: they are the same in every language."""
    return sorted(FIELD.findall(text))


def _say(outputs: list, others: dict[str, str]) -> None:
    """Exchange sentences in stored outputs, line by line; what stood in fields stays, or is exchanged, too.

    Args:
        outputs: of a cell.
        others: {sentence: its translation}.
    """
    for output in outputs:
        if output.output_type == "stream":
            lines = output.text.split("\n")
            output.text = "\n".join(_said(line, others) for line in lines)


def _said(line: str, others: dict[str, str]) -> str:
    """Return a line in the other language, if it is one of the sentences; else as it is."""
    for text, other in others.items():
        names, pieces = FIELD.findall(text), FIELD.split(text)
        if not any(re.search(r"[A-Za-z]{2}", piece) for piece in pieces):
            continue  # fields alone: any line would be one
        match = re.fullmatch("(.+?)".join(re.escape(_braces(piece)) for piece in pieces), line)
        if not match:
            continue
        left = list(zip(names, match.groups(), strict=True))
        said = ""
        for piece in re.split(rf"({FIELD.pattern})", other):
            if FIELD.fullmatch(piece):
                at = next(number for number, (name, _) in enumerate(left) if name == piece)
                said += _said(left.pop(at)[1], others)
            else:
                said += _braces(piece)
        return said
    return line


def _braces(text: str) -> str:
    return text.replace("{{", "{").replace("}}", "}")


# --- Drawings -------------------------------------------------------------------------------------


def svg_messages(name: str, svg: str) -> Iterator[Message]:
    """Yield the texts of a drawing."""
    for text in TEXT_OF_SVG.findall(re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)):
        if needs_translation(text):
            yield Message(name, text.strip())


def translated_svg(name: str, svg: str, translate: Translate) -> str:
    """Return a drawing with its texts translated."""

    def put(match: re.Match) -> str:
        text = match[0]
        return text.replace(text.strip(), translate(name, text.strip())) if needs_translation(text) else text

    return TEXT_OF_SVG.sub(put, re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL))


# --- Words ----------------------------------------------------------------------------------------


def word_messages(toml: str) -> Iterator[Message]:
    """Yield the words of ``tools/words.toml``; the context is the name, such as "home.start"."""
    for name, value in tomllib.loads(toml).items():
        if isinstance(value, str):
            yield Message(name, value)
        else:
            for key, text in value.items():
                yield Message(f"{name}.{key}", text)
