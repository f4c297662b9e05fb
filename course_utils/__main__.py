"""``python -m course_utils data`` fetches the data, ``python -m course_utils lab`` opens the course.

The Makefile and the commands for Windows and conda in README.md all end here, so that there is one way to
start on every system.
"""

import os
import subprocess
import sys
from pathlib import Path

from course_utils.checks import DataError
from course_utils.fetch import fetch_movielens

ROOT = Path(__file__).resolve().parent.parent
FIRST = "notebooks/00_welcome.ipynb"
USAGE = "Usage: python -m course_utils data|lab [options for JupyterLab, for example --no-browser]"


def lab_command(options: list[str]) -> list[str]:
    """Return the command that starts JupyterLab on the first notebook, on this machine's own address only.

    JupyterLab's token stays on. It refuses to run as root unless told so, which is what a container needs.

    Args:
        options: more options for JupyterLab.
    """
    command = [
        *(sys.executable, "-m", "jupyterlab", "--ip=127.0.0.1", f"--ServerApp.root_dir={ROOT}"),
        f"--LabApp.default_url=/lab/tree/{FIRST}",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    return command + options


def lab_environment() -> dict[str, str]:
    """Return the environment for JupyterLab: it finds the course's own settings in ``.jupyter/``.

    They switch off the question about news and the look-up of newer releases: the versions are pinned, and a
    class room may have no network. They hide nbgrader's buttons, which students have no use for.
    """
    paths = [str(ROOT / ".jupyter"), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    return {**os.environ, "JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, paths))}


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    if not arguments or arguments[0] not in ("data", "lab") or (arguments[0] == "data" and arguments[1:]):
        print(USAGE, file=sys.stderr)
        return 2
    try:
        print(f"MovieLens 100K is ready in {fetch_movielens()}")
    except DataError as problem:
        print(f"\n{problem}", file=sys.stderr)
        return 1
    if arguments[0] == "data":
        return 0
    try:
        return subprocess.run(lab_command(arguments[1:]), env=lab_environment(), check=False).returncode
    except KeyboardInterrupt:  # Ctrl-C is how one leaves JupyterLab; it has already said goodbye.
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
