"""Bring your own ratings: read any table of user, item, rating and perhaps time; write an example of one.

``data.load_ratings`` calls this module for files with a header line. The parser is Python's ``csv``.
"""

import csv
import io
import re
from pathlib import Path

from course_utils.checks import DataError

import numpy as np
import pandas as pd

COLUMNS = ["user_id", "movie_id", "rating", "timestamp"]
INTER_HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
EXPECTED = f"four whole numbers separated by tabs ({', '.join(COLUMNS)}), the rating from 1 to 5"
HEADER_HINT = (
    "; or, for a table of your own, a header line with columns for user, item and rating, such as "
    "'user,item,rating'. Add one, or name the columns: load_ratings(path, user='...', item='...', rating='...')"
)
RATING_LINE = re.compile("\t".join(["([0-9]{1,18})"] * 4))  # 18 digits always fit in int64
SEPARATORS = "\t,;"
# How a column may be called. Capital letters, spaces, "_" and "-" do not matter: "Movie ID" is "movieid".
NAMES = {
    "user": ("user", "userid", "reader", "readerid", "customer", "customerid"),
    "item": (
        "item",
        "itemid",
        "movie",
        "movieid",
        "film",
        "filmid",
        "book",
        "bookid",
        "isbn",
        "product",
        "productid",
    ),
    "rating": ("rating", "stars", "score", "bookrating"),
    "timestamp": ("timestamp", "time"),
}
LAST_SECOND = (
    9_000_000_000  # in the year 2255. pandas' nanoseconds end in 2262; milliseconds of today lie above.
)
SHOWN = 5  # so many problems of a file are shown, the others counted


def read_ratings(path: Path, named: dict[str, str | None]) -> pd.DataFrame:
    """Read ratings from any file that ``data.load_ratings`` takes: the work behind it.

    Raises:
        DataError: when the file can't be read, or lines are malformed.
    """
    try:
        if any(named.values()) or has_header(path):
            return read_table(path, named)
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


def has_header(path: Path) -> bool:
    """Return whether the first line of a file names at least one column as ``NAMES`` does.

    Raises OSError if the file cannot be read, DataError if its first line is not UTF-8 text.
    """
    with open(path, "rb") as file:
        first = _decode(file.readline(), path)
    return bool(_columns(first, {})[1])


def read_table(path: Path, named: dict[str, str | None]) -> pd.DataFrame:
    """Read ratings from a CSV or TSV file with a header line: the work behind ``data.load_ratings``.

    Args:
        path: the file, UTF-8. A field that holds the separator stands in quotation marks.
        named: for some of "user", "item", "rating", "timestamp" the name of the column in the file, or None.

    Returns:
        The table that ``data.load_ratings`` describes.

    Raises:
        DataError: with the lines that are wrong, what was expected there, and what to do.
        OSError: when the file cannot be read.
    """
    text = _decode(path.read_bytes(), path)
    if not text.strip():
        raise DataError(f"{path}, line 1: the file is empty. Expected: a header line, then one rating a line.")
    separator, places, problem, width = _columns(text, named)
    if problem:
        raise DataError(f"{path}, line 1: {problem}")
    places = {role: matches[0] for role, matches in places.items()}
    rows, lines, problems, line = [], [], [], 1
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        next(reader)
        line = reader.line_num + 1
        for row in reader:
            if len(row) == width:
                rows.append([row[place] for place in places.values()])
                lines.append(line)
            elif row:  # an empty line says nothing
                problems.append((line, _wrong_width(row, width, separator)))
            line = reader.line_num + 1  # a field in quotation marks may hold line ends
    except csv.Error as error:
        raise DataError(
            f"{path}, line {line} is not CSV ({error}). Expected: a field that begins with a quotation mark "
            'ends with one, and marks inside are doubled: "The ""Glass"" Key". Correct the marks from here on.'
        ) from error
    if not rows and not problems:
        raise DataError(f"{path}, line 2: there are no ratings below the header line. Add one rating a line.")
    columns = dict(zip(places, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(places, ())
    return _table(path, columns, lines, problems)


def _decode(content: bytes, path: Path) -> str:
    """Return UTF-8 bytes as text, without a byte order mark; DataError names the line of a wrong byte."""
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}, line {line} is not UTF-8 text: the byte 0x{content[error.start]:02x} can't stand there. "
            "Expected: a file in UTF-8. Save it again, in a spreadsheet as 'CSV UTF-8', or convert it: "
            "Path(new).write_text(Path(old).read_text('cp949'), 'utf-8'), with the encoding that it has."
        ) from error


