"""What of a cell's code is worth a place on a slide: no imports, and nothing that only draws the figure."""

import ast

import nbformat

# Where a call begins that draws, in the course's notebooks.
DRAWS = {"plt", "ax", "axes", "fig", "draw"}


def leave_out(notebook: nbformat.NotebookNode) -> None:
    """Remove imports and drawing code from the cells of a notebook; figures and other outputs stay.

    Args:
        notebook: changed in place. The file is not touched.
    """
    later: set[str] = set()  # names that the cells below read
    for cell in reversed([cell for cell in notebook.cells if cell.cell_type == "code"]):
        whole = cell.source
        # Speaker notes show a Check whole.
        if cell.metadata.get("slideshow", {}).get("slide_type") != "notes":
            has_figure = any("image/png" in output.get("data", {}) for output in cell.outputs)
            cell.source = shown(whole, has_figure, later)
            if not cell.source and not has_figure:
                cell.outputs = []
        later |= _names(whole)


def shown(source: str, has_figure: bool, used_later: set[str]) -> str:
    """Return the lines of a cell that a slide shows.

    >>> shown("import numpy as np\\n\\nset_seed(0)", False, set())
    ''
    >>> shown("fig, ax = plt.subplots()\\ncolors = 'ab'\\nax.plot(f(2), c=colors)\\nprint(1)", True, set())
    'print(1)'

    Args:
        source: the code of the cell.
        has_figure: whether the cell shows a figure: then its drawing code goes as well.
        used_later: names that later cells read: what computes them stays.
    """
    try:
        nodes = ast.parse(source).body
    except SyntaxError:  # some cells show one on purpose
        return source
    kept = [node for node in nodes if not isinstance(node, ast.Import | ast.ImportFrom)]
    if len(kept) < len(nodes) and all(_is_setup(node) for node in kept):
        return ""
    if has_figure:
        drawn = [node for node in kept if _draws(node)]
        kept = [node for node in kept if node not in drawn]
        # What only the drawing reads, such as a list of colors, goes with it; the last lines first.
        for node in reversed(list(kept)):
            made = _assigned(node)
            still_read = used_later.union(*(_read(other) for other in kept if other is not node))
            if made and made & set().union(*map(_read, drawn)) and not made & still_read:
                kept.remove(node)
                drawn.append(node)
        # A figure is worth more room than a few tables that are computed for it and shown nowhere else.
        if all(isinstance(node, ast.Assign) for node in kept):
            return ""
    if len(kept) == len(nodes):
        return source
    return _lines(source, nodes, kept)


def _lines(source: str, nodes: list[ast.stmt], kept: list[ast.stmt]) -> str:
    """Return the source of some statements, each with the comments and blank lines above it."""
    lines, ends = source.splitlines(), [0, *(node.end_lineno for node in nodes)]
    parts = []
    for node, before in zip(nodes, ends, strict=False):
        if node in kept:
            parts += lines[before : node.end_lineno]
    return "\n".join(parts).strip("\n")


def _root(node: ast.expr) -> str:
    """Return the first name of a call such as ``axes[0].plot(...)``."""
    while not isinstance(node, ast.Name):
        inner = getattr(node, "func", None) or getattr(node, "value", None)
        if inner is None:
            return ""
        node = inner
    return node.id


def _draws(node: ast.AST) -> bool:
    """Tell whether a statement draws: a call on plt, ax or fig, or of plot_..., also inside a loop."""
    if isinstance(node, ast.Assign):
        value = node.value
        return isinstance(value, ast.Call) and _draws_call(value)
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call) and _draws_call(node.value)
    if isinstance(node, ast.For | ast.If | ast.With | ast.FunctionDef):
        return any(isinstance(inner, ast.Call) and _draws_call(inner) for inner in ast.walk(node))
    return False


def _draws_call(call: ast.Call) -> bool:
    root = _root(call.func)
    return root in DRAWS or root.startswith("plot_")


def _is_setup(node: ast.stmt) -> bool:
    """Tell whether a statement is ``set_seed(...)`` or prints a fixed text."""
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return False
    fixed = all(isinstance(argument, ast.Constant) for argument in node.value.args)
    return _root(node.value.func) == "set_seed" or (_root(node.value.func) == "print" and fixed)


def _read(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)}


def _names(source: str) -> set[str]:
    """Return the names that a cell reads; of one with a syntax error, none."""
    try:
        return _read(ast.parse(source))
    except SyntaxError:
        return set()


def _assigned(node: ast.stmt) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else []
    return {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
