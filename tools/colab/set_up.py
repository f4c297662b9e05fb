"""Makes the course ready on Google Colab. The first cell of each notebook there runs this file.

It is part of ``course.zip`` (see ``tools/colab``), beside ``needed.txt``, ``course_utils`` and ``data``.
What Colab has is used as it is: other versions would break what else is installed, and take minutes. Small
packages that are missing altogether are installed. One that is there may be too old: Keras, which is Python
alone. Then a newer one goes into the course's own folder, for this notebook only, and Colab's stays as it is.
"""

import importlib
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
# What a runtime for machine learning has. They need much else, so they can't be added to one that has not.
ITS_OWN = ("tensorflow", "keras", "numpy", "pandas", "scikit-learn", "matplotlib")
RENEWED = ("keras",)
ALSO = {"tensorflow": "tensorflow-cpu"}  # the same under another name
OTHER_VERSION = (
    "In Colab's menu, choose Runtime > Change runtime type, take another runtime version (the date nearest to "
    "that of the course), and run this cell again."
)


class SetUpError(RuntimeError):
    """This runtime can't run the course; the message says what to do."""


def requirements(text: str) -> list:
    """Return the requirements of ``needed.txt``: one a line, "python" first.

    >>> [str(needed) for needed in requirements("python>=3.11\\nkeras>=3.12")]
    ['python>=3.11', 'keras>=3.12']
    """
    from packaging.requirements import Requirement  # here: a runtime without it gets a sentence

    return [Requirement(line) for line in text.splitlines() if line]


def missing(needed: list, python: str) -> tuple[list, list]:
    """Return the requirements that are not installed, and those of ``RENEWED`` that are in another version.

    Args:
        needed: what the course needs. An installed package of another version can't be exchanged here.
        python: the version that runs this.

    Raises:
        SetUpError: something is there in a version that the course was not tried with, or one of ``ITS_OWN``
            is not there at all.
    """
    absent, outdated, others = [], [], []
    for requirement in needed:
        if requirement.name == "python":
            found = python
        else:
            found = _version(requirement.name) or _version(ALSO.get(requirement.name, ""))
            if not found:
                if requirement.name in ITS_OWN:
                    others.append(f"{requirement} (here: none)")
                else:
                    absent.append(requirement)
                continue
        if requirement.specifier.contains(found, prereleases=True):
            continue
        if requirement.name in RENEWED:
            outdated.append(requirement)
        else:
            others.append(f"{requirement.name} {requirement.specifier} (here: {found})")
    if others:
        raise SetUpError(f"The course needs {', '.join(others)}. {OTHER_VERSION}")
    return absent, outdated


def _version(name: str) -> str | None:
    try:
        return metadata.version(name) if name else None
    except metadata.PackageNotFoundError:
        return None


def install(needed: list, *options: str) -> None:
    """Install packages, and nothing else: those that they need in turn must be there.

    Raises:
        SetUpError: pip failed.
    """
    if not needed:
        return
    names = [str(requirement) for requirement in needed]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *options, *names]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise SetUpError(f"pip can't install {', '.join(names)}. It said: {done.stderr.strip()[-500:]}")
    print(f"Installed {', '.join(names)}.")


def main(folder: Path = FOLDER) -> None:
    """Check the runtime, install what is missing, and let this notebook find ``course_utils`` and the data."""
    needed, own = requirements((folder / "needed.txt").read_text(encoding="utf-8")), folder / "packages"
    own.mkdir(exist_ok=True)
    # For this notebook, and for the processes that it starts.
    for path in (str(own), str(folder)):
        if path not in sys.path:
            sys.path.insert(0, path)
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([str(folder), str(own), *others]))
    absent, outdated = missing(needed, ".".join(map(str, sys.version_info[:3])))
    if in_use := [requirement.name for requirement in outdated if requirement.name in sys.modules]:
        raise SetUpError(
            f"{in_use[0]} is in use in an older version. Restart the session, and run this cell first."
        )
    install(absent)
    install(outdated, "--target", str(own))
    importlib.invalidate_caches()
    os.chdir(folder / "notebooks")  # where notebooks stand in the repository: their "../data" is right
    versions = [
        f"{name} {_version(name) or _version(ALSO[name])}" for name in ("tensorflow", "keras", "pandas")
    ]
    print(f"Ready: Python {sys.version_info[0]}.{sys.version_info[1]}, {', '.join(versions)}.")


if __name__ == "__main__":
    main()
