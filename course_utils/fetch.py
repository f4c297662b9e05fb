"""Fetch MovieLens 100K once, check it, write it whole or not at all. Nobody needs to read this for the course.

The data are not part of this repository: their terms forbid passing them on (``data/README.md``).
``fetch_movielens`` gets them from the first place that works and checks the SHA-256 of every file before it
is written.
"""

import errno
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from course_utils.checks import DataError

import filelock
import pooch
import requests
from tqdm.auto import tqdm

# pooch reports every step on stderr. The progress bar is enough.
pooch.get_logger().setLevel("WARNING")

CONNECT_SECONDS = 10  # time to reach a server
READ_SECONDS = 60  # time without a single byte before we give up
LOCK_SECONDS = 600  # time to wait for another notebook that is fetching
PIP = (sys.executable, "-m", "pip")

# The data come in two forms with the same content: the official one and the one inside the wheel.
# In both, the order is ratings, movies, users.
OFFICIAL = ("u.data", "u.item", "u.user")
WHEEL = ("ml-100k.inter", "ml-100k.item", "ml-100k.user")
SHA256 = {
    "u.data": "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
    "u.item": "553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701",
    "u.user": "f120e114da2e8cf314fd28f99417c94ae9ddf1cb6db8ce0e4b5995d40e90e62c",
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
}


class SourceError(Exception):
    """One source did not work. The message is the reason, in one line."""


@dataclass(frozen=True)
class Source:
    """One place that the data can be fetched from."""

    name: str  # shown beside the progress bar and in messages
    address: str  # the URL of a zip, the path of a zip, or "package==version" for pip
    folder: str = "ml-100k/"  # where the three files are inside the archive
    files: tuple[str, str, str] = OFFICIAL


SOURCES = (
    Source("GroupLens", "https://files.grouplens.org/datasets/movielens/ml-100k.zip"),
    Source(
        "Hugging Face",
        "https://huggingface.co/datasets/Recommenders/MovieLens/resolve/main/ml-100k.zip",
    ),
    # This package carries the data as an example. It is only downloaded, never installed.
    Source("pip (recbole)", "recbole==1.2.1", "recbole/dataset_example/ml-100k/", WHEEL),
)


def data_dir() -> Path:
    """Return the folder for downloaded data. It need not exist yet.

    This is ``$COURSE_DATA_DIR`` if set; else ``data/`` of the repository that this file lies in;
    else, for a package installed without its repository, a cache folder in the user's home.
    """
    if chosen := os.environ.get("COURSE_DATA_DIR"):
        return Path(chosen).expanduser()
    repository = Path(__file__).resolve().parent.parent
    if (repository / "pyproject.toml").is_file():
        return repository / "data"
    return Path(pooch.os_cache("neural-recommenders-course"))


# --- Fetching -------------------------------------------------------------------------------------


def fetch_movielens(folder: Path | None = None, sources: Sequence[Source] | None = None) -> Path:
    """Make sure that the three tables are in ``folder / "ml-100k"``, checked; return that path.

    ``folder`` is ``data_dir()`` unless given, ``sources`` are ``SOURCES`` unless given. They are
    tried in order, after a file ``ml-100k.zip`` that a user may have put into ``folder``. The
    tables come either as ``OFFICIAL`` or as ``WHEEL``, depending on the source.

    Raises DataError if no source worked, a file is damaged, or ``folder`` cannot be used.
    """
    folder = Path(folder or data_dir())
    target = folder / "ml-100k"
    try:
        # Most calls end here: the data are there. No lock, so a read-only folder is fine.
        if find_tables(target):
            return target
        target.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / ".fetch.lock", timeout=LOCK_SECONDS):
            # Another process may have fetched the data while we waited for the lock.
            if not find_tables(target):
                _fetch(target, SOURCES if sources is None else sources)
    except filelock.Timeout as error:
        raise DataError(
            f"Another program has been fetching the data into {folder} for more than "
            f"{LOCK_SECONDS} s. Close other notebooks of this course, then run this again."
        ) from error
    except OSError as error:
        raise _disk_problem(error, folder) from error
    return target


