"""A closed room for code that nobody has read: what a submission may see, change and use up while it runs.

bubblewrap (the program ``bwrap``, https://github.com/containers/bubblewrap) builds the room from what Linux
offers: a view of the disk that holds only what is listed here, read-only, no network, no other processes, and
nothing is left running when it ends. The only places to write are small file systems in memory that vanish with
the room, so there is nothing to clean up. In the room the code runs under an unprivileged id, also when the
grader is root (``inside``). Limits: ``Limits``.

No cgroup is used, because making one takes rights that a grader seldom has. Limits of the process (rlimits)
hold at once; what all processes of a room use together is measured five times a second.
"""

import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import psutil

# Programs and libraries, read-only. From /etc only what they need to start: the rest is nobody's business.
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
SETTINGS = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "fonts", "localtime")
INSIDE = Path(__file__).with_name("inside.py")  # not imported: it needs Linux, and this must say so
ROOM = "/room"  # the folder in which code runs
IDS = 61_184, 4_000  # the first unprivileged id and how many: systemd lends these to services, people have none
LOOK_SECONDS = 0.2
_numbers = count(os.getpid())


@dataclass(frozen=True)
class Limits:
    """What one room may use. Seconds in all, bytes of memory in all, and so on."""

    seconds: float = 600
    memory: int = 4_000_000_000  # of all its processes together
    address_space: int = 16_000_000_000  # of one process; TensorFlow reserves gigabytes that it never uses
    threads: int = 300 + 20 * (os.cpu_count() or 1)  # processes and their threads
    disk: int = 300_000_000  # of each of the three places to write
    file: int = 200_000_000  # bytes in one file
    answer: int = 10_000_000  # bytes that may come out of the room
    spare: int = 500_000_000  # the room ends when this machine has less memory left


class SandboxError(RuntimeError):
    """There is no closed room on this machine. The message says what to do."""