def _columns(text: str, named: dict[str, str | None]) -> tuple[str, dict[str, list[int]], str, int]:
    """Read the header line: the separator, where each role may be, what is unclear, the number of columns."""
    first = re.split(r"[\r\n]", text, maxsplit=1)[0][: csv.field_size_limit()]
    found = []
    for separator in SEPARATORS:
        header = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
        places, problem = _places(header, named)
        found.append((separator, places, problem, len(header)))
    return max(found, key=lambda one: (len(one[1]), one[3]))  # which separator finds most?


def _places(header: list[str], named: dict[str, str | None]) -> tuple[dict[str, list[int]], str]:
    """Return where user, item, rating and timestamp may be, and a sentence about the first that is unclear."""
    places, problem = {}, ""
    short = [re.sub(r"[\W_]", "", name).lower() for name in header]
    for role, usual in NAMES.items():
        wanted = f"one column for the {role}, called {', '.join(usual[:-1])} or {usual[-1]}"
        matches = [place for place, name in enumerate(short) if name in usual]
        if name := named.get(role):
            wanted = f"one column {name!r}"
            matches = [place for place, other in enumerate(header) if other == name]
        if matches:
            places[role] = matches
        # The time is the only column that may be missing.
        if not problem and len(matches) != 1 and (matches or name or role != "timestamp"):
            problem = (
                f"the header line has the columns {header}. Expected: {wanted}, but there are {len(matches)}. "
                f"Correct the header line, or name the column: load_ratings(path, {role}='its name')."
            )
    return places, problem


def _wrong_width(row: list[str], width: int, separator: str) -> str:
    fields = "1 field" if len(row) == 1 else f"{len(row)} fields"
    return (
        f"has {fields}, {str(row)[:80]}. Expected: {width}, as in the header line. Add what is missing, or put "
        f"a field that holds {separator!r} into quotation marks."
    )


def _table(
    path: Path, columns: dict[str, tuple[str, ...]], lines: list[int], problems: list[tuple[int, str]]
) -> pd.DataFrame:
    """Check the columns and turn them into codes and numbers. ``lines``: where in the file each row begins."""
    blank = {role: np.array([not value.strip() for value in column], bool) for role, column in columns.items()}
    ids = {role: pd.Categorical(columns[role]) for role in ("user", "item")}  # sorts the ids as text
    codes = {role: values.codes.astype("int64") for role, values in ids.items()}
    pair = codes["user"] * len(ids["item"].categories) + codes["item"]
    again = pd.Series(pair).duplicated().to_numpy() & ~blank["user"] & ~blank["item"]
    numbers = {
        role: pd.to_numeric(pd.Series(columns[role], dtype=object), errors="coerce").to_numpy("float64")
        for role in ("rating", "timestamp")
        if role in columns
    }
    valid = {role: np.isfinite(values) for role, values in numbers.items()}
    if "timestamp" in numbers:
        seconds = numbers["timestamp"]
        valid["timestamp"] &= (seconds >= 0) & (seconds <= LAST_SECOND) & (seconds % 1 == 0)

    def twice(row: int) -> str:
        first = lines[int(np.argmax(pair == pair[row]))]
        who, what = (str(columns[role][row])[:40] for role in ("user", "item"))
        pair_name = f"user {who!r}, item {what!r}"
        return f"rates the same pair as line {first}: {pair_name}. Expected: one rating a pair. Keep one."

    checks = [(again, twice)]
    for role in columns:
        checks.append((blank[role], lambda row, role=role: f"has no {role}. Fill it in, or delete the line."))
    for role, good in valid.items():
        checks.append((~good & ~blank[role], lambda row, role=role: _wrong_number(role, columns[role][row])))
    count = len(problems) + sum(int(wrong.sum()) for wrong, _ in checks)
    for wrong, sentence in checks:
        problems += [(lines[row], sentence(row)) for row in np.flatnonzero(wrong)[:SHOWN]]
    if problems:
        shown = "".join(f"\n  - line {line} {sentence}" for line, sentence in sorted(problems)[:SHOWN])
        rest = f"\n  - and {count - SHOWN:,} more" if count > SHOWN else ""
        raise DataError(f"{path} has {count:,} {'problem' if count == 1 else 'problems'}:{shown}{rest}")
    return pd.DataFrame({"user_id": codes["user"], "movie_id": codes["item"], **numbers, **ids}).astype(
        {"timestamp": "int64"} if "timestamp" in numbers else {}
    )


def _wrong_number(role: str, value: str) -> str:
    expected = {
        "rating": "a number such as 4 or 3.5, with a decimal point. Correct it, or delete the line",
        "timestamp": f"seconds since 1970, 0 to {LAST_SECOND:,}. Convert dates; divide milliseconds by 1000",
    }
    return f"has the {role} {value[:40]!r}. Expected: {expected[role]}."
