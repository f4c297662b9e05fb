"""The pins agree with each other, and the commands do what README.md says."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import course_utils
from course_utils import __main__ as cli
from course_utils.checks import DataError
from tools import setup, stick
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
    assert set(re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE)) == phony


# --- What is installed ----------------------------------------------------------------------------

# What teaching and testing need; `make lab` does without it.
LATER = ("nbgrader", "nbdime", "sphinx", "myst-nb", "playwright", "jupyterlab-rise", "pyspark", "faiss-cpu")


def test_the_course_alone_installs_nothing_for_teaching():
    everything = pins((ROOT / "requirements-all.txt").read_text(encoding="utf-8"))
    assert set(LATER) <= set(everything) and not set(LATER) & set(pins())
    for name, found in pins().items():
        versions = [{str(pin.specifier) for pin in where} for where in (found, everything[name])]
        assert versions[0] == versions[1], (
            f"make tools adds packages; it changes no version, as it would {name}"
        )


@pytest.mark.parametrize("name", ["README.md", "INSTRUCTORS.md"])
def test_the_guides_name_the_sizes_that_set_up_announces(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    course, more = setup.MEGABYTES["course"], setup.MEGABYTES["tools"]
    assert f"about {course} MB" in text
    assert set(re.findall(r"(\d+) MB", text)) <= {str(course), str(more)}, "another size than set-up announces"
    assert name != "README.md" or f"about {more} MB more" in text


# --- python -m tools.setup ------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Set up a made-up course in a folder with blanks and Korean letters; return what was done: no pip runs."""
    root = tmp_path / "한글 과정 1"
    packages = root / ".venv" / "lib" / "python3.12" / "site-packages"
    root.mkdir()
    for name in ("requirements.txt", "requirements-all.txt"):
        (root / name).write_text(name)
    (root / "pyproject.toml").write_text(
        '[project]\nname = "a-course"\nversion = "2.0"\nrequires-python = ">=3.11,<3.14"\n'
        'dependencies = ["numpy>=2"]\n'
        '[project.optional-dependencies]\ntest = ["pytest>=8"]\n'
    )
    commands = []

    def build(venv):
        commands.append("new .venv")
        shutil.rmtree(venv, ignore_errors=True)
        folder = venv / packages.relative_to(root / ".venv")
        (folder / "a-1.dist-info").mkdir(parents=True)
        (folder / "a.py").write_text("12345")
        (folder / "a-1.dist-info" / "RECORD").write_text(
            "a.py,sha256=x,5\n../../../bin/a,sha256=x,9\na.pyc,,\n"
        )
        (venv / "bin").mkdir()

    monkeypatch.setattr(setup, "WINDOWS", False)
    monkeypatch.setattr(setup, "make_venv", build)
    monkeypatch.setattr(setup, "asked", lambda python: "3.12 linux-x86_64" if python.parent.is_dir() else "")
    monkeypatch.setattr(setup, "install", lambda venv, root, file: commands.append(file))

    def prepare(everything=False, root=root):
        commands.clear()
        setup.prepare(everything, root)
        return list(commands)

    prepare.root, prepare.packages = root, packages
    return prepare


NEW = ["new .venv", "requirements.txt"]


def test_set_up_once_is_enough(made):
    assert made() == NEW
    assert made() == []
    assert made(everything=True) == ["requirements-all.txt"]
    assert made(everything=True) == made() == []


def test_new_pins_are_installed(made):
    made(everything=True)
    (made.root / "requirements-all.txt").write_text("newer")
    assert made() == []
    assert made(everything=True) == ["requirements-all.txt"]
    (made.root / "requirements.txt").write_text("newer")
    assert made() == ["requirements.txt"]


@pytest.mark.parametrize("left", ["no Python", "half a record", "no record"])
def test_what_was_killed_half_way_is_made_anew(made, left):
    made()
    record = made.root / ".venv" / ".ready"
    if left == "no Python":
        shutil.rmtree(made.root / ".venv" / "bin")
    elif left == "half a record":
        record.write_text(record.read_text()[:20])
    else:
        record.unlink()
    assert made() == NEW
    assert made() == []


def test_the_record_is_gone_while_pip_works(made, monkeypatch):
    made()

    def killed(venv, root, file):
        assert not (venv / ".ready").exists()
        raise KeyboardInterrupt

    (made.root / "requirements.txt").write_text("newer")
    with monkeypatch.context() as patch:
        patch.setattr(setup, "install", killed)
        with pytest.raises(KeyboardInterrupt):
            made()
    assert made() == NEW


