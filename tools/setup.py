"""Make ``.venv`` what the course needs, or repair it: ``make setup``, or ``python -m tools.setup``.

Any Python runs this; it needs no package. ``--all`` adds what teaching and testing need (``make tools``).

``.venv/.ready`` records what ``.venv`` was made for. Each call compares, which takes a tenth of a second, and
does only what is lacking:

- no record, or the Python in ``.venv`` does not run, or is another one: a new ``.venv``,
- other pins than those recorded: pip installs what is new,
- another folder, because the course was moved or copied: if no file of a package got lost, the scripts get the
  new path; else a new ``.venv``.

The record is removed before anything changes and written last. So what was killed half way is made anew.
A folder ``wheels`` in the course (``tools.stick``) takes the place of the network.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tools import ROOT

WINDOWS = os.name == "nt"
# What is installed, in this order, and what people are told about it: megabytes to download on Linux.
PINS = {"course": "requirements.txt", "tools": "requirements-all.txt"}
MEGABYTES = {"course": 500, "tools": 600}
WHAT = {"course": "the course", "tools": "teaching, testing and notebook 11's engines"}
ASK = "import sys, sysconfig; print('%d.%d' % sys.version_info[:2], sysconfig.get_platform())"


class SetupError(RuntimeError):
    """Set-up can't be finished. The message says what to do."""


def python_of(venv: Path) -> Path:
    """Return the path of the Python in a virtual environment."""
    return venv / ("Scripts/python.exe" if WINDOWS else "bin/python")


def supported(root: Path = ROOT) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the oldest Python that fits and the first that is too new, as pyproject.toml says."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    oldest, end = re.search(r'^requires-python = ">=3\.(\d+),<3\.(\d+)"', text, re.MULTILINE).groups()
    return (3, int(oldest)), (3, int(end))


def check_python(version: tuple[int, int], root: Path = ROOT) -> None:
    """Raise SetupError when the course can't run with this version of Python, for example (3, 10)."""
    oldest, end = supported(root)
    if not oldest <= version < end:
        names = [f"3.{minor}" for minor in range(oldest[1], end[1])]
        raise SetupError(
            f"The course needs Python {', '.join(names[:-1])} or {names[-1]}, but {sys.executable} is "
            f"{version[0]}.{version[1]}. Try: make lab PYTHON=python{names[-2]}"
        )


def asked(python: Path) -> str:
    """Return the version and the platform of a Python, "3.12 linux-x86_64", or "" when it does not run."""
    try:
        done = subprocess.run([str(python), "-I", "-S", "-c", ASK], capture_output=True, encoding="utf-8")
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def read_record(venv: Path) -> dict[str, str]:
    """Return what ``venv`` was made for; empty when its set-up did not end."""
    try:
        found = json.loads((venv / ".ready").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_record(venv: Path, record: dict[str, str]) -> None:
    """Write what ``venv`` was made for, whole or not at all."""
    beside = venv / ".ready.part"
    beside.write_text(json.dumps(record, indent=1, ensure_ascii=True), encoding="utf-8")
    os.replace(beside, venv / ".ready")


def goal(root: Path, venv: Path) -> dict[str, str]:
    """Return what the record of ``venv`` must say today: folder, Python, SHA-256 of each list of pins."""
    hashes = {name: hashlib.sha256((root / file).read_bytes()).hexdigest() for name, file in PINS.items()}
    return {"folder": str(root), "python": asked(python_of(venv)), **hashes}


def reason(record: dict[str, str], wanted: dict[str, str], everything: bool) -> str:
    """Return why there is something to do, in one word, or "".

    Args:
        record: what ``.venv`` was made for.
        wanted: what it must be made for now.
        everything: whether the packages for teaching and testing count, too.

    Returns:
        "new": .venv must be made anew. "moved": it lies in another folder. "pins": packages are lacking.
    """
    if not record or not wanted["python"] or record.get("python") != wanted["python"]:
        return "new"
    if record.get("folder") != wanted["folder"]:
        return "moved"
    names = PINS if everything else ["course"]
    return "pins" if any(record.get(name) != wanted[name] for name in names) else ""


def package_folders(venv: Path) -> list[Path]:
    """Return where ``venv`` keeps its packages: one folder, or none when it is not whole."""
    return list(venv.glob("Lib/site-packages" if WINDOWS else "lib/python*/site-packages"))


def installed(venv: Path) -> list[Path]:
    """Return the list of files, RECORD, of each package in ``venv``."""
    return [record for folder in package_folders(venv) for record in folder.glob("*.dist-info/RECORD")]


def lost_files(venv: Path) -> list[str]:
    """Return the packages' files that are gone or have another size, as after a copy that was cut short."""
    lost = []
    for record in installed(venv):
        with record.open(encoding="utf-8", newline="") as lines:
            for name, _, size in csv.reader(lines):
                # Scripts (outside, "../../../bin/x") change with the folder; a size is not given for all.
                if size and not name.startswith("..") and not _has_size(record.parents[1] / name, int(size)):
                    lost.append(name)
    return lost


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def adapt_scripts(venv: Path) -> None:
    """Let each script of ``venv`` start the Python that lies beside it now.

    Its first lines name a Python by its path. They are written in the form that pip uses for paths with blanks,
    which works for every path.
    """
    python = python_of(venv)
    start = b"#!/bin/sh\n'''exec' \"%s\" \"$0\" \"$@\"\n' '''\n" % os.fsencode(python)
    for script in python.parent.iterdir():
        if script.is_symlink() or not script.is_file() or script.suffix == ".exe":
            continue
        content = script.read_bytes()
        if re.match(rb"#!/.*/python[\d.]*\n", content):
            script.write_bytes(start + content.partition(b"\n")[2])
        elif content.startswith(b"#!/bin/sh\n'''exec' "):
            script.write_bytes(start + content.split(b"\n", 3)[3])


def link_course(venv: Path, root: Path) -> None:
    """Let the Python of ``venv`` find ``course_utils``: by a path from there, which moves with the course."""
    for packages in package_folders(venv):
        path = Path(os.path.relpath(root, packages)).as_posix()
        (packages / "course_utils.pth").write_text(f"{path}\n", encoding="utf-8")


def describe_course(venv: Path, root: Path) -> None:
    """Tell ``venv`` name, version and needs of the course, as pip does: notebook 00 asks for them."""
    import tomllib  # not above: a Python that lacks it must still come to say that it does not fit

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needs = [
        *project["dependencies"],
        *(f"{one} ; extra == {name!r}" for name in extras for one in extras[name]),
    ]
    lines = ["Metadata-Version: 2.4", f"Name: {project['name']}", f"Version: {project['version']}"]
    lines += [f"Requires-Python: {project['requires-python']}", *(f"Requires-Dist: {one}" for one in needs)]
    for packages in package_folders(venv):
        folder = packages / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "METADATA").write_text("\n".join([*lines, ""]), encoding="utf-8")
        (folder / "INSTALLER").write_text("make\n", encoding="utf-8")
        names = ["course_utils.pth", *(f"{folder.name}/{name}" for name in ("METADATA", "INSTALLER", "RECORD"))]
        (folder / "RECORD").write_text("".join(f"{name},,\n" for name in names), encoding="utf-8")


