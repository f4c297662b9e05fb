"""Read a file of ratings, for ``data.load_ratings`` and ``large.streaming`` alike.

pyarrow parses the file block by block. (pandas' reader fills a line that is too short with blanks, so a missing
field would go unnoticed.) Lines are looked at one by one only when something is wrong, to name them.
"""

import contextlib
import csv
import re
import warnings
from collections.abc import Iterator, Mapping
from itertools import islice, pairwise
from pathlib import Path
from typing import BinaryIO

from course_utils.checks import DataError
from course_utils.tables import (
    CSV_HEADER,
    LAST_SECOND,
    LINE_END,
    ROLES,
    Format,
    decode,
    find_format,
    good,
    numbers,
)

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from tqdm.auto import tqdm

BLOCK = 16 * 1024**2  # bytes of a file in memory at once
MANY = 1_000_000  # ratings above which a progress bar is shown
SHOWN = 5  # so many problems of a file are shown, the others counted
BOM = b"\xef\xbb\xbf"

# --- The parser -----------------------------------------------------------------------------------

WORDS = pa.dictionary(pa.int32(), pa.string())
NUMBERS = {"user": pa.int32(), "item": pa.int32(), "rating": pa.float32(), "timestamp": pa.int64()}
# Ids of one's own stay text. Ratings and dates repeat, so there are few spellings to turn into numbers.
TEXTS = dict.fromkeys(ROLES, WORDS)
TIMES = (pa.int64(), pa.timestamp("s"), WORDS)  # seconds, dates, whatever else ``numbers`` understands


def read_chunks(path: Path, layout: Format, *, pairs: bool = False) -> Iterator[pa.Table]:
    """Parse and check a file of ratings, one block after the other, so that memory stays bounded.

    Args:
        path: the file.
        layout: what ``find_format`` returns for it.
        pairs: when something is wrong, also name the pairs that are rated twice.

    Yields:
        Tables with the columns of ``layout.roles``: user and item (int32 in the formats of MovieLens, else
        text in a dictionary), rating (float32 or float64), timestamp (int64, seconds since 1970, UTC).

    Raises:
        DataError: with the lines that are wrong, what was expected there, and what to do.
        OSError: when the file cannot be read.
    """
    size, line, bar, strict = path.stat().st_size, 1, None, not layout.official
    with open(path, "rb") as file, contextlib.ExitStack() as stack:
        for piece in _pieces(file, quoted=not layout.official):
            decode(piece, path, line)
            if strict and b'"' in piece and not _marks_match(piece, layout.separator):
                _explain(path, layout, pairs)
                strict = False  # unusual, but Python's csv finds nothing wrong
            text, first, line = piece.removeprefix(BOM), line, line + piece.count(b"\n")
            if first == 1 and layout.header is not None:
                text, first = b"".join(re.split(LINE_END.encode(), text, maxsplit=1)[1:]), 2
            if not text or (text.isspace() and not layout.official):
                continue
            if (table := _parse(text, layout)) is None:
                if layout.official:
                    _bad_line(text, path, layout, first)
                _explain(path, layout, pairs)
                raise DataError(f"{path}, between lines {first} and {line}: something can't be read.")
            if bar is None:
                few = table.num_rows * size <= MANY * len(piece)
                bar = tqdm(total=size, unit="B", unit_scale=True, desc=path.name, disable=few)
                stack.enter_context(bar)
            bar.update(len(piece))
            yield table
    if bar is None:
        where = "2: there are no ratings below the header line" if layout.header else "1: there are no ratings"
        raise DataError(f"{path}, line {where}. Add one rating a line.")


def _pieces(file: BinaryIO, quoted: bool) -> Iterator[bytes]:
    """Cut a file into blocks at line ends, but not at those inside quotation marks."""
    rest = b""
    while new := file.read(BLOCK):
        rest += new
        cut = rest.rfind(b"\n") + 1
        if quoted and rest.count(b'"', 0, cut) % 2:
            cut = rest.rfind(b"\n", 0, rest.rfind(b'"', 0, cut)) + 1
        if cut:
            yield rest[:cut]
            rest = rest[cut:]
    if rest:
        yield rest


