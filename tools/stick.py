"""Fill a USB stick for a room without a network: ``make stick STICK=FOLDER``.

``FOLDER/course`` holds the course as it was committed last, the data, and in ``wheels`` the packages of
requirements.txt, for the system and the Python that run this. Where it is copied to, ``make lab`` sets it up.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from course_utils.fetch import fetch_movielens
from tools import ROOT
from tools.setup import PINS


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
    if address := subprocess.run(origin, capture_output=True, text=True).stdout.strip():
        subprocess.run(["git", "-C", str(target), "remote", "set-url", "origin", address], check=True)
    else:
        subprocess.run(["git", "-C", str(target), "remote", "remove", "origin"], check=True)
    shutil.copytree(fetch_movielens(), target / "data" / "ml-100k")
    words = ["download", "--quiet", "--require-hashes", "--only-binary", ":all:"]
    pins = ["-r", str(target / PINS["course"]), "-d", str(target / "wheels")]
    subprocess.run([sys.executable, "-m", "pip", *words, *pins], check=True)
    return target


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