def base_python() -> str:
    """Return the Python that runs here, and of one in a ``.venv`` (which may be removed) the one behind it."""
    return getattr(sys, "_base_executable", None) or sys.executable


def make_venv(venv: Path) -> None:
    """Make ``venv`` with pip in it; without, where the system's Python can't, and the system's pip serves."""
    command = [base_python(), "-m", "venv", "--clear"]
    if subprocess.run([*command, str(venv)], capture_output=True).returncode:
        run([*command, "--without-pip", str(venv)])


def adapt(venv: Path, packages: str | None) -> bool:
    """Adapt ``venv`` to the folder that it lies in now; return whether it is whole: so many ``packages``."""
    if str(len(installed(venv))) != packages or lost_files(venv):
        return False
    # Python's own scripts ("activate") are written anew by a Python of the same version; packages stay.
    if asked(Path(base_python())) == asked(python_of(venv)):
        subprocess.run([base_python(), "-m", "venv", "--without-pip", str(venv)], capture_output=True)
    adapt_scripts(venv)
    return True


def install(venv: Path, root: Path, file: str) -> None:
    """Install a list of pins into ``venv``; only files whose hash is in the list are accepted."""
    pip = [str(python_of(venv)), "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True).returncode:
        pip = [base_python(), "-m", "pip", "--python", str(python_of(venv))]
    words = ["install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", file]
    offline = ["--no-index", "--find-links", "wheels"] if (root / "wheels").is_dir() else []
    run([*pip, *words, *offline], root)


def run(command: list[str], folder: Path | None = None) -> None:
    """Run a command that says itself what goes wrong. Raises SetupError when it fails."""
    if subprocess.run(command, cwd=folder).returncode:
        raise SetupError(
            "Set-up did not end; the lines above say why. Run the command again when that is mended. "
            'Without a network, see "Prepare a room" in INSTRUCTORS.md.'
        )


def prepare(everything: bool = False, root: Path = ROOT) -> None:
    """Do what is lacking, so that ``.venv`` fits. Raises SetupError when that is impossible."""
    venv = root / ".venv"
    record, wanted = read_record(venv), goal(root, venv)
    why = reason(record, wanted, everything)
    if not why:
        return
    if why == "moved":
        print(f"The course lies in another folder than {record['folder']}: adapting .venv.", flush=True)
        (venv / ".ready").unlink()
        if not adapt(venv, record.get("packages")):
            print(".venv is not whole.", flush=True)
            why = "new"
    if why == "new":
        check_python(sys.version_info[:2], root)
        version = ".".join(map(str, sys.version_info[:3]))
        left = " anew: what was there is not finished, or does not run here" if venv.exists() else ""
        print(f"Setting up .venv with Python {version}{left}.", flush=True)
        make_venv(venv)
        record = {}
        wanted["python"] = asked(python_of(venv))
    (venv / ".ready").unlink(missing_ok=True)
    for name in PINS if everything else ["course"]:
        if record.get(name) != wanted[name]:
            print(f"Installing for {WHAT[name]}: about {MEGABYTES[name]} MB to download, once.", flush=True)
            install(venv, root, PINS[name])
            record[name] = wanted[name]
    link_course(venv, root)
    describe_course(venv, root)
    record["packages"] = str(len(installed(venv)))
    write_record(venv, {**record, "folder": wanted["folder"], "python": wanted["python"]})


def main(arguments: list[str]) -> int:
    """Run the command line and return its exit code: 0, 1 (it failed) or 2 (wrong options)."""
    if arguments not in ([], ["--all"], ["--fits"]):
        print("Usage: python -m tools.setup [--all]", file=sys.stderr)
        return 2
    try:
        if arguments == ["--fits"]:  # the Makefile looks for a Python in this way
            check_python(sys.version_info[:2])
        else:
            prepare(everything=arguments == ["--all"])
    except SetupError as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