def _marks_match(piece: bytes, separator: str) -> bool:
    """Return whether every quotation mark begins a field, ends one, or is doubled inside one."""
    data = np.frombuffer(b"\n" + piece.removeprefix(BOM) + b"\n", "uint8")
    marks = np.flatnonzero(data == ord('"'))
    edge = np.isin(np.arange(256), list(f'{separator}\r\n"'.encode()))
    return len(marks) % 2 == 0 and edge[data[marks[::2] - 1]].all() and edge[data[marks[1::2] + 1]].all()


def _parse(text: bytes, layout: Format) -> pa.Table | None:
    """Turn whole lines into a table; None if anything is wrong with them."""
    separator, quoted = layout.separator, not layout.official and b'"' in text
    if separator == "::":  # pyarrow takes one character
        text, separator, quoted = text.replace(b"::", b"\x1f"), "\x1f", False
    names = [role or str(place) for place, role in enumerate(layout.roles)]
    for kinds in [NUMBERS] if layout.official else [TEXTS | {"timestamp": time} for time in TIMES]:
        kinds = {role: kind for role, kind in kinds.items() if role in names}
        with contextlib.suppress(pa.ArrowInvalid):
            table = pyarrow.csv.read_csv(
                pa.BufferReader(text),
                pyarrow.csv.ReadOptions(column_names=names, block_size=2**22),
                pyarrow.csv.ParseOptions(
                    delimiter=separator,
                    quote_char='"' if quoted else False,
                    newlines_in_values=quoted,
                    ignore_empty_lines=not layout.official,
                ),
                pyarrow.csv.ConvertOptions(column_types=kinds, include_columns=list(kinds), null_values=[]),
            )
            columns = {role: _checked(role, table[role], layout) for role in kinds}
            return None if any(column is None for column in columns.values()) else pa.table(columns)
    return None


def _checked(role: str, column: pa.ChunkedArray, layout: Format) -> pa.ChunkedArray | np.ndarray | None:
    """Return a column, with ratings and times as numbers; None if a value is wrong."""
    if role in ("user", "item"):
        if column.type != WORDS:
            return column if (column.to_numpy() >= 1).all() else None
        column = column.unify_dictionaries()
        blank = pc.equal(pc.utf8_trim_whitespace(column.chunk(0).dictionary), "")
        return None if pc.any(blank).as_py() else column
    if column.type == WORDS:
        column = column.unify_dictionaries()
        values, rows = numbers(role, column.chunk(0).dictionary.to_pylist()), _rows_of(column)
    else:
        values, rows = (column if role == "rating" else column.cast(pa.int64())).to_numpy(), slice(None)
    if not good(role, values, layout.scale).all():
        return None
    return values[rows] if role == "rating" else values[rows].astype("int64")


def _rows_of(column: pa.ChunkedArray) -> np.ndarray:
    """Return for each row of a column with one dictionary the place in it."""
    return np.concatenate([part.indices.to_numpy() for part in column.chunks])


# --- What is wrong, and where ---------------------------------------------------------------------


def _bad_line(text: bytes, path: Path, layout: Format, line: int) -> None:
    """Raise DataError with the first bad line of a block in a format of MovieLens."""
    whole, stars = r"\s*([0-9]{1,18})\s*", r"\s*([0-9]+(?:\.[0-9]*)?)\s*"
    good_line = re.compile(re.escape(layout.separator).join([whole, whole, stars, whole]))
    low, high, step = scale = layout.scale
    off_scale = (
        f"{layout.expected}, the rating from {low:g} to {high:g} in steps of {step:g}. A table of your own may "
        "have another scale: load_ratings(path, scale=(lowest, highest))"
    )
    for number, found in enumerate(text.decode().removesuffix("\n").split("\n"), start=line):
        match, expected = good_line.fullmatch(found), layout.expected
        if match and all(1 <= int(one) < 2**31 for one in match.group(1, 2)):
            in_time = good("timestamp", float(match[4]), None)
            if in_time and good("rating", float(match[3]), scale):
                continue
            expected = off_scale if in_time else layout.expected
        shown = found.rstrip("\r")[:80]
        raise DataError(f"{path}, line {number} is {shown!r}. Expected: {expected}.")


