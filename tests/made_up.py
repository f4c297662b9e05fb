"""Made-up data in the form of MovieLens 100K, and tables of one's own: what several test files share."""

import errno
import hashlib
import io
import zipfile
from pathlib import Path

from course_utils import data, fetch, tables

import pytest

RATINGS = b"1\t267\t3\t881250949\n2\t1\t5\t891717742\n2\t543\t1\t878887116\n"


def _flags(*genres: str) -> str:
    return "|".join("1" if name in genres else "0" for name in data.GENRES)


U_ITEM = "".join(
    f"{start}|{_flags(*genres)}\n"
    for start, genres in [
        ("1|Toy Story (1995)|01-Jan-1995||http://x", ["Animation", "Children's", "Comedy"]),
        ("12|Usual Suspects, The (1995)|14-Aug-1995||http://x", ["Crime", "Thriller"]),
        ("267|unknown|||", ["unknown"]),
        ("543|Misérables, Les (1995)|01-Jan-1995||http://x", ["Drama", "Musical"]),
        ("1201|Marlene Dietrich: Shadow and Light (1996) |02-Apr-1996||http://x", ["Documentary"]),
        (
            "1412|Land Before Time III: The Time of the Great Giving (1995) (V)|01-Jan-1995||http://x",
            ["Animation", "Children's"],
        ),
        ("1633|Á köldum klaka (Cold Fever) (1994)|08-Mar-1996||http://x", ["Comedy", "Drama"]),
    ]
).encode("latin-1")
WHEEL_ITEM = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "1\tToy Story\t1995\tAnimation Children's Comedy\n"
    "12\tUsual Suspects, The\t1995\tCrime Thriller\n"
    "267\tunkonwn\tunkonwn\tunknown\n"
    "543\tMisérables, Les\t1995\tDrama Musical\n"
    "1201\tMarlene Dietrich: Shadow and Light\t1996\tDocumentary\n"
    "1412\tLand Before Time III: The Time of the Great Giving (1995)\tV\tAnimation Children's\n"
    "1633\tÁ köldum klaka (Cold Fever)\t1994\tComedy Drama\n"
).encode()
U_USER = b"1|24|M|technician|05711\n2|53|F|other|T8H1N\n"
FILES = {
    "u.data": RATINGS,
    "u.item": U_ITEM,
    "u.user": U_USER,
    "ml-100k.inter": tables.INTER_HEADER.encode() + b"\n" + RATINGS,
    "ml-100k.item": WHEEL_ITEM,
    "ml-100k.user": b"user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    + U_USER.replace(b"|", b"\t"),
}
CHECKSUMS = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}


def make_zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


GOOD_ZIP = make_zip({f"ml-100k/{name}": FILES[name] for name in fetch.OFFICIAL})


def put(folder: Path, names=fetch.OFFICIAL) -> Path:
    """Put made-up tables into a data folder, as a user would by hand."""
    (folder / "ml-100k").mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / "ml-100k" / name).write_bytes(FILES[name])
    return folder / "ml-100k"


def contents(folder: Path) -> set[str]:
    """All that is below a data folder, except for the lock file."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    return found - {".fetch.lock"}


COMPLETE = {"ml-100k", *(f"ml-100k/{name}" for name in fetch.OFFICIAL)}


def use(monkeypatch, folder: Path) -> Path:
    """Replace the registry by the checksums of the made-up files and the data folder by this one."""
    monkeypatch.setattr(fetch, "SHA256", CHECKSUMS)
    monkeypatch.setenv("COURSE_DATA_DIR", str(folder))
    return folder


def no_space(*args, **kwargs):
    """Stand in for a function that writes to a full disk."""
    raise OSError(errno.ENOSPC, "No space left on device")


# --- A table of one's own -------------------------------------------------------------------------

MINE = "user,item,rating,timestamp\nBen,Dune,4.5,20\n007,Emma,3,10\n7,Dune,0.5,30\nBen,Emma,10,40\n"


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "mine.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(folder: Path, content: str | bytes, **names) -> str:
    """Load a file that must be refused; return the message without the path that it begins with."""
    path = write(folder, content)
    with pytest.raises(data.DataError) as caught:
        data.load_ratings(path, **names)
    assert str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(str(path))
