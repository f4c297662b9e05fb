"""Guides name only what exists: commands, modules and their options, files, functions, variables.

``problems`` reads the code in a Markdown text (blocks, and words between backticks) and says what is not there.
"""

import ast
import importlib.util
import re
import shlex
from pathlib import Path

from tools import ROOT
from tools.links import code

# Packages of this repository, and folders whose files a guide may name.
OURS = ("course_utils", "tools", "benchmarks")
FOLDERS = (*OURS, "tests", "notebooks", "exercises", "solutions", ".github", ".ci", ".binder")
PYTHON = re.compile(r"(?:\S*[/\\])?(?:python[\d.]*|py)(?:\.exe)?(?: -3\.\d+)?")
# Words in a path that stand for any name.
ANY = re.compile(r"NN|NAME|\*|…")


def problems(text: str, root: Path = ROOT) -> list[str]:
    """Return what a text names and this repository does not have, one sentence a finding."""
    found = []
    for piece in code(text):
        for line in piece.splitlines():
            command = line.partition("#")[0].strip()
            found += _make(command, root) + _module(command, root)
        found += _paths(piece, root) + _names(piece, root) + _variables(piece, root)
    return list(dict.fromkeys(found))


def scripts(text: str) -> set[str]:
    """Return the programs that a text calls by their place in ``.venv``, but for Python."""
    called = re.findall(r"\.venv[/\\](?:bin|Scripts)[/\\]([\w-]+)", "\n".join(code(text)))
    return {name for name in called if not PYTHON.fullmatch(name)}


def _make(command: str, root: Path) -> list[str]:
    """Check ``make TARGET NAME=value``."""
    match = re.search(r"(?:^|[;&|] *|\b[A-Z_]+=\S+ +)make((?: [\w.-]+(?:=(?:\"[^\"]*\"|\S*))?)+)", command)
    if not match:
        return []
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    found = []
    for word in shlex.split(match[1]):
        name, is_variable, _ = word.partition("=")
        if is_variable and f"$({name})" not in makefile:
            found.append(f"names {name}=, which the Makefile does not know")
        elif not is_variable and name not in targets:
            found.append(f"names `make {name}`, and the Makefile has no such target")
    return found


def _module(command: str, root: Path) -> list[str]:
    """Check ``python -m MODULE --option``: the module, and for one of ours, its options and files."""
    match = re.search(rf"(?:^|\s){PYTHON.pattern} -m ([\w.]+)(.*)", command)
    if not match:
        return []
    name, rest = match.groups()
    if name.partition(".")[0] not in OURS:
        return (
            []
            if importlib.util.find_spec(name.partition(".")[0])
            else [f"names the module {name}: not installed"]
        )
    file = _file(name, root)
    if file is None or "__name__" not in file.read_text(encoding="utf-8"):
        return [f"names `python -m {name}`, which is no command of this repository"]
    source = file.read_text(encoding="utf-8")
    # What `python -m course_utils lab` does not know goes to JupyterLab.
    options = [] if "lab" in rest.split() else re.findall(r"(?<!\S)--[a-z-]+", rest)
    return [
        f"names {option} of {name}, which it does not have" for option in options if f'"{option}"' not in source
    ]


def _file(name: str, root: Path) -> Path | None:
    """Return the file that ``python -m name`` runs."""
    path = root.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__main__.py") if file.is_file()), None)


def _paths(piece: str, root: Path) -> list[str]:
    """Check paths that begin with a folder of the repository; NN and NAME in them stand for any name."""
    found = []
    made = {line.strip("/") for line in (root / ".gitignore").read_text(encoding="utf-8").splitlines()}
    for path in re.findall(rf"(?<![\w./\\-])(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./*…-]*", piece):
        pattern = ANY.sub("*", path.rstrip("./").replace("NN_name", "NN_*"))
        if pattern not in made and not any(root.glob(pattern)):
            found.append(f"names {path}, which does not exist")
    return found


def _names(piece: str, root: Path) -> list[str]:
    """Check dotted names such as ``course_utils.tables.write_example``."""
    found = []
    for name in re.findall(rf"(?<![\w./\\-])(?:{'|'.join(OURS)})(?:\.[A-Za-z_]\w*)+", piece):
        if not _exists(name.split("."), root):
            found.append(f"names {name}, which does not exist")
    return found


def _exists(parts: list[str], root: Path) -> bool:
    path = root
    for place, part in enumerate(parts):
        path = path / part
        if path.with_suffix(".py").is_file():
            rest = parts[place + 1 :]
            tree = ast.parse(path.with_suffix(".py").read_text(encoding="utf-8"))
            return not rest or rest[0] in _defined(tree) or rest == ["py"]
        if not path.is_dir():
            return False
    return True


def _defined(tree: ast.Module) -> set[str]:
    """Return the names that a module defines at its top."""
    names = {node.name for node in tree.body if hasattr(node, "name")}
    for node in tree.body:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def _variables(piece: str, root: Path) -> list[str]:
    """Check variables of the environment that begin with ``COURSE_``: some program must read them."""
    places = [file for folder in (*OURS, "tests") for file in (root / folder).rglob("*.py")]
    found = []
    for name in set(re.findall(r"\bCOURSE_[A-Z_]+", piece)):
        read = re.compile(rf'environ[^"\n]*"{name}"|^VARIABLE = "{name}"', re.MULTILINE)
        if not any(read.search(file.read_text(encoding="utf-8")) for file in places):
            found.append(f"names {name}, which nothing reads")
    return found