def _explain(path: Path, layout: Format, pairs: bool) -> None:
    """Raise DataError with the first problems of a table and the number of all; return if there is none."""
    places = {role: place for place, role in enumerate(layout.roles) if role}
    codes, first_lines, problems, count = ({}, {}), {}, [], 0
    rows = _rows(path, layout)
    while batch := list(islice(rows, 100_000)):
        found = [(line, _wrong_width(row, layout)) for line, row in batch if len(row) != len(layout.roles)]
        batch = [(line, row) for line, row in batch if len(row) == len(layout.roles)]
        for role, place in places.items():
            texts = [row[place] for _, row in batch]
            fine = [True] * len(batch)
            if batch and role in ("rating", "timestamp"):
                fine = good(role, numbers(role, texts), layout.scale)
            for (line, _), text, is_fine in zip(batch, texts, fine, strict=True):
                if not text.strip():
                    found.append((line, f"has no {role}. Fill it in, or delete the line."))
                elif not is_fine:
                    found.append((line, _wrong_number(role, text, layout)))
        for line, row in batch if pairs else ():
            pair = [row[places[role]] for role in ("user", "item")]
            # Two whole numbers take less memory than two texts.
            code = tuple(known.setdefault(text, len(known)) for known, text in zip(codes, pair, strict=True))
            if all(map(str.strip, pair)) and (before := first_lines.setdefault(code, line)) != line:
                names = f"user {pair[0][:40]!r}, item {pair[1][:40]!r}"
                again = f"rates the same pair as line {before}: {names}. Expected: one rating a pair. Keep one."
                found.append((line, again))
        count += len(found)
        problems = sorted(problems + found)[:SHOWN]
    if count:
        shown = "".join(f"\n  - line {line} {sentence}" for line, sentence in problems)
        rest = f"\n  - and {count - SHOWN:,} more" if count > SHOWN else ""
        raise DataError(f"{path} has {count:,} {'problem' if count == 1 else 'problems'}:{shown}{rest}")


def _rows(path: Path, layout: Format) -> Iterator[tuple[int, list[str]]]:
    """Yield the line where a rating begins, and its fields; empty lines are left out."""
    with open(path, encoding="utf-8-sig", newline="", errors="replace") as file:
        rows = reader = csv.reader(file, delimiter=layout.separator[0], strict=True)
        if layout.separator == "::":
            rows = (line.rstrip("\r\n").split("::") for line in file)
        first, last = 1, 0
        try:
            for row in rows:
                last = last + 1 if layout.separator == "::" else reader.line_num
                if row not in ([], [""]) and (first > 1 or layout.header is None):
                    yield first, row
                first = last + 1  # a field in quotation marks may hold line ends
        except csv.Error as error:
            raise DataError(
                f"{path}, line {first} is not CSV ({error}). Expected: a field that begins with a quotation "
                'mark ends with one, and marks inside are doubled: "The ""Glass"" Key". Correct the marks.'
            ) from error


def _wrong_width(row: list[str], layout: Format) -> str:
    fields = "1 field" if len(row) == 1 else f"{len(row)} fields"
    which = "first" if layout.header is None else "header"
    return (
        f"has {fields}, {str(row)[:80]}. Expected: {len(layout.roles)}, as in the {which} line. Add what is "
        f"missing, or put a field that holds {layout.separator!r} into quotation marks."
    )


def _wrong_number(role: str, text: str, layout: Format) -> str:
    expected = (
        f"seconds since 1970, 0 to {LAST_SECOND:,}, or dates such as 2026-11-24 or 2026-11-24T18:30 (UTC). "
        "Divide milliseconds by 1000"
    )
    if role == "rating":
        expected = "a number such as 4 or 3.5, with a decimal point. Correct it, or delete the line"
        if layout.scale and good(role, numbers(role, [text]), None)[0]:
            low, high, _ = layout.scale
            expected = f"{low:g} to {high:g}, the scale that you stated. Correct it, or delete the line"
    return f"has the {role} {text[:40]!r}. Expected: {expected}."


