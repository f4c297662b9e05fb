"""The rules that every notebook obeys. ``problems`` names what breaks them, one sentence a finding."""

import re
from pathlib import Path

from tools.links import SHORTEST_ALTERNATIVE, broken_links

import nbformat

TAGS = {
    "check": "asserts what the text claimed",
    "nbval-ignore-output": "prints trained figures: not compared, so a Check follows in the same section",
    "timing": "prints seconds: also nbval-ignore-output, and kept as stored when executed again",
    "raises-exception": "fails on purpose",
    "experiment": "changes one thing, its result beside the unchanged run; a prediction is asked before",
}
MAX_LINES = 20
HEADER = ("**You will be able to**", "**You need:**", "**Time:**")
# A folder of a user, of the system or of a service, or a drive letter: a path of one machine slipped in.
FOLDERS = (
    "home|root|Users|tmp|private|mnt|media|Volumes|opt|work|workspace|var|usr|lib|lib64|bin|etc|srv|run|proc|dev|"
    "nix|snap|Library|Applications|content|kaggle|databricks|dbfs"
)
MACHINE_PATH = re.compile(rf"(?<![\w.])/(?:{FOLDERS})/\w|\bfile:/|\b[A-Za-z]:\\+\w")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)[^)]*\)")


def problems(path: Path, order: list[Path]) -> list[str]:
    """Return what is wrong with one notebook: an empty list when it obeys every rule.

    Args:
        path: the notebook.
        order: all notebooks of the course, in their order, for the navigation.
    """
    notebook = nbformat.read(path, as_version=4)
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as problem:
        return [f"is no valid notebook: {problem.message}"]
    return [
        *metadata_problems(notebook),
        *_header(notebook, path, order),
        *_ending(notebook, path, order),
        *cell_problems(notebook),
        *section_problems(notebook),
        *link_problems(notebook, path),
    ]


def metadata_problems(notebook) -> list[str]:
    found = []
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    if kernel != "python3":
        found.append(f"has the kernel name {kernel!r}: only 'python3' exists on every machine")
    if "widgets" in notebook.metadata:
        found.append("stores the state of widgets: run `make notebooks`")
    return found


def _header(notebook, path: Path, order: list[Path]) -> list[str]:
    found = []
    first = notebook.cells[0].source if notebook.cells else ""
    if not re.match(rf"# {path.name[:2]} · \S", first):
        found.append(f"must start with the title '# {path.name[:2]} · ...'")
    head = "\n".join(cell.source for cell in notebook.cells[:3] if cell.cell_type == "markdown")
    found += [f"lacks {mark} in its first cells" for mark in HEADER if mark not in head]
    if not re.search(r"\*\*Time:\*\* .*\d+ minutes?", head):
        found.append("must say its minutes: '**Time:** 20 minutes'")
    links = [link[2].partition("#")[0] for link in LINK.findall(head)]
    for step, name in ((-1, "previous"), (1, "next")):
        place = order.index(path) + step
        if 0 <= place < len(order) and order[place].name not in links:
            found.append(f"must link to the {name} notebook, {order[place].name}, in its first cells")
    if order[0].name not in links and path != order[0]:
        found.append(f"must link to the contents, {order[0].name}, in its first cells")
    return found


def _ending(notebook, path: Path, order: list[Path]) -> list[str]:
    found = []
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    if "\n## What you learned" not in "\n" + text:
        found.append("lacks the section '## What you learned'")
    quiz = text.partition("## Quiz")[2]
    if not 3 <= quiz.count("<details>") <= 5 or quiz.count("<details>") != quiz.count("</details>"):
        found.append("needs a '## Quiz' of three to five questions with answers folded in <details>")
    place = order.index(path) + 1
    if place < len(order) and order[place].name not in quiz:
        found.append(f"must end with a link to {order[place].name}")
    if not any("check" in cell.metadata.get("tags", []) for cell in notebook.cells):
        found.append("has no Check cell")
    return found


