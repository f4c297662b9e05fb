"""The pins agree with each other, and the commands do what README.md says."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import course_utils
from course_utils import __main__ as cli
from course_utils.data import DataError
from tools.course import ROOT

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
PLATFORMS = [
    {"sys_platform": system, "platform_machine": machine, "os_name": "nt" if system == "win32" else "posix"}
    for system, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"), ("win32", "AMD64"))
]


def pins(text=None):
    """Return {name: [Requirement]} of requirements.txt; one package may have a pin for each Python version."""
    found = {}
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8") if text is None else text
    for line in re.findall(r"^[A-Za-z0-9].*?(?= \\$|$)", text, re.MULTILINE):
        requirement = Requirement(line)
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def environments():
    for platform in PLATFORMS:
        for version in ("3.11", "3.12", "3.13"):
            yield {**platform, "python_version": version, "python_full_version": f"{version}.9", "extra": ""}


def disagreements(dependencies, pinned):
    """Return what a range of pyproject.toml asks for, on some machine, that the pins do not give."""
    found = []
    for line in dependencies:
        needed = Requirement(line)
        for environment in environments():
            if needed.marker and not needed.marker.evaluate(environment):
                continue
            fitting = [
                pin
                for pin in pinned.get(canonicalize_name(needed.name), [])
                if pin.marker is None or pin.marker.evaluate(environment)
            ]
            versions = [next(iter(pin.specifier)).version for pin in fitting]
            if len(versions) != 1 or versions[0] not in needed.specifier:
                found.append(f"{line} for {environment}: pinned {versions or 'not at all'}")
    return found


def all_ranges():
    return PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]


def test_requirements_agree_with_pyproject():
    assert disagreements(all_ranges(), pins()) == []


def test_a_disagreement_is_found():
    assert disagreements(["keras>=99"], pins()) and disagreements(["no-such-package>=1"], pins())
    assert disagreements(["tensorflow>=2; sys_platform == 'linux' and platform_machine == 'x86_64'"], pins())


def test_every_pin_is_exact_and_hashed():
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    for name, requirements in pins(text).items():
        assert all([s.operator for s in r.specifier] == ["=="] for r in requirements), name
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in block for block in blocks)


def test_no_registry_address_in_any_file():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    files = [ROOT / name for name in tracked] or [ROOT / "requirements.txt", ROOT / "environment.yml"]
    for path in files:
        if path.is_file() and path != Path(__file__).resolve():
            text = path.read_text(encoding="utf-8", errors="ignore")
            assert not re.search(r"https?://\S+/simple\b|--(extra-)?index-url|\.whl#|files\.python", text), (
                path.name
            )


def test_cpu_wheel_on_linux_only():
    names = {"tensorflow", "tensorflow-cpu"}
    for environment in environments():
        pinned = {n for n in names for pin in pins().get(n, []) if pin.marker.evaluate(environment)}
        linux = environment["sys_platform"] == "linux" and environment["platform_machine"] == "x86_64"
        assert pinned == {"tensorflow-cpu" if linux else "tensorflow"}, environment


def test_conda_environment_has_the_same_pins():
    *packages, pip = CONDA["dependencies"]
    assert pip == {"pip": ["-r requirements.txt"]}
    assert [package.split()[0] for package in packages] == ["python", "pip"]
    assert packages[0].split()[1] == PROJECT["requires-python"]


def test_version_is_the_same_everywhere():
    assert course_utils.__version__ == PROJECT["version"]


def test_make_lists_every_target():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split())
    assert set(re.findall(r"^([a-z]+):.*## ", text, re.MULTILINE)) == phony


# --- python -m course_utils -----------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Replace the data and JupyterLab; return the commands that would have been run."""
    commands = []

    def run(command, **options):
        commands.append(command)
        return subprocess.CompletedProcess(command, 7)

    monkeypatch.setattr(cli, "fetch_movielens", lambda: tmp_path)
    monkeypatch.setattr(cli.subprocess, "run", run)
    return commands


def test_data_says_where(calls, capsys, tmp_path):
    assert cli.main(["data"]) == 0
    assert str(tmp_path) in capsys.readouterr().out and not calls


def test_lab_opens_the_first_notebook_for_this_machine_only(calls):
    assert cli.main(["lab", "--no-browser"]) == 7
    command = calls[0]
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert (
        f"--LabApp.default_url=/lab/tree/{cli.FIRST}" in command and f"--ServerApp.root_dir={ROOT}" in command
    )
    assert (ROOT / cli.FIRST).is_file()
    assert "--ip=127.0.0.1" in command and command[-1] == "--no-browser"
    assert not any("token" in word or "password" in word for word in command)


def test_lab_finds_the_settings_of_the_course(monkeypatch):
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "mine")
    first, second = cli.lab_environment()["JUPYTER_CONFIG_PATH"].split(os.pathsep)
    assert (Path(first) / "labconfig" / "page_config.json").is_file() and second == "mine"
    defaults = json.loads((Path(first) / "labconfig" / "default_setting_overrides.json").read_text())
    viewers = defaults["@jupyterlab/docmanager-extension:plugin"]["defaultViewers"]
    assert viewers == {"markdown": "Markdown Preview"}, "the glossary should open as a page, not as its source"
    monkeypatch.delenv("JUPYTER_CONFIG_PATH")
    assert cli.lab_environment()["JUPYTER_CONFIG_PATH"] == first


@pytest.mark.parametrize(("user", "allowed"), [(0, True), (1000, False)])
def test_root_is_allowed_only_when_it_is_root(monkeypatch, user, allowed):
    monkeypatch.setattr(os, "geteuid", lambda: user, raising=False)
    assert ("--allow-root" in cli.lab_command([])) is allowed


def test_lab_on_windows_has_no_user_number(monkeypatch):
    monkeypatch.delattr(os, "geteuid", raising=False)
    assert "--allow-root" not in cli.lab_command([])


def test_leaving_with_ctrl_c_is_no_error(calls, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.subprocess, "run", interrupted)
    assert cli.main(["lab"]) == 0


def test_no_data_no_lab(calls, monkeypatch, capsys):
    def fail():
        raise DataError("put it there by hand")

    monkeypatch.setattr(cli, "fetch_movielens", fail)
    assert cli.main(["lab"]) == 1 and not calls
    assert "put it there by hand" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["help"], ["data", "more"]])
def test_usage(calls, capsys, arguments):
    assert cli.main(arguments) == 2
    assert "Usage: python -m course_utils data|lab" in capsys.readouterr().err
