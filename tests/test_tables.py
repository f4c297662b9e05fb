"""Tests of course_utils.tables: which format a file is in, and what is a good rating or time in it."""

import re

from course_utils import data, tables
from course_utils.checks import DataError

import numpy as np
import pandas as pd
import pytest
from made_up import MINE, refused, write

# --- The format of u.data -------------------------------------------------------------------------


@pytest.mark.parametrize("stars", ["0", "6", "3.5", "10"])
@pytest.mark.parametrize("good_lines", [0, 2])
def test_a_rating_outside_the_scale_of_u_data_is_named(tmp_path, stars, good_lines):
    message = refused(tmp_path, "1\t2\t3\t4\n" * good_lines + f"5\t6\t{stars}\t881250949\n")
    assert message.startswith(f", line {good_lines + 1} is '5\\t6\\t{stars}\\t881250949'. Expected: four whole")
    assert "(100K), the rating from 1 to 5 in steps of 1. A table of your own may have another" in message


def test_the_header_of_the_wheel_form_counts_as_a_line(tmp_path):
    path = tmp_path / "ml-100k.inter"
    path.write_text(f"{tables.INTER_HEADER}\n1\t2\t3\t4\n1\t2\t9\t4\n")
    with pytest.raises(data.DataError, match="line 3 is "):
        data.load_ratings(path)
    # Only the first line may be a header.
    for header in (tables.INTER_HEADER, "user_id\tmovie_id\trating\ttimestamp"):
        path.write_text(f"1\t2\t3\t4\n{header}\n")
        with pytest.raises(data.DataError, match="line 2 is "):
            data.load_ratings(path)


# --- A table of your own --------------------------------------------------------------------------


FORMS = {
    "tabs": MINE.replace(",", "\t"),
    "semicolons": MINE.replace(",", ";"),
    "Windows": MINE.replace("\n", "\r\n"),
    "old Mac": MINE.replace("\n", "\r"),
    "byte order mark": b"\xef\xbb\xbf" + MINE.encode(),
    "no last line end": MINE.rstrip(),
    "empty lines": MINE.replace("\n", "\n\n") + "\n\n",
    "quotation marks": MINE.replace("Dune", '"Dune"'),
    "MovieLens' names": MINE.replace("user,item,rating", "userId,movieId,rating"),
    "blanks in names": MINE.replace("user,item,rating,timestamp", " USER_ID , Movie ID,Stars,Time"),
    "names in quotation marks": MINE.replace("user,item,rating", '"User-ID","ISBN","Book-Rating"'),
    "other columns": "x,user,item,rating,timestamp\n" + "".join(f"y,{row}\n" for row in MINE.split()[1:]),
}


@pytest.mark.parametrize("content", FORMS.values(), ids=FORMS.keys())
def test_forms_of_the_same_table(tmp_path, content):
    expected = data.load_ratings(write(tmp_path, MINE))
    pd.testing.assert_frame_equal(data.load_ratings(write(tmp_path, content)), expected)
    pd.testing.assert_frame_equal(data.load_ratings(str(tmp_path / "mine.csv")), expected)


def test_columns_with_names_of_their_own(tmp_path):
    content = "who,title,stars,when\nAnn,Dune,4,7\n"
    table = data.load_ratings(write(tmp_path, content), user="who", item="title", timestamp="when")
    assert table.iloc[0].tolist() == [1, 1, 4.0, 7, "Ann", "Dune"]
    assert "timestamp" not in data.load_ratings(write(tmp_path, content), user="who", item="title")
    # A byte order mark is no part of the first name.
    table = data.load_ratings(write(tmp_path, "\ufeff" + content), user="who", item="title")
    assert table["user"].tolist() == ["Ann"]
    # A name that is given beats one that would be recognized.
    table = data.load_ratings(write(tmp_path, "user,item,rating,score\na,b,1,9\n"), rating="score")
    assert table["rating"].tolist() == [9]


def test_a_name_that_is_not_in_the_header_line(tmp_path):
    message = refused(tmp_path, "who,title,stars\nAnn,Dune,4\n", user="reader", item="title")
    assert message.startswith(", line 1: the header line has the columns ['who', 'title', 'stars'].")
    assert "Expected: one column 'reader', but there are 0. Correct the header line, or name" in message
    assert "the columns ['a', 'b', 'c']. Expected: one column 'x', but" in refused(
        tmp_path, "a,b,c\n1,2,3\n", user="x"
    )
    message = refused(tmp_path, "a,b,c\n1,2,3\n", user="x")
    assert "the columns ['a', 'b', 'c']. Expected: one column 'x', but there are 0." in message
    assert "Expected: one column 'Timestamp'," in refused(tmp_path, MINE, timestamp="Timestamp")
    with pytest.raises(ValueError, match="give its path as well"):
        data.load_ratings(user="who")


