"""MovieLens 100K: fetch it once, check it, read it as tables, split it.

The data are not part of this repository: their terms forbid passing them on (``data/README.md``).
``fetch_movielens`` gets them from the first place that works and checks the SHA-256 of every file
before it is written. The ``load_`` functions call it, so a notebook needs only ``load_ratings()``.

Source of the data: F. M. Harper and J. A. Konstan, "The MovieLens Datasets: History and Context",
ACM Transactions on Interactive Intelligent Systems 5(4), article 19, 2015.
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

import filelock
import numpy as np
import pandas as pd
import pooch
import requests
from sklearn.model_selection import train_test_split
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

COLUMNS = ["user_id", "movie_id", "rating", "timestamp"]
INTER_HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
EXPECTED = f"four whole numbers separated by tabs ({', '.join(COLUMNS)}), the rating from 1 to 5"
HEADER_HINT = (
    "; or, for a table of your own, a header line with columns for user, item and rating, such as "
    "'user,item,rating'. Add one, or name the columns: load_ratings(path, user='...', item='...', rating='...')"
)
RATING_LINE = re.compile("\t".join(["([0-9]{1,18})"] * 4))  # 18 digits always fit in int64
TITLE_AND_YEAR = re.compile(r"(.*?)\s*\(([0-9]{4})\)(?: \(V\))?\s*")  # (V) marks a video release
# fmt: off
GENRES = [  # the order of the 19 flags in u.item
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary",
    "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi",
    "Thriller", "War", "Western",
]
# fmt: on


class DataError(RuntimeError):
    """The data are missing, damaged or malformed. The message says what to do."""


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
        if _find_tables(target):
            return target
        target.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / ".fetch.lock", timeout=LOCK_SECONDS):
            # Another process may have fetched the data while we waited for the lock.
            if not _find_tables(target):
                _fetch(target, SOURCES if sources is None else sources)
    except filelock.Timeout as error:
        raise DataError(
            f"Another program has been fetching the data into {folder} for more than "
            f"{LOCK_SECONDS} s. Close other notebooks of this course, then run this again."
        ) from error
    except OSError as error:
        raise _disk_problem(error, folder) from error
    return target


def _find_tables(target: Path) -> list[Path] | None:
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


# --- Reading --------------------------------------------------------------------------------------


def load_ratings(
    path: str | Path | None = None,
    *,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    timestamp: str | None = None,
) -> pd.DataFrame:
    """Read ratings, in file order: MovieLens 100K, or a table of your own.

    ``None`` means MovieLens 100K, which is fetched when needed and checked by its SHA-256 every time.
    A file without header line is in the format of its ``u.data``: one rating a line, four whole numbers
    separated by tabs: user id, movie id, rating 1 to 5, Unix time in seconds. Both give a table of shape
    (n_ratings, 4), all int64: ``user_id``, ``movie_id``, ``rating`` (stars), ``timestamp`` (seconds since
    1970, UTC), with the ids of the file. MovieLens 100K: (100000, 4).

    Any other table is CSV or TSV in UTF-8 with a header line: a column each for user, item and rating, perhaps
    one for the time, and others, which are left out. The names are recognized (``tables.NAMES``) or given.
    Ids may be any text. They are kept as written, so "007" is not "7". The result has the columns

    - ``user_id`` and ``movie_id``: int64 codes from 0 to the number of users (items) - 1, in the order of the
      ids sorted as text (by code point), so that the order of the lines does not matter,
    - ``rating``: float64, on any scale; ``timestamp``: int64, only if the file has it,
    - ``user`` and ``item``: the ids as pandas Categoricals. ``ratings["item"].cat.categories[movie_id]`` is the
      id as in the file. They take a few bytes a row, and the way back survives splits, sorts and merges.

    Args:
        path: the file.
        user, item, rating, timestamp: names of the columns, for a header line with other names.

    Raises:
        DataError: if the data cannot be fetched or read, or lines are malformed; names file and lines.
        ValueError: for names of columns without a file.
    """
    named = {"user": user, "item": item, "rating": rating, "timestamp": timestamp}
    if path is None and any(named.values()):
        raise ValueError("user, item, rating and timestamp name columns of a file: give its path as well.")
    path = _find_tables(fetch_movielens())[0] if path is None else Path(path)
    from course_utils import tables  # here, because it imports this module

    try:
        if any(named.values()) or tables.has_header(path):
            return tables.read_table(path, named)
        return _read_official(path)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error


def _read_official(path: Path) -> pd.DataFrame:
    """Read the format of ``u.data``; DataError names a malformed line, OSError is for the caller."""
    rows = []
    # "replace" lets bytes that are not text reach the check below, which names their line.
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            line = line.rstrip("\n")
            if number == 1 and line == INTER_HEADER:  # the form inside the wheel
                continue
            match = RATING_LINE.fullmatch(line)
            if not match or not 1 <= int(match[3]) <= 5:
                hint = HEADER_HINT if number == 1 else ""
                raise DataError(f"{path}, line {number} is {line[:80]!r}. Expected: {EXPECTED}{hint}.")
            rows.append(match.groups())
    if not rows:
        raise DataError(f"{path}, line 1: there are no ratings. Expected: {EXPECTED}{HEADER_HINT}.")
    return pd.DataFrame(np.array(rows).astype("int64"), columns=COLUMNS)


def load_movies() -> pd.DataFrame:
    """Read the movies of MovieLens 100K, in the order of their ids.

    Returns a table of shape (1682, 4): ``movie_id`` (int64, 1 to 1682), ``title`` (text without the
    year, articles at the end: "Usual Suspects, The"), ``year`` (Int64; missing for movie 267),
    ``genres`` (names joined by "|": ``movies["genres"].str.get_dummies()`` makes columns).

    Raises DataError if the data cannot be fetched.
    """
    path = _find_tables(fetch_movielens())[1]
    rows = []
    if path.name == "u.item":
        # id|title (year)|release date|video date|URL|19 flags
        for line in path.read_bytes().decode("latin-1").splitlines():
            movie_id, title, _, _, _, *flags = line.split("|")
            genres = [name for name, flag in zip(GENRES, flags, strict=True) if flag == "1"]
            rows.append([int(movie_id), *_split_title(title), "|".join(genres)])
    else:
        # After one header line: id, title, year, genres. With the year put back behind the title,
        # this form reads like the official one, also where the split went wrong (movie 1412).
        for line in path.read_bytes().decode("utf-8").splitlines()[1:]:
            movie_id, title, year, genres = line.split("\t")
            title = "unknown" if title == "unkonwn" else f"{title} ({year})"
            rows.append([int(movie_id), *_split_title(title), genres.replace(" ", "|")])
    movies = pd.DataFrame(rows, columns=["movie_id", "title", "year", "genres"])
    return movies.astype({"movie_id": "int64", "year": "Int64"})


def _split_title(text: str) -> tuple[str, int | None]:
    """Split "Toy Story (1995)" into "Toy Story" and 1995; without a year it is ``None``."""
    match = TITLE_AND_YEAR.fullmatch(text)
    return (match[1], int(match[2])) if match else (text, None)


def load_users() -> pd.DataFrame:
    """Read the users of MovieLens 100K, in the order of their ids.

    Returns a table of shape (943, 5): ``user_id`` (int64, 1 to 943), ``age`` (int64, years),
    ``gender`` ("F" or "M"), ``occupation`` and ``zip_code`` (text; some codes have letters).

    Raises DataError if the data cannot be fetched.
    """
    path = _find_tables(fetch_movielens())[2]
    lines = path.read_bytes().decode("utf-8").splitlines()
    if path.name == "u.user":
        rows = [line.split("|") for line in lines]
    else:
        rows = [line.split("\t") for line in lines[1:]]  # the first line is a header
    users = pd.DataFrame(rows, columns=["user_id", "age", "gender", "occupation", "zip_code"])
    return users.astype({"user_id": "int64", "age": "int64"})


# --- Splitting ------------------------------------------------------------------------------------


def split_ratings(
    ratings: pd.DataFrame, test_size: float = 0.2, seed: int = 2021
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split ratings at random into ``(train, test)``. The defaults give the split of this course.

    ``test_size`` is the share of the rows that goes into the test part. The same ``seed`` gives the
    same split. Both parts are shuffled and keep the index of ``ratings``.

    Raises ValueError (from scikit-learn) if a part would be empty.
    """
    return train_test_split(ratings, test_size=test_size, shuffle=True, random_state=seed)


def official_fold(ratings: pd.DataFrame, k: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return ``(train, test)`` of fold ``k``, one of the five (u1 to u5) that GroupLens published.

    ``ratings`` is MovieLens 100K in file order. The test part is rows (k-1) * 20,000 to k * 20,000,
    the training part the other 80,000, both in file order and with their index.

    Raises ValueError if ``k`` is not 1 to 5 or there are not 100,000 rows.
    """
    if k not in range(1, 6):
        raise ValueError(f"k must be 1, 2, 3, 4 or 5, not {k!r}")
    if len(ratings) != 100_000:
        raise ValueError(f"the folds are of 100,000 ratings; this table has {len(ratings):,} rows")
    start, stop = (int(k) - 1) * 20_000, int(k) * 20_000
    train = pd.concat([ratings.iloc[:start], ratings.iloc[stop:]])
    return train, ratings.iloc[start:stop].copy()
