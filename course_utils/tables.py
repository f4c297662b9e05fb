"""One table of rating formats: which one is a file in, and what is a good rating or time in it?

``reader`` parses what is recognized here, for ``data.load_ratings`` and ``large.streaming`` alike.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from course_utils.checks import DataError

import numpy as np
import pandas as pd

SAMPLE = 64 * 1024  # bytes from which the format is recognized
LAST_SECOND = 9_000_000_000  # in 2255. pandas' nanoseconds end in 2262; milliseconds of today lie above
FIRST_SECOND = 100_000_000  # in 1973: without a header line, a number below is a rating, not a time
NO_HYPHENS = (19_000_101, 21_001_231)  # 20240501 is a date, and not some second of August 1970
LARGEST = np.finfo("float64").max
LINE_END = "\r\n|\r|\n"

# --- The formats ----------------------------------------------------------------------------------

INTER_HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
CSV_HEADER = "userId,movieId,rating,timestamp"
TABS = "four whole numbers separated by tabs (user_id, movie_id, rating, timestamp), as in u.data (100K)"
ROLES = ("user", "item", "rating", "timestamp")


@dataclass(frozen=True)
class Format:
    """How a file of ratings is written."""

    separator: str
    header: str | None = None  # the first line; None: there is none
    scale: tuple[float, float, float] | None = None  # lowest and highest rating, and the step (0: any)
    expected: str = ""  # a good line of a format of MovieLens; "" for a table of one's own
    roles: tuple[str, ...] = ROLES  # what each column is; "": left out

    @property
    def official(self) -> bool:
        return bool(self.expected)


FORMATS = (  # those of MovieLens: ids are whole numbers from 1. Any other file is a table of one's own.
    Format("\t", None, (1, 5, 1), TABS),
    Format("\t", INTER_HEADER, (1, 5, 1), TABS),  # inside the wheel
    Format("::", None, (0.5, 5, 0.5), "userId::movieId::rating::timestamp, as in ratings.dat (1M, 10M)"),
    Format(",", CSV_HEADER, (0.5, 5, 0.5), f"{CSV_HEADER}, as in ratings.csv (20M, 25M, 32M)"),
)
SEPARATORS = ("\t", ",", ";", "::")
# How columns may be called. Capital letters, spaces, "_" and "-" do not matter: "Movie ID" is "movieid".
NAMES = {
    "user": "user, userid, reader, readerid, customer, customerid",
    "item": "item, itemid, movie, movieid, film, filmid, book, bookid, isbn, product, productid",
    "rating": "rating, stars, score, bookrating",
    "timestamp": "timestamp, time, date, datetime",
}
SHEET = "is a spreadsheet. Open it, save the sheet as 'CSV UTF-8', and load that file"
PACKED = "is compressed. Unpack it, and load the file with the ratings that is inside"
REFUSED = {".xlsx": SHEET, ".xls": SHEET, ".ods": SHEET, ".zip": PACKED, ".gz": PACKED}
BEGINNINGS = {b"PK\x03\x04": PACKED, b"\x1f\x8b": PACKED, b"\xd0\xcf\x11\xe0": SHEET}
NO_FORMAT = (
    f"Expected: {TABS}, or another format of MovieLens. For a table of your own: a header line with columns "
    "for user, item and rating, such as 'user,item,rating'. Add one, or name the columns: "
    "load_ratings(path, user='...', item='...', rating='...')."
)


def find_format(
    path: Path, named: Mapping[str, str | None] | None = None, scale: tuple[float, float] | None = None
) -> Format:
    """Recognize from its first lines how a file of ratings is written.

    Args:
        path: the file.
        named: for some of ``ROLES`` the name of the column in the file, or None.
        scale: lowest and highest rating. With it, or with a name, the file counts as a table of one's own.

    Raises:
        DataError: when it is not text in UTF-8, or the format is unclear.
        OSError: when the file cannot be read.
    """
    with open(path, "rb") as file:
        start = file.read(SAMPLE) + file.readline()
    looks = next((what for begin, what in BEGINNINGS.items() if start.startswith(begin)), None)
    if what := REFUSED.get(path.suffix.lower(), looks):
        raise DataError(f"{path} {what}.")
    lines = re.split(LINE_END, decode(start, path, 1))
    named = named or {}
    own = bool(scale) or any(named.values())
    for layout in () if own else FORMATS:
        rest = lines if layout.header is None else [*lines[1:], ""]
        line = layout.separator.join(["[0-9]+", "[0-9]+", ".+", ".+"])
        begins = rest[0].count(layout.separator) == 3 and re.fullmatch(line, rest[0])
        if layout.header in (None, lines[0]) and (begins or (layout.header and not any(rest))):
            return layout
    if own and not "".join(lines).strip():
        raise DataError(f"{path}, line 1: the file is empty. Expected: a header line, then one rating a line.")
    layout = _by_names(path, lines[0], named) or _by_content(lines)
    if not layout:
        found = f" is {lines[0][:80]!r}" if any(lines) else ": there are no ratings"
        raise DataError(f"{path}, line 1{found}. {NO_FORMAT}")
    return replace(layout, scale=(*scale, 0)) if scale else layout


def _fields(line: str, separator: str) -> list[str]:
    if separator == "::":
        return line.split(separator)
    return next(csv.reader([line[: csv.field_size_limit()]], delimiter=separator), [])


def _by_names(path: Path, first: str, named: Mapping[str, str | None]) -> Format | None:
    """Read the header line. None: it names no role. DataError: it leaves one unclear."""
    found = []
    for separator in SEPARATORS:
        header = [name.strip() for name in _fields(first, separator)]
        short = [re.sub(r"[\W_]", "", name).lower() for name in header]
        places = {}
        for role, usual in NAMES.items():
            names, wanted = (header, [named[role]]) if named.get(role) else (short, usual.split(", "))
            places[role] = [place for place, name in enumerate(names) if name in wanted]
        found.append((sum(map(bool, places.values())), len(header), header, separator, places))
    n_roles, _, header, separator, places = max(found, key=lambda one: one[:2])  # which separator finds most?
    if not n_roles and not any(named.values()):
        return None
    roles = [""] * len(header)
    for role, matches in places.items():
        name = named.get(role)
        if len(matches) == 1 and not roles[matches[0]]:
            roles[matches[0]] = role
        elif len(matches) or name or role != "timestamp":  # the time is the only column that may be missing
            wanted = (
                repr(name) if name else f"for the {role}, called {' or '.join(NAMES[role].rsplit(', ', 1))}"
            )
            there = (
                f"it is the {roles[matches[0]]} already" if len(matches) == 1 else f"there are {len(matches)}"
            )
            raise DataError(
                f"{path}, line 1: the header line has the columns {header}. Expected: one column {wanted}, but "
                f"{there}. Correct the header line, or name the column: load_ratings(path, {role}='its name')."
            )
    return Format(separator, first, roles=tuple(roles))


def _by_content(lines: list[str]) -> Format | None:
    """Recognize user, item, rating and perhaps time, in this order, without a header line. None: unclear.

    The third field must be a number below FIRST_SECOND, with at most 101 different ones in the sample (0 to 100
    stars), and a fourth, if there is one, a time from FIRST_SECOND on.
    """
    for separator in SEPARATORS:
        rows = [_fields(line, separator) for line in lines]
        if (width := len(rows[0])) in (3, 4):
            stars = numbers("rating", [row[2] for row in rows if len(row) == width])
            few = abs(stars[0]) < FIRST_SECOND and len(np.unique(stars[np.isfinite(stars)])) <= 101
            if few and (width == 3 or numbers("timestamp", rows[0][3:])[0] >= FIRST_SECOND):
                return Format(separator, roles=ROLES[:width])
    return None


# --- The values -----------------------------------------------------------------------------------


def decode(content: bytes, path: Path, line: int) -> str:
    """Return UTF-8 bytes as text, without a byte order mark; DataError names the line of a wrong byte."""
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line += content[: error.start].count(b"\n")
        raise DataError(
            f"{path}, line {line} is not UTF-8 text: the byte 0x{content[error.start]:02x} can't stand there. "
            "Expected: a file in UTF-8. Save it again, in a spreadsheet as 'CSV UTF-8', or convert it: "
            "Path(new).write_text(Path(old).read_text('cp949'), 'utf-8'), with the encoding that it has."
        ) from error


def numbers(role: str, texts: Sequence[str]) -> np.ndarray:
    """Turn ratings, or times (seconds, or ISO dates: UTC if they name no zone) into numbers, the rest into NaN.

    "4.5" is 4.5, and the time "2024-05-01" is 1714521600.
    """
    column = pd.Series(texts, dtype=object).str.strip()
    values = pd.to_numeric(column, errors="coerce").to_numpy("float64", copy=True)
    if role == "timestamp" and np.isnan(values).any():
        dates = pd.to_datetime(column[np.isnan(values)], format="ISO8601", utc=True, errors="coerce")
        values[np.isnan(values)] = (dates - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(seconds=1)
    return values


def good(role: str, values: np.ndarray, scale: tuple[float, float, float] | None) -> np.ndarray:
    """Return which ratings are on the scale, or which times are whole seconds within reach."""
    if role == "timestamp":
        date = (values >= NO_HYPHENS[0]) & (values <= NO_HYPHENS[1])
        return (values >= 0) & (values <= LAST_SECOND) & (np.floor(values) == values) & (date == 0)
    low, high, step = scale or (-LARGEST, LARGEST, 0)  # which leaves out NaN and infinity
    return (values >= low) & (values <= high) & (step == 0 or np.floor(values / step) * step == values)
