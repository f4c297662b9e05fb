"""A closed room for code that nobody has read: what a submission may see and change while it runs.

bubblewrap (the program ``bwrap``, https://github.com/containers/bubblewrap) builds it from what Linux offers:
a view of the disk that holds only what is listed here, no network, no other processes, and nothing is left
running when it ends.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# Programs and libraries, read-only. From /etc only what they need to start: the rest is nobody's business.
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
SETTINGS = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "fonts", "localtime", "passwd")
TMP_BYTES = 200_000_000


class SandboxError(RuntimeError):
    """There is no closed room on this machine. The message says what to do."""


def command(folder: Path, readable: Sequence[Path], program: Sequence[str]) -> list[str]:
    """Return the command line that runs ``program`` in the room, in the folder ``folder``.

    Args:
        folder: the only folder that the program can change; its home.
        readable: what it can read beside the system and the running Python.
        program: the command line inside.
    """
    words = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--die-with-parent", "--new-session"]
    words += ["--cap-drop", "ALL", "--clearenv", "--proc", "/proc", "--dev", "/dev"]
    words += ["--size", str(TMP_BYTES), "--tmpfs", "/tmp"]
    python = (sys.prefix, sys.base_prefix)
    for path in (*SYSTEM, *(f"/etc/{name}" for name in SETTINGS), *python, *map(str, readable)):
        words += ["--ro-bind-try", path, path]
    words += ["--bind", str(folder), str(folder), "--chdir", str(folder)]
    for name, value in {
        "HOME": folder,
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "MPLBACKEND": "agg",
    }.items():
        words += ["--setenv", name, str(value)]
    return [*words, *program]


def check(folder: Path, hidden: Path) -> None:
    """Try the room with the folder ``folder``, and see that ``hidden`` is not in it.

    Raises:
        SandboxError: when the room can't be built here, or would show ``hidden``, with the reason.
    """
    if not shutil.which("bwrap"):
        raise SandboxError(
            "Grading runs code that nobody has read, so it needs bubblewrap to lock it in, and the program "
            "bwrap was not found. On Linux or WSL 2: sudo apt install bubblewrap (dnf, pacman: the same name)."
        )
    program = [sys.executable, "-c", f"import os; print(os.path.exists({str(hidden)!r}))"]
    tried = subprocess.run(command(folder, [], program), capture_output=True, text=True, env={})
    if tried.stdout.strip() == "True":
        raise SandboxError(
            f"{hidden} lies where every program must be able to read: in a folder of the system or of Python. "
            "Move the course to another folder."
        )
    if tried.stdout.strip() != "False":
        raise SandboxError(
            f"bubblewrap can't lock anything in on this machine: {tried.stderr.strip()[-300:]}. "
            "In a container: start it with --privileged. On Ubuntu 24.04: allow user namespaces for bwrap."
        )
