"""Fill a USB stick for a room without a network: ``make stick STICK=FOLDER``.

``FOLDER/course`` holds the course as it was committed last, the data, and in ``wheels`` the packages of
requirements.txt, for the system and the Python that run this. Where it is copied to, ``make lab`` sets it up.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from course_utils.fetch import fetch_movielens
from tools import ROOT
from tools.setup import PINS

from packaging.requirements import Requirement

# No Python 3.x has had more releases than this.
PATCHES = 40


def fill(folder: Path, root: Path = ROOT) -> Path:
    """Write the course, its data and its packages into ``folder / "course"`` and return that path.

    Raises:
        ValueError: ``folder`` is none, or holds a course already.
        subprocess.CalledProcessError: git or pip failed; they have said why.
    """
    target = folder / "course"
    if not folder.is_dir():
        raise ValueError(
            f"{folder} is no folder. Expected where the stick is, as in: make stick STICK=/media/usb"
        )
    if target.exists():
        raise ValueError(f"{target} is there already. Remove it, or choose another folder.")
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(root), str(target)], check=True)
    # The new clone should lead to where this one came from, not to a folder of this machine.
    origin = ["git", "-C", str(root), "remote", "get-url", "origin"]
    if address := subprocess.run(origin, capture_output=True, encoding="utf-8").stdout.strip():
        subprocess.run(["git", "-C", str(target), "remote", "set-url", "origin", address], check=True)
    else:
        subprocess.run(["git", "-C", str(target), "remote", "remove", "origin"], check=True)
    shutil.copytree(fetch_movielens(), target / "data" / "ml-100k")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--only-binary", ":all:"]
    pins, wheels = target / PINS["course"], ["-d", str(target / "wheels")]
    subprocess.run([*pip, "-r", str(pins), *wheels], check=True)
    if more := for_other_patches(pins.read_text(encoding="utf-8")):
        with tempfile.TemporaryDirectory() as temporary:
            listed = Path(temporary, "more.txt")
            listed.write_text("\n".join(more), encoding="utf-8")
            options = ["--no-deps", "--ignore-requires-python", "-r", str(listed)]
            subprocess.run([*pip, *options, *wheels], check=True)
    return target


def for_other_patches(requirements: str) -> list[str]:
    """Return the pins that another Python of the same 3.x needs and this one does not: 3.11.2 beside 3.11.7.

    Args:
        requirements: the text of requirements.txt.

    Returns:
        Lines for pip, with their hashes and without the condition.
    """
    ours = "{}.{}".format(*sys.version_info)
    found = []
    for line in requirements.replace("\\\n", " ").splitlines():
        pin, *hashes = line.partition("#")[0].split("--hash=")
        if not pin.strip():
            continue
        wanted = Requirement(pin)
        patches = [{"python_full_version": f"{ours}.{patch}"} for patch in range(PATCHES)]
        if wanted.marker and not wanted.marker.evaluate() and any(map(wanted.marker.evaluate, patches)):
            found.append(
                " ".join([f"{wanted.name}{wanted.specifier}", *(f"--hash={one.strip()}" for one in hashes)])
            )
    return found


def main(arguments: list[str]) -> int:
    """Run the command line and return its exit code."""
    if len(arguments) != 1 or not arguments[0]:
        print("Usage: make stick STICK=folder, or python -m tools.stick FOLDER", file=sys.stderr)
        return 2
    try:
        target = fill(Path(arguments[0]))
    except (ValueError, OSError, subprocess.CalledProcessError) as problem:
        print(problem, file=sys.stderr)
        return 1
    print(f"{target} is ready. In the room: copy it to the disk of each machine, and there: make lab")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