def find_tables(target: Path) -> list[Path] | None:
    """Return the paths of ratings, movies and users if one form is complete, else ``None``.

    Raises DataError if there is a damaged file. It stays where it is: it may be a user's own.
    """
    damaged = []
    for names in (OFFICIAL, WHEEL):
        paths = [target / name for name in names if (target / name).is_file()]
        found = {path: _sha256(path.read_bytes()) for path in paths}
        wrong = [path for path in paths if found[path] != SHA256[path.name]]
        if len(paths) == 3 and not wrong:
            return paths
        damaged += [f"{path} (SHA-256 {found[path]}, not {SHA256[path.name]})" for path in wrong]
    if damaged:
        raise DataError(
            f"Not the original file: {'; '.join(damaged)}. Move it away, then run this again. "
            "Nothing here deletes or overwrites your files."
        )
    return None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _disk_problem(error: OSError, folder: Path) -> DataError:
    """Say in plain words why the data folder cannot be used."""
    where = error.filename or folder
    elsewhere = "set the environment variable COURSE_DATA_DIR to a folder of your own"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return DataError(
            f"No permission to use {where}: the data folder {folder} is read-only for you. "
            f"Change its permissions, or {elsewhere}. Then run this again."
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DataError(
            f"The disk is full: no room in {folder}. MovieLens 100K needs about 3 MB, and 5 MB "
            f"more while it is fetched. Free some space, or {elsewhere}. Then run this again."
        )
    return DataError(f"Cannot use {where}: {error}. Check the folder {folder}, or {elsewhere}.")


def _fetch(target: Path, sources: Sequence[Source]) -> None:
    """Try the sources in order. The caller holds the lock."""
    by_hand = target.parent / "ml-100k.zip"
    if by_hand.is_file():
        sources = [Source(by_hand.name, str(by_hand)), *sources]
    failures = []
    for source in sources:
        try:
            # The archive lands in a temporary folder that is removed when the block is left.
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as temporary:
                if source.address.startswith(("https://", "http://")):
                    archive = _download(source, Path(temporary, "archive.zip"))
                elif source.address.endswith(".zip"):
                    archive = Path(source.address)
                else:
                    archive = _download_with_pip(source, Path(temporary))
                contents = _read_archive(archive, source)
        except SourceError as reason:
            failures.append(f"{source.name}: {reason}")
            print(f"MovieLens 100K from {failures[-1]}", flush=True)
            continue
        for name, content in contents.items():
            write_whole(target / name, content)
        return
    raise DataError(
        "MovieLens 100K could not be fetched:\n  - " + "\n  - ".join(failures) + "\n"
        "By hand: get ml-100k.zip from https://grouplens.org/datasets/movielens/100k/ (on any "
        f"computer), put it unopened at {by_hand} and run this again."
    )


def _download(source: Source, path: Path) -> Path:
    """Download a URL with a progress bar. TLS certificates are always verified."""
    try:
        # The total is a guess until the server tells. It must not be 0: such a bar counts as False,
        # and pooch would not use it.
        with tqdm(desc=source.name, total=5_000_000, unit="B", unit_scale=True) as bar:
            download = pooch.HTTPDownloader(
                progressbar=bar, chunk_size=65536, timeout=(CONNECT_SECONDS, READ_SECONDS)
            )
            download(source.address, str(path), None)
    except requests.RequestException as error:
        raise SourceError(_network_reason(error)) from error
    return path


def _network_reason(error: requests.RequestException) -> str:
    """Turn an exception of requests into one plain sentence."""
    if isinstance(error, requests.exceptions.SSLError):
        lapsed = "has lapsed" if "expired" in str(error) else "could not be verified"
        return f"the server's TLS certificate {lapsed}, so it was not trusted"
    # While the body arrives, requests reports a timeout as a plain ConnectionError.
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return f"timeout (limits: {CONNECT_SECONDS} s to connect, {READ_SECONDS} s of silence)"
    if isinstance(error, requests.HTTPError):
        return f"the server answered with HTTP status {error.response.status_code}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off before the whole file had arrived"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server. Is the network on?"
    return f"the download failed ({type(error).__name__})"


def _download_with_pip(source: Source, temporary: Path) -> Path:
    """Let pip download a wheel; pip knows the proxies and mirrors of this computer."""
    options = "--no-deps --only-binary :all: --progress-bar raw --disable-pip-version-check"
    limits = f"--timeout {CONNECT_SECONDS} --retries 2"
    command = [*PIP, "download", source.address, *options.split(), *limits.split()]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    lines = []
    with (
        tqdm(desc=source.name, unit="B", unit_scale=True) as bar,
        subprocess.Popen(
            [*command, "--dest", str(temporary)], encoding="utf-8", errors="replace", **pipes
        ) as process,
    ):
        try:
            for line in process.stdout:
                # With "--progress-bar raw" pip prints lines like "Progress 262144 of 2130151".
                if progress := re.fullmatch(r"Progress (\d+) of (\d+)", line.strip()):
                    bar.total = int(progress[2])
                    bar.update(int(progress[1]) - bar.n)
                else:
                    lines.append(line.strip())
        except BaseException:  # for example the stop button of the notebook
            process.kill()
            raise
    wheels = list(temporary.glob("*.whl"))
    if any("No space left" in line for line in lines):
        raise OSError(errno.ENOSPC, "No space left on device")  # no other source would do better
    if process.returncode != 0 or not wheels:
        raise SourceError(_pip_reason(lines))
    return wheels[0]


def _pip_reason(lines: list[str]) -> str:
    """Find the reason in what pip printed."""
    output = "\n".join(lines)
    if "No module named pip" in output:
        return "pip is missing (python -m ensurepip brings it)"
    if "CERTIFICATE_VERIFY_FAILED" in output:
        return "pip could not verify the TLS certificate of its package index"
    if "connection broken by" in output or "Max retries exceeded" in output:
        return "pip could not reach its package index. Is the network on?"
    # "ERROR: Exception:" comes before a traceback, which has the reason in its last line.
    errors = [line for line in lines if line.startswith("ERROR:") and line != "ERROR: Exception:"]
    return f"pip refused: {(errors or lines[-1:] or ['no reason given'])[0]}"


def _read_archive(archive: Path, source: Source) -> dict[str, bytes]:
    """Read the three files by name and check them. Nothing is ever extracted by its own path."""
    if not zipfile.is_zipfile(archive):
        with open(archive, "rb") as file:
            start = file.read(1000).lstrip().lower()
        if start.startswith((b"<!doctype html", b"<html")):
            raise SourceError("an HTML page came instead of the zip (a login or error page?)")
        raise SourceError("this is not a zip file, or only a part of one")
    contents = {}
    for name in source.files:
        try:
            with zipfile.ZipFile(archive) as opened:
                contents[name] = opened.read(source.folder + name)
        except KeyError as error:
            raise SourceError(f"the zip has no file {source.folder}{name}") from error
        # The last two: an encrypted file, or a compression that Python does not know.
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise SourceError(f"the zip is damaged at {source.folder}{name} ({error})") from error
        found = _sha256(contents[name])
        if found != SHA256[name]:
            raise SourceError(f"wrong SHA-256 of {name}: expected {SHA256[name]}, got {found}")
    return contents


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it appears whole or not at all, even if the power fails."""
    if path.exists():  # checked before; never overwrite what a user put there
        return
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