# --- The table ------------------------------------------------------------------------------------


def read_ratings(
    path: Path, named: Mapping[str, str | None], scale: tuple[float, float] | None
) -> pd.DataFrame:
    """Read the table that ``data.load_ratings`` describes: the work behind it.

    Raises:
        DataError: when the file can't be read, or lines are malformed.
    """
    try:
        layout = find_format(path, named, scale)
        table = pa.concat_tables(read_chunks(path, layout, pairs=True))
        columns, ids = {}, {}
        for role, name in (("user", "user_id"), ("item", "movie_id")):
            if layout.official and layout.header != CSV_HEADER:
                columns[name] = table[role].to_numpy().astype("int64")
            else:
                ids[role] = _categories(table[role])
                columns[name] = ids[role].codes.astype("int64") + 1
        # Both numbers are below 2**31, so their product fits into int64.
        pair = columns["user_id"] * (columns["movie_id"].max() + 1) + columns["movie_id"]
        pair.sort()
        if (pair[1:] == pair[:-1]).any():
            _explain(path, layout, pairs=True)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error
    whole = layout.scale and layout.scale[2] == 1
    columns["rating"] = table["rating"].to_numpy().astype("int64" if whole else "float64")
    if "timestamp" in table.column_names:
        columns["timestamp"] = table["timestamp"].to_numpy().astype("int64")
    if not layout.official:
        _warn(path, layout, columns["rating"])
    return pd.DataFrame(columns | ids, copy=False)


def _categories(column: pa.ChunkedArray) -> pd.Categorical:
    """Number ids in an order that does not depend on the lines: as numbers if all are whole, else as text."""
    column = column.dictionary_encode().unify_dictionaries()
    ids = column.chunk(0).dictionary.cast(pa.string())
    # "007" is no whole number: it is not "7".
    whole = pc.all(pc.match_substring_regex(ids, "^(0|-?[1-9][0-9]{0,17})$")).as_py()
    order = pc.sort_indices(ids.cast(pa.int64()) if whole else ids).to_numpy()  # UTF-8 sorts by code point
    code = np.empty(len(ids), "int32")
    code[order] = np.arange(len(ids))
    return pd.Categorical.from_codes(code[_rows_of(column)], pd.Index(ids.take(order).to_pandas()))


def _warn(path: Path, layout: Format, rating: np.ndarray) -> None:
    """Say what was guessed: columns without a header line, and ratings that look like codes for "not rated".

    Such a rating is the only value at or below 0 while others are above; or it is more than five times the next
    lower value, with at least three values and half of the ratings below the gap.
    """
    if layout.header is None:
        taken = f"were taken as {', '.join(layout.roles[:-1])} and {layout.roles[-1]}"
        warnings.warn(
            f"{path} has no header line. Its columns {taken}. If this is wrong, add one.", stacklevel=4
        )
    if layout.scale:
        return
    values = np.sort(pd.unique(rating))
    above = values[values > 0]
    codes = values[values <= 0] if len(values) == len(above) + 1 and len(above) > 1 else values[:0]
    for place, (low, high) in enumerate(pairwise(above), start=1):
        if place >= 3 and high > 5 * low and (rating <= low).mean() >= 0.5:
            codes = [*codes, *above[place:]]
            break
    if len(codes):
        warnings.warn(
            f"{path}: {np.isin(rating, codes).sum():,} of {len(rating):,} ratings are "
            f"{', '.join(f'{code:g}' for code in codes[:SHOWN])}, far from the others. If this means 'not "
            "rated', delete these lines. If it is a rating, state the scale: "
            f"load_ratings(path, scale=({values[0]:g}, {values[-1]:g})).",
            stacklevel=4,
        )