def command(program: Sequence[str], readable: dict[Path, Path | str], disk: int = Limits.disk) -> list[str]:
    """Return the command line that runs ``program`` in the room.

    Args:
        program: the command line inside.
        readable: what it can read beside the system and the running Python: {path: path in the room}.
        disk: how many bytes fit into each of the places to write.
    """
    words = [shutil.which("bwrap") or "bwrap", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    if os.geteuid() == 0:
        # In a user namespace root stays root outside, for example in /proc/sys. `inside` changes to another id.
        words += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
        words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        words += ["--unshare-all"]
    words += ["--clearenv", "--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys", "--dev", "/dev"]
    for place in ("/tmp", "/dev/shm", ROOM):
        words += ["--perms", "1777", "--size", str(disk), "--tmpfs", place]
    shown = {
        path: path for path in (*SYSTEM, *(f"/etc/{name}" for name in SETTINGS), sys.prefix, sys.base_prefix)
    }
    shown |= {str(path): str(seen) for path, seen in readable.items()}
    # bubblewrap itself would make the folders above for root alone.
    for folder in sorted({str(above) for seen in shown.values() for above in Path(seen).parents} - {"/"}):
        words += ["--dir", folder]
    for path, seen in shown.items():
        words += ["--ro-bind-try" if path == seen else "--ro-bind", path, seen]
    words += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", ROOM]
    environment = {
        "HOME": ROOM,
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "MPLBACKEND": "agg",
        "USER": "student",
    }
    for name, value in environment.items():
        words += ["--setenv", name, value]
    return [*words, *program]


@dataclass
class Result:
    """What came out of a room: lines of text, and why it was stopped, if it was."""

    lines: list[str]
    stopped: str = ""  # a sentence, or empty when the program ended by itself
    errors: str = ""  # the end of what was written to stderr
    again: bool = False  # it was stopped for a reason that may lie in this machine


def run(
    job: dict,
    readable: dict[Path, Path | str],
    limits: Limits | None = None,
    stop: threading.Event | None = None,
) -> Result:
    """Run one job (see ``inside``) in a room of its own, and return what it printed.

    Whatever the code in the room does, this ends soon after ``limits.seconds`` or when ``stop`` is set, and no
    process is left.
    """
    limits = limits or Limits()
    first, many = IDS
    job = job | {"limits": asdict(limits), "id": first + next(_numbers) % many}
    code = {INSIDE: "/inside.py"}
    program = [sys.executable, "-S", "-E", "/inside.py"] if job.get("bare") else [sys.executable, "/inside.py"]
    words = command(program, readable | code, limits.disk)
    with tempfile.TemporaryFile() as text:
        text.write(json.dumps(job).encode())
        text.seek(0)
        pipes = {"stdin": text, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(words, **pipes, env={}, start_new_session=True)
    try:
        return _watch(process, limits, stop or threading.Event())
    finally:
        process.kill()  # all that is in the room ends with it
        process.wait()
        process.stdout.close()
        process.stderr.close()


def _watch(process: subprocess.Popen, limits: Limits, stop: threading.Event) -> Result:
    """Read what the room prints until it ends or goes beyond a limit."""
    chunks, size, errors, result = [], 0, b"", Result([])
    until, look = time.monotonic() + limits.seconds, 0.0
    with selectors.DefaultSelector() as pipes:
        pipes.register(process.stdout, selectors.EVENT_READ)
        pipes.register(process.stderr, selectors.EVENT_READ)
        while pipes.get_map() and not result.stopped:
            for key, _ in pipes.select(LOOK_SECONDS):
                chunk = os.read(key.fd, 65_536)
                if not chunk:
                    pipes.unregister(key.fileobj)
                elif key.fileobj is process.stderr:
                    errors = (errors + chunk)[-2_000:]
                else:
                    chunks.append(chunk)
                    size += len(chunk)
            now = time.monotonic()
            if stop.is_set():
                result.stopped, result.again = "the grader stopped it", True
            elif now > until:
                result.stopped = f"it ran longer than {limits.seconds:g} s in all"
            elif size > limits.answer:
                result.stopped = f"it gave back more than {limits.answer / 1e6:.0f} MB"
            elif now > look:
                look = now + LOOK_SECONDS
                if _memory(process.pid, limits.memory) > limits.memory:
                    result.stopped = f"it used more than {limits.memory / 1e9:g} GB of memory"
                elif psutil.virtual_memory().available < limits.spare:
                    result.stopped = "this computer had no memory left"
                    result.again = True
    result.lines = b"".join(chunks).decode("utf-8", "replace").splitlines()
    result.errors = errors.decode("utf-8", "replace")
    return result


def _memory(pid: int, limit: int) -> int:
    """Return the bytes of memory of a process and all that it started; shared memory counts once."""
    processes = []
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    resident = 0
    for process in processes:
        with suppress(psutil.Error):
            resident += process.memory_info().rss
    if resident <= limit:
        return resident
    # Each process counts what it shares with others as its own. Linux knows its part, which takes longer.
    return sum(map(_part, processes))


def _part(process: psutil.Process) -> int:
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration, ValueError):
        with suppress(psutil.Error):
            return process.memory_info().rss
        return 0


def check(hidden: Path) -> None:
    """Try the room: nothing in it can change the machine, and ``hidden`` is not in it.

    Raises:
        SandboxError: when the room can't be built here, or is not safe, with the reason and what to do.
    """
    if not shutil.which("bwrap"):
        raise SandboxError(
            "Grading runs code that nobody has read, so it needs bubblewrap to lock it in, and the program "
            "bwrap was not found. On Linux or WSL 2: sudo apt install bubblewrap (dnf, pacman: the same name)."
        )
    tried = run({"bare": True, "do": "look", "hidden": str(hidden)}, {}, Limits(seconds=60))
    try:
        found = json.loads(tried.lines[0])
    except (IndexError, ValueError):
        raise SandboxError(
            "bubblewrap can't lock anything in on this machine: "
            f"{(tried.stopped or tried.errors).strip()[-300:]}. In a container: start it with --privileged. "
            "On Ubuntu 24.04: allow user namespaces for bwrap. It must be bubblewrap 0.6 or newer."
        ) from None
    if found["hidden"]:
        raise SandboxError(
            f"{hidden} lies where every program must be able to read: in a folder of the system or of Python. "
            "Move the course to another folder."
        )
    if found["writable"]:
        raise SandboxError(
            f"The room is not safe here: code in it could write to {', '.join(found['writable'][:3])}. Nothing "
            "was graded. Grade in a virtual machine, or as a user without the rights of an administrator."
        )