@pytest.mark.parametrize(
    "first",
    ["Ann,Dune,four", "who;what;how much", "user item rating", '"user,item,rating', "[" + '"a",' * 99_999],
    ids=["data", "other names", "spaces", "open quotation mark", "JSON"],
)
def test_no_header_line(tmp_path, first):
    message = refused(tmp_path, f"{first}\nAnn,Dune,5\n")
    assert f", line 1 is {first[:80]!r}. Expected: four whole numbers" in message
    assert "a header line with columns for user, item and rating" in message
    assert "Add one, or name the columns: load_ratings(path, user='...'" in message


@pytest.mark.parametrize(
    ("first", "role"),
    [
        ("who,item,rating", "user"),
        ("user\ttitle\trating", "item"),
        ("user;item;note", "rating"),
        ("item", "user"),
    ],
)
def test_a_header_line_that_lacks_a_column(tmp_path, first, role):
    message = refused(tmp_path, f"{first}\nAnn,Dune,5\n")
    names = ", ".join(repr(name) for name in re.split("[,;\t]", first))
    assert message.startswith(f", line 1: the header line has the columns [{names}]. ")
    assert f"Expected: one column for the {role}, called {role}, " in message and "there are 0." in message
    assert f"load_ratings(path, {role}='its name')" in message


def test_a_header_line_that_is_not_csv(tmp_path):
    assert ", line 1 is not CSV (" in refused(tmp_path, '"user"x,item,rating,user\nAnn,Dune,5,a\n')


def test_two_columns_that_could_be_the_item(tmp_path):
    content = "user,movie,book,rating\na,b,c,1\n"
    message = refused(tmp_path, content)
    assert ", line 1: the header line has the columns ['user', 'movie', 'book', 'rating']." in message
    assert "one column for the item, called item, itemid," in message and "but there are 2" in message
    assert "load_ratings(path, item='its name')" in message
    assert data.load_ratings(write(tmp_path, content), item="book")["item"].tolist() == ["c"]


def test_an_empty_file_with_names_is_refused(tmp_path):
    message = refused(tmp_path, " \n", user="who")
    assert message == ", line 1: the file is empty. Expected: a header line, then one rating a line."


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (MINE.encode("utf-16"), 1),
        ("user,item,rating\nAnn,Dune,4\n민수,어린 왕자,5\n".encode("cp949"), 3),
        ("user,item,rating,größe\nAnn,Dune,4,\n".encode("latin-1"), 1),
        (b"\xef\xbb\xbfuser,item,rating\nAnn,Dune\xff,4\n", 2),
    ],
    ids=["UTF-16", "Korean", "Latin", "after a byte order mark"],
)
def test_another_encoding_is_refused(tmp_path, content, line):
    message = refused(tmp_path, content)
    assert f", line {line} is not UTF-8 text: the byte 0x" in message and "Save it again" in message


# --- The formats of MovieLens ---------------------------------------------------------------------


def test_ratings_dat_keeps_its_ids(tmp_path):
    table = data.load_ratings(write(tmp_path, "1::1193::5::978300760\n71567::65133::0.5::1231165126\n"))
    assert table.columns.tolist() == ["user_id", "movie_id", "rating", "timestamp"]
    assert table.dtypes.astype(str).tolist() == ["int64", "int64", "float64", "int64"]
    assert table.to_numpy().tolist() == [[1, 1193, 5, 978300760], [71567, 65133, 0.5, 1231165126]]


def test_ratings_csv_gets_codes_because_its_ids_have_wide_gaps(tmp_path):
    content = f"{tables.CSV_HEADER}\n9,209171,5.0,1147880044\n10,296,0.5,1147868817\n"
    table = data.load_ratings(write(tmp_path, content))
    assert table["movie_id"].tolist() == [2, 1] and table["item"].tolist() == ["209171", "296"]
    assert table["user"].cat.categories.tolist() == ["9", "10"] and data.sizes(table) == (3, 3)