def test_another_python_gets_a_new_environment(made, monkeypatch):
    made()
    monkeypatch.setattr(setup, "asked", lambda python: "3.13 linux-x86_64")
    assert made() == NEW


def test_a_moved_course_is_adapted_without_pip(made, capsys):
    made()
    moved = made.root.with_name("옮긴 과정 2")
    made.root.rename(moved)
    assert made(root=moved) == [] == made(root=moved)
    assert capsys.readouterr().out.count("lies in another folder") == 1
    link = moved / made.packages.relative_to(made.root) / "course_utils.pth"
    assert (link.parent / link.read_text().strip()).resolve() == moved.resolve(), "a path that moves along"


def break_file(packages):
    (packages / "a.py").write_text("123")


def break_package(packages):
    shutil.rmtree(packages / "a-1.dist-info")


@pytest.mark.parametrize("damage", [break_file, break_package, shutil.rmtree])
def test_a_copy_that_was_cut_short_is_made_anew(made, damage):
    made()
    copy = made.root.with_name("copy")
    shutil.copytree(made.root, copy)
    damage(copy / made.packages.relative_to(made.root))
    assert made(root=copy) == NEW
    assert made() == [], "the first one is as it was"


SCRIPTS = ["#!/old/bin/python3.12\n", "#!/bin/sh\n'''exec' \"/old place/bin/python\" \"$0\" \"$@\"\n' '''\n"]


@pytest.mark.skipif(os.name == "nt", reason="scripts are programs there")
@pytest.mark.parametrize("start", SCRIPTS)
def test_scripts_of_a_moved_environment_run(tmp_path, start):
    folder = tmp_path / "한글 과정" / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(sys.executable)
    (folder / "tool").write_text(f"{start}import sys\nprint(sys.argv[1:])\n", encoding="utf-8")
    (folder / "tool").chmod(0o755)
    (folder / "other").write_text("#!/usr/bin/env bash\necho\n")
    for _ in range(2):
        setup.adapt_scripts(folder.parent)
        done = subprocess.run([folder / "tool", "a b"], capture_output=True, text=True)
        assert done.stdout == "['a b']\n", done.stderr
    assert (folder / "other").read_text() == "#!/usr/bin/env bash\necho\n"


def test_wheels_beside_the_course_take_the_place_of_the_network(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(setup, "run", lambda command, folder: commands.append(command[1:]))
    monkeypatch.setattr(setup.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0))
    setup.install(tmp_path / ".venv", tmp_path, "requirements.txt")
    (tmp_path / "wheels").mkdir()
    setup.install(tmp_path / ".venv", tmp_path, "requirements.txt")
    assert "--no-index" not in commands[0] and "--require-hashes" in commands[0]
    assert commands[1] == [*commands[0], "--no-index", "--find-links", "wheels"]


def test_an_environment_without_pip_gets_it_from_outside(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(setup, "run", lambda command, folder=None: commands.append(command))
    monkeypatch.setattr(setup.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1))
    setup.make_venv(tmp_path)
    setup.install(tmp_path, tmp_path, "requirements.txt")
    assert commands[0] == [setup.base_python(), "-m", "venv", "--clear", "--without-pip", str(tmp_path)]
    assert commands[1][:5] == [setup.base_python(), "-m", "pip", "--python", str(setup.python_of(tmp_path))]


def test_a_failing_command_says_what_to_do():
    with pytest.raises(setup.SetupError, match="Without a network, see"):
        setup.run([sys.executable, "-c", "raise SystemExit(3)"])


@pytest.mark.parametrize(("minor", "fits"), [(10, False), (11, True), (13, True), (14, False)])
def test_which_python_fits(minor, fits):
    assert setup.supported() == ((3, 11), (3, 14))
    if fits:
        setup.check_python((3, minor))
    else:
        with pytest.raises(setup.SetupError, match=rf"needs Python 3.11, 3.12 or 3.13, but .* is 3.{minor}"):
            setup.check_python((3, minor))


def test_what_runs_and_what_does_not(tmp_path):
    assert setup.asked(Path(sys.executable)).startswith(f"3.{sys.version_info[1]} ")
    assert setup.asked(tmp_path / "python") == ""
    (tmp_path / "python").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    assert setup.asked(tmp_path / "python") == ""