def cell_problems(notebook) -> list[str]:
    found = []
    imported_keras = imported_course = False
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    for number, cell in enumerate(code, start=1):
        name, tags, source = f"code cell {number}", cell.metadata.get("tags", []), cell.source
        if cell.execution_count is None:
            found.append(f"{name} was not executed: run `make notebooks`")
        elif cell.execution_count != number:
            found.append(f"{name} has the number {cell.execution_count}: not executed once, in order")
        if "execution" in cell.metadata:
            found.append(f"{name} stores times of its execution: run `make notebooks`")
        found += [f"{name} has the tag {tag!r}, which is not on the list" for tag in tags if tag not in TAGS]
        if "timing" in tags and "nbval-ignore-output" not in tags:
            found.append(
                f"{name} has the tag 'timing' without 'nbval-ignore-output': its seconds would be compared"
            )
        if len(source.splitlines()) > MAX_LINES:
            found.append(f"{name} has {len(source.splitlines())} lines: at most {MAX_LINES}")
        if re.search(r"^\s*[%!]", source, re.MULTILINE):
            found.append(f"{name} holds a magic or a shell command")
        if "check" in tags and not re.search(r"^\s*assert .*[,(]", source, re.MULTILINE):
            found.append(f"{name} is a Check without an assert and a message")
        imported_course |= "course_utils" in source
        if (
            re.search(r"^\s*(?:import|from) (?:keras|tensorflow)\b", source, re.MULTILINE)
            and not imported_keras
        ):
            imported_keras = True
            before = re.split(r"^\s*(?:import|from) (?:keras|tensorflow)\b", source, flags=re.MULTILINE)[0]
            if not (imported_course and ("course_utils" in before or "course_utils" not in source)):
                found.append(f"{name} imports keras before course_utils: TensorFlow's messages would show")
        found += _outputs(cell, name, tags)
    for text in _strings(notebook):
        text = re.sub(r"\x1b\[[0-9;]*m", "", text)  # the colors of a traceback would hide a path's beginning
        found += [
            f"holds a path of one machine: ...{text[m.start() :][:40]}" for m in MACHINE_PATH.finditer(text)
        ]
    return found


def _strings(value):
    """Yield every text in a notebook, but not the letters of an encoded picture."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key != "image/png":
                yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _outputs(cell, name: str, tags: list[str]) -> list[str]:
    found = []
    alternative = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
    if _draws(cell) and len(alternative) < SHORTEST_ALTERNATIVE:
        found.append(f"{name} draws a figure and does not say what it shows: mystnb.image.alt in its metadata")
    for output in cell.outputs:
        if output.get("name") == "stderr":
            found.append(f"{name} stores output on stderr: {output.text.strip()[:60]}")
        if output.output_type == "error" and "raises-exception" not in tags:
            found.append(f"{name} stores an error: {output.ename}")
        if "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
            found.append(f"{name} stores a widget, which nobody can see later: run `make notebooks`")
    return found


def section_problems(notebook) -> list[str]:
    """Whether a Check follows each cell whose output no test compares."""
    found, number, waiting, silent = [], 0, [], []
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and re.match(r"## ", cell.source):
            found += [
                f"{name} prints what no test compares, and no Check follows in its section" for name in waiting
            ]
            waiting = []
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        number += 1
        tags = cell.metadata.get("tags", [])
        if "check" in tags:
            waiting, silent = [], []
        elif "nbval-ignore-output" in tags:
            waiting.append(f"code cell {number}")
        elif not any(_compared(output) for output in cell.outputs):
            silent.append(f"code cell {number}")
    found += [f"{name} prints what no test compares, and no Check follows in its section" for name in waiting]
    found += [f"{name} shows nothing that a test compares, and no Check follows" for name in silent]
    return found


def _draws(cell) -> bool:
    return any("image/png" in output.get("data", {}) for output in cell.outputs)


def _compared(output) -> bool:
    """Whether nbval compares anything of this output: text, tables and SVG, but no PNG."""
    if output.output_type == "stream":
        return True
    kinds = set(output.get("data", {}))
    return output.output_type == "error" or bool(kinds) and "image/png" not in kinds


def link_problems(notebook, path: Path) -> list[str]:
    """Return what is wrong with the links and pictures in the text cells of a notebook."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            continue
        found += broken_links(cell.source, path)
        if cell.get("attachments"):
            found.append("holds an image as an attachment: put it into figures/")
    return found