@pytest.mark.parametrize(
    ("content", "line", "scale"),
    [
        ("1::2::5.5::978300760\n", 1, "from 0.5 to 5 in steps of 0.5"),
        ("1::2::4::978300760\n1::3::3.7::978300760\n", 2, "from 0.5 to 5 in steps of 0.5"),
        (f"{tables.CSV_HEADER}\n1,2,4.0,978300760\n1,3,0.0,978300760\n", 3, "from 0.5 to 5 in steps of 0.5"),
        (f"{tables.INTER_HEADER}\n1\t2\t4\t978300760\n1\t3\t99\t978300760\n", 3, "from 1 to 5 in steps of 1"),
    ],
)
def test_a_rating_outside_the_scale_of_movielens_is_refused(tmp_path, content, line, scale):
    message = refused(tmp_path, content)
    assert message.startswith(f", line {line} is ") and f", the rating {scale}." in message
    # The way out that the message offers: then it is a table of one's own.
    assert "load_ratings(path, scale=(lowest, highest))" in message
    if "::" in content:
        with pytest.warns(
            UserWarning, match="no header line. Its columns were taken as user, item, rating and"
        ):
            table = data.load_ratings(write(tmp_path, content), scale=(0, 10))
        assert table["user"].tolist()[0] == "1" and table["user_id"].min() == 1


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_format_of_movielens_is_recognized(tmp_path, end):
    lines = {"\t": "1\t2\t3\t4", "::": "1::2::3::4", ",": "1,2,3.0,4"}
    for layout in tables.FORMATS:
        line = lines[layout.separator] + end
        header = "" if layout.header is None else layout.header + end
        for content in (header + line, header + line * 3, "\ufeff" + header + line):
            assert tables.find_format(write(tmp_path, content)) is layout
    for content in (tables.CSV_HEADER, tables.CSV_HEADER + end, tables.INTER_HEADER + end * 2):
        assert tables.find_format(write(tmp_path, content)).official  # ratings may be missing
    for content in (
        f"{tables.CSV_HEADER}{end}Ann,Dune,4,5{end}1,2,3,4{end}",
        f"{tables.CSV_HEADER},{end}1,2,3,4,{end}",
    ):
        assert not tables.find_format(write(tmp_path, content)).official


def test_blanks_around_names_do_not_matter(tmp_path):
    path = write(tmp_path, "who , title,my stars\na,b,1\n")
    found = tables.find_format(path, {"user": "who", "item": "title", "rating": "my stars"})
    assert found.roles == ("user", "item", "rating") and found.separator == ","
    assert found.scale is None and tables.find_format(write(tmp_path, MINE), scale=(1, 7)).scale == (1, 7, 0)


def test_ids_that_are_text_make_a_table_of_your_own_under_any_header(tmp_path):
    content = f"{tables.CSV_HEADER}\nAnn,Dune,9,1147880044\nBen,Dune,7,1147880044\n"
    assert data.load_ratings(write(tmp_path, content))["rating"].tolist() == [9, 7]


# --- Without a header line ------------------------------------------------------------------------

HEADERLESS = {
    "three fields": ("Ann,Dune,4\nBen,Dune,3.5\n", ["user", "item", "rating"]),
    "whole numbers": ("1;20;4\n2;20;3\n", ["user", "item", "rating"]),
    "seconds": ("Ann;Dune;4;1700000000\nBen;Dune;3;1700000001\n", ["user", "item", "rating", "timestamp"]),
    "dates": ("Ann\tDune\t4\t2024-05-01\nBen\tDune\t3\t2024-05-02\n", ["user", "item", "rating", "timestamp"]),
    "colons": ("tt1::Dune, 2::4\ntt2::Dune, 2::3\n", ["user", "item", "rating"]),
}


@pytest.mark.parametrize(("content", "roles"), HEADERLESS.values(), ids=HEADERLESS.keys())
def test_columns_without_a_header_line_are_recognized_and_named_in_a_warning(tmp_path, content, roles):
    words = f"has no header line. Its columns were taken as {', '.join(roles[:-1])} and {roles[-1]}. If"
    with pytest.warns(UserWarning, match=words) as said:
        table = data.load_ratings(write(tmp_path, content))
    assert said[0].filename == __file__  # it points to the call, not into the library
    header = re.split(r"[\t;,]|::", content)[0]
    assert (
        table["user"].tolist()[0] == header and len(table) == 2 and ("timestamp" in table) == (len(roles) == 4)
    )


@pytest.mark.parametrize(
    "content",
    [
        "Ann,Dune,2024-05-01,4\n",  # the time before the rating
        "1,2,3,4\n",  # a time in 1970?
        "Ann,Dune,1700000000\n",  # no rating
        "".join(f"{k},{k},{k}\n" for k in range(150)),  # a number of the line, and two ids?
        "Ann,Dune\n",
    ],
)
def test_columns_without_a_header_line_that_are_unclear_are_refused(tmp_path, content):
    assert "Expected: four whole numbers" in refused(tmp_path, content)


# --- Times and dates ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1714521600", 1714521600),
        ("1714521600.0", 1714521600),
        ("9000000000", 9_000_000_000),
        ("0", 0),
        ("2024-05-01", 1714521600),
        (" 2024-05-01 ", 1714521600),
        ("2024-05-01T00:00:01", 1714521601),
        ("2024-05-01 00:01", 1714521660),
        ("2024-05-01T00:00:01.9", 1714521601),
        ("2024-05-01T00:00:00Z", 1714521600),
        ("2024-05-01T09:00:00+09:00", 1714521600),
        ("1970-01-01", 0),
    ],
)
def test_times_are_seconds_or_dates_in_utc(tmp_path, text, seconds):
    content = f"user,item,rating,timestamp\na,b,1,{text}\na,c,2,5\n"
    table = data.load_ratings(write(tmp_path, content))
    assert table["timestamp"].tolist() == [seconds, 5] and table["timestamp"].dtype == "int64"