def test_command_line_of_set_up(monkeypatch, capsys):
    called = []
    monkeypatch.setattr(setup, "prepare", lambda everything: called.append(everything))
    assert [setup.main([]), setup.main(["--all"]), setup.main(["--fits"])] == [0, 0, 0]
    assert called == [False, True]
    assert setup.main(["--al"]) == 2 and "Usage" in capsys.readouterr().err

    def fail(everything):
        raise setup.SetupError("no network")

    monkeypatch.setattr(setup, "prepare", fail)
    assert setup.main([]) == 1 and "no network" in capsys.readouterr().err


def test_set_up_needs_no_package():
    """Python runs it before anything is installed: here with -S, so that it finds no packages."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tools import setup; print(setup.main(['--fits']))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert done.stdout == "0\n", done.stderr


# --- python -m tools.stick ------------------------------------------------------------------------


def test_a_stick_holds_course_data_and_packages(tmp_path, monkeypatch):
    root, usb, data = tmp_path / "한글 과정 1", tmp_path / "usb stick", tmp_path / "ml-100k"
    for folder in (root, usb, data):
        folder.mkdir()
    (data / "u.data").write_text("1")
    (root / "requirements.txt").write_text(
        f"x==1\ny==2 ; python_full_version == '3.{sys.version_info[1]}.39' --hash=sha256:0"
    )
    (root / ".gitignore").write_text(".venv\n")
    (root / ".venv").mkdir()
    (root / ".venv" / "big").write_text("2.3 GB")
    git = ["git", "-C", str(root), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    address = "https://example.com/course"
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"], ["remote", "add", "origin", address]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(stick, "fetch_movielens", lambda: data)
    pip, run = [], subprocess.run

    def noted(command, **options):
        return pip.append(command) if "pip" in command else run(command, **options)

    monkeypatch.setattr(stick.subprocess, "run", noted)
    target = stick.fill(usb, root)
    assert sorted(path.name for path in target.iterdir()) == [".git", ".gitignore", "data", "requirements.txt"]
    assert (target / "data" / "ml-100k" / "u.data").read_text() == "1"
    assert pip[0][-4:] == ["-r", str(target / "requirements.txt"), "-d", str(target / "wheels")]
    assert "--no-deps" in pip[1] and pip[1][-2:] == ["-d", str(target / "wheels")]
    where = run(["git", "-C", str(target), "remote", "get-url", "origin"], capture_output=True, text=True)
    assert where.stdout.strip() == address
    with pytest.raises(ValueError, match="is there already"):
        stick.fill(usb, root)


def test_a_stick_also_serves_another_patch_of_its_python(monkeypatch):
    """Python 3.11.2 needs an older soupsieve than 3.11.7, on which the stick was filled."""
    monkeypatch.setattr(stick.sys, "version_info", (3, 11))
    lines = [
        "# made by hand",
        "old==1 ; python_full_version < '3.11.0' \\\n    --hash=sha256:0\n    # via x",
        "both==2 ; python_full_version < '3.12' \\\n    --hash=sha256:1",
        "mac==3 ; python_full_version == '3.11.39' and sys_platform == 'nowhere' \\\n    --hash=sha256:2",
        "plain==4 \\\n    --hash=sha256:3",
        "other==5 ; python_full_version == '3.11.39' \\\n    --hash=sha256:4 \\\n    --hash=sha256:5",
    ]
    assert stick.for_other_patches("\n".join(lines)) == ["other==5 --hash=sha256:4 --hash=sha256:5"]


def test_no_stick(tmp_path, capsys):
    assert stick.main([""]) == 2 and "Usage" in capsys.readouterr().err
    assert stick.main([str(tmp_path / "usb")]) == 1 and "is no folder" in capsys.readouterr().err


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


def test_the_course_is_known_to_its_python(tmp_path):
    """Notebook 00 compares what the course needs with what is installed."""
    packages = tmp_path / "lib" / "python3.12" / "site-packages"
    packages.mkdir(parents=True)
    setup.link_course(tmp_path, ROOT)
    setup.describe_course(tmp_path, ROOT)
    (course,) = importlib.metadata.distributions(name=PROJECT["name"], path=[str(packages)])
    assert course.version == PROJECT["version"]
    plain = [need for need in course.requires if "extra ==" not in need]
    assert list(map(Requirement, plain)) == list(map(Requirement, PROJECT["dependencies"]))
    assert setup.lost_files(tmp_path) == []