def test_edges_of_the_times():
    seconds = [-1, 0, 19_000_100, 19_000_101, 21_001_231, 21_001_232, 9e9, 9e9 + 1, 1.5, np.nan, np.inf]
    good = tables.good("timestamp", np.array(seconds, float), None)
    assert good.tolist() == [False, True, True, False, False, True, True, False, False, False, False]


def test_edges_of_the_scale():
    stars = np.array([0, 0.5, 1, 4.7, 5, 5.5, np.nan, np.inf, -np.inf, 1e300])
    for scale, wanted in (((0.5, 5, 0.5), [1, 2, 4]), ((1, 5, 1), [2, 4]), ((1, 5, 0), [2, 3, 4])):
        assert np.flatnonzero(tables.good("rating", stars, scale)).tolist() == wanted
    assert np.flatnonzero(tables.good("rating", stars, None)).tolist() == [0, 1, 2, 3, 4, 5, 9]


@pytest.mark.parametrize(
    ("time", "known"), [("100000000", True), ("99999999", False), ("1973-03-03T09:46:40", True)]
)
def test_a_time_without_a_header_line_is_later_than_1973(tmp_path, time, known):
    path = write(tmp_path, f"Ann,Dune,4,{time}\n")
    if known:
        assert tables.find_format(path).roles == tables.ROLES
    else:
        with pytest.raises(DataError, match="line 1 is"):
            tables.find_format(path)


@pytest.mark.parametrize("name", ["date", "Datetime", "Date-Time", "TIME", "timestamp"])
def test_names_of_the_time(tmp_path, name):
    table = data.load_ratings(write(tmp_path, f"user,item,rating,{name}\na,b,1,2024-05-01\n"))
    assert table["timestamp"].tolist() == [1714521600]


def test_a_date_beside_a_time_is_unclear(tmp_path):
    content = "user,item,rating,date,time\na,b,1,2024-05-01,12:30\n"
    assert (
        "one column for the timestamp, called timestamp, time, date or datetime, but there are 2."
        in refused(tmp_path, content)
    )
    assert data.load_ratings(write(tmp_path, content), timestamp="date")["timestamp"].tolist() == [1714521600]


# --- Files that are no text -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "begin", "words"),
    [
        *[(f"a.{ending}", b"", "is a spreadsheet.") for ending in ("xlsx", "xls", "ods", "Xlsx")],
        *[(f"a.{ending}", b"", "is compressed.") for ending in ("zip", "csv.gz", "ZIP")],
        (
            "a.xlsx",
            b"PK\x03\x04",
            "is a spreadsheet. Open it, save the sheet as 'CSV UTF-8', and load that file.",
        ),
        ("a.XLS", b"\xd0\xcf\x11\xe0", "is a spreadsheet."),
        ("a.ods", b"PK\x03\x04", "is a spreadsheet."),
        (
            "a.zip",
            b"PK\x03\x04",
            "is compressed. Unpack it, and load the file with the ratings that is inside.",
        ),
        ("a.csv.gz", b"\x1f\x8b", "is compressed."),
        ("a.csv", b"PK\x03\x04", "is compressed."),
        ("a.csv", b"\x1f\x8b", "is compressed."),
        ("a.csv", b"\xd0\xcf\x11\xe0", "is a spreadsheet."),
    ],
)
def test_a_file_that_is_no_text_is_refused_with_what_to_do(tmp_path, name, begin, words):
    path = tmp_path / name
    path.write_bytes(begin + b"\x00 and so on")
    for options in ({}, {"user": "who"}, {"scale": (1, 5)}):
        with pytest.raises(DataError) as found:
            data.load_ratings(path, **options)
        assert str(found.value).startswith(f"{path} {words}")


def test_one_column_for_two_roles(tmp_path):
    message = refused(tmp_path, MINE, user="user", item="user")
    assert "Expected: one column 'user', but it is the user already." in message


def test_dates_may_be_mixed_with_seconds_and_are_no_ratings():
    texts = ["2024-05-01", "2024-05-01T00:00:01", "soon", "5", "01.05.2024"]
    found = tables.numbers("timestamp", texts)
    assert [int(value) for value in found[[0, 1, 3]]] == [1714521600, 1714521601, 5]
    assert [value != value for value in found] == [False, False, True, False, True], "NaN where nothing is said"
    assert [value != value for value in tables.numbers("rating", ["2024-05-01", "4"])] == [True, False]
