"""Tests of course_utils.reader: what is read, and what a message says when a line is wrong."""

import warnings

from course_utils import data, made, reader, tables
from course_utils.metrics import baseline_scores

import numpy as np
import pandas as pd
import pytest
from made_up import MINE, RATINGS, refused, write


def forbidden(*args):
    """Stand in for the slow search."""
    raise AssertionError("a good file needs no search line by line")


# --- A table --------------------------------------------------------------------------------------


def test_a_table_of_your_own(tmp_path):
    table = data.load_ratings(write(tmp_path, MINE))
    assert table.columns.tolist() == ["user_id", "movie_id", "rating", "timestamp", "user", "item"]
    assert table.dtypes.astype(str).tolist() == ["int64", "int64", "float64", "int64", "category", "category"]
    # Sorted as text: "007" < "7" < "Ben", each a user of its own; "Dune" < "Emma".
    assert table["user_id"].tolist() == [3, 1, 2, 3] and table["movie_id"].tolist() == [1, 2, 1, 2]
    assert table["rating"].tolist() == [4.5, 3, 0.5, 10] and table["timestamp"].tolist() == [20, 10, 30, 40]
    assert table["user"].tolist() == ["Ben", "007", "7", "Ben"]
    assert table["item"].cat.categories.tolist() == ["Dune", "Emma"]


def test_fields_in_quotation_marks_and_korean_ids(tmp_path):
    content = 'item,rating,user\n"Dune, ""Part""\nTwo",4,민수\n어린 왕자,5,민수\n어린 왕자,x,지우\n'
    # The first rating takes two lines of the file.
    assert ":\n  - line 5 has the rating 'x'" in refused(tmp_path, content)
    table = data.load_ratings(write(tmp_path, content.replace("x", "1")))
    assert table["item"].tolist() == ['Dune, "Part"\nTwo', "어린 왕자", "어린 왕자"]
    assert table["user"].tolist() == ["민수", "민수", "지우"]


def test_words_like_na_are_ids_and_the_time_may_be_missing(tmp_path):
    table = data.load_ratings(write(tmp_path, "user,item,rating\nNA,null,2\nnan,None, 3 \n"))
    assert table.columns.tolist() == ["user_id", "movie_id", "rating", "user", "item"]
    assert table["user"].tolist() == ["NA", "nan"] and table["item"].tolist() == ["null", "None"]
    assert table["rating"].tolist() == [2, 3]


@pytest.mark.parametrize(
    "content",
    [RATINGS, RATINGS.rstrip(), RATINGS.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + RATINGS],
)
def test_load_ratings_from_a_file(tmp_path, content):
    path = tmp_path / "mine.tsv"
    path.write_bytes(content)
    assert data.load_ratings(path).loc[2].tolist() == [2, 543, 1, 878887116]
    assert data.load_ratings(str(path)).shape == (3, 4)
    assert (data.load_ratings(path).dtypes == "int64").all()


def test_a_table_that_can_not_be_read(tmp_path):
    for path in (tmp_path / "mine.csv", tmp_path):
        for names in ({}, {"user": "who"}):
            with pytest.raises(data.DataError, match=f"Cannot read {path}: "):
                data.load_ratings(path, **names)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(data.DataError, match="Cannot read .*mine.tsv: No such file"):
        data.load_ratings(tmp_path / "mine.tsv")


def test_a_wrong_byte_far_down_is_named(tmp_path):
    lines = [f"{k},b,1,note\n".encode() for k in range(10_000)]  # more than is read to recognize the format
    lines[9_000] = b"9000,b,1,n\xf6te\n"
    message = refused(tmp_path, b"user,item,rating,note\n" + b"".join(lines))
    assert message.startswith(", line 9002 is not UTF-8 text: the byte 0xf6 can't stand there.")


def test_a_file_without_ratings_is_refused(tmp_path):
    assert refused(tmp_path, "").startswith(", line 1: there are no ratings. Expected: four whole numbers")
    for header in (tables.INTER_HEADER, tables.CSV_HEADER):
        for rest in ("", "\n", "\n\n"):
            assert refused(tmp_path, header + rest).startswith(", line 2")


@pytest.mark.parametrize("content", ["user,item,rating\n", "user,item,rating", "user,item,rating\n\n\r\n"])
def test_a_header_line_alone_is_refused(tmp_path, content):
    expected = ", line 2: there are no ratings below the header line. Add one rating a line."
    assert refused(tmp_path, content) == expected


def test_bytes_that_are_not_text_are_named(tmp_path):
    path = tmp_path / "mine.tsv"
    path.write_bytes(b"1\t2\t3\t4\n1\t2\t\xff\xfe\t4\n")
    with pytest.raises(data.DataError, match="line 2 is "):
        data.load_ratings(path)


def test_the_baselines_work_on_a_table_of_your_own(tmp_path):
    train, test = data.split_ratings(data.load_ratings(made.write_example(tmp_path / "books.csv")))
    scores = baseline_scores(train, test)
    assert scores["both biases"] < min(scores["user mean"], scores["movie mean"]) < scores["global mean"]


# --- Ids ------------------------------------------------------------------------------------------


def test_codes_lead_back_to_the_ids_after_splitting_and_merging(tmp_path):
    table = data.load_ratings(made.write_example(tmp_path / "books.csv"))
    lines = pd.read_csv(tmp_path / "books.csv", dtype=str)
    assert table["user"].astype(str).tolist() == lines["reader"].tolist()
    assert table["item"].astype(str).tolist() == lines["book"].tolist()
    for code in ("user_id", "movie_id"):
        assert sorted(table[code].unique()) == list(range(1, table[code].nunique() + 1))
    train, test = data.split_ratings(table)
    for part in (train, test, test.iloc[:1], pd.concat([test, train]), test.sort_values("rating")):
        for code, name, column in (("user_id", "user", "reader"), ("movie_id", "item", "book")):
            assert part[name].cat.categories[part[code] - 1].tolist() == lines.loc[part.index, column].tolist()


def test_the_order_of_the_lines_does_not_change_the_codes(tmp_path):
    header, *lines = MINE.splitlines(keepends=True)
    table = data.load_ratings(write(tmp_path, MINE))
    turned = data.load_ratings(write(tmp_path, header + "".join(reversed(lines))))
    pd.testing.assert_frame_equal(turned.iloc[::-1].reset_index(drop=True), table)


def test_whole_numbers_are_ordered_as_numbers_and_all_else_as_text(tmp_path):
    header = "user,item,rating\n"
    table = data.load_ratings(write(tmp_path, header + "10,-2,1\n9,10,2\n100,0,3\n"))
    assert table["user"].cat.categories.tolist() == ["9", "10", "100"]
    assert table["item"].cat.categories.tolist() == ["-2", "0", "10"]
    assert table["user_id"].tolist() == [2, 1, 3] and table["movie_id"].tolist() == [1, 3, 2]
    # One id that is not written like a number, and all are text: by code point.
    for odd in ("007", "+7", "7.0", "-0", " 7", "a"):
        table = data.load_ratings(write(tmp_path, header + f"10,1,1\n9,1,2\n{odd},1,3\n"))
        assert table["user"].cat.categories.tolist() == sorted(["10", "9", odd])
        assert table["user"].tolist() == ["10", "9", odd]


def test_every_function_of_the_course_works_on_a_table_of_your_own(tmp_path):
    from course_utils.ranking import recommend

    ratings = data.load_ratings(write(tmp_path, MINE))
    seen = np.zeros(data.sizes(ratings), bool)
    seen[ratings["user_id"], ratings["movie_id"]] = True
    user_id = ratings.loc[ratings["user"] == "7", "user_id"].iloc[0]
    found = recommend(user_id, np.ones(seen.shape), seen, n=1)
    assert ratings["item"].cat.categories[found - 1].tolist() == ["Emma"]  # "7" knows Dune


def test_pairs_are_compared_as_pairs(tmp_path, monkeypatch):
    """Neither a product, a sum nor a text of both ids may stand for a pair."""
    pairs = [(1, 6), (6, 1), (2, 3), (3, 2), (1, 11), (11, 1), (12, 1), (1, 12), (2147483647, 2147483646)]
    pairs += [(2147483646, 2147483647), (2147483647, 2147483647), (1, 2147483647), (2147483647, 1)]
    lines = [f"{u}\t{i}\t3\t881250949" for u, i in pairs]
    with monkeypatch.context() as patch:
        patch.setattr(reader, "_explain", forbidden)  # none may look like another
        table = data.load_ratings(write(tmp_path, "\n".join(lines)))
        data.load_ratings(
            write(tmp_path, "".join(f"{u}\t{i}\t3\t881250949\n" for u in range(1, 40) for i in (1, 2)))
        )
    assert list(zip(table["user_id"], table["movie_id"], strict=True)) == pairs
    for separator, header in (("\t", ""), (",", "user,item,rating,time\n")):
        again = header + "\n".join([*lines, lines[3]]).replace("\t", separator)
        where = f"line {len(pairs) + 1 + bool(header)} rates the same pair as line {4 + bool(header)}: user '3'"
        assert f" has 1 problem:\n  - {where}, item '2'." in refused(tmp_path, again)


# --- Wrong lines ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        "5\t6\t3",  # a column is missing
        "5\t6\t3\t881250949\t1",  # a column too many
        "",
        "   ",
        "5\tsix\t3\t881250949",
        "5\t6\t3\t88125o949",
        "-5\t6\t3\t881250949",
        "0\t6\t3\t881250949",
        "5\t0\t3\t881250949",
        "5\t2147483648\t3\t881250949",  # 2**31
        "5\t6\tnan\t881250949",
        "5\t6\t3\t-1",
        "5\t6\t3\t9000000001",
        "5\t6\t3\t" + "9" * 19,  # does not fit in int64
        "5\t٦\t3\t881250949",  # a digit, but not one of ours
        "5,6,3,881250949",
        '"5"\t6\t3\t881250949',
    ],
)
@pytest.mark.parametrize("good_lines", [1, 2])
def test_a_malformed_line_is_named(tmp_path, bad, good_lines):
    message = refused(tmp_path, "1\t2\t3\t4\n" * good_lines + bad + "\n1\t2\t3\t4\n")
    expected = (
        "four whole numbers separated by tabs (user_id, movie_id, rating, timestamp), as in u.data (100K)."
    )
    assert message == f", line {good_lines + 1} is {bad!r}. Expected: {expected}"


PROBLEMS = {
    "too few fields": ("Ann,Emma,4", "has 3 fields, ['Ann', 'Emma', '4']. Expected: 4, as in the header line."),
    "too many fields": ("Ann,Emma, a novel,4,5", "put a field that holds ',' into quotation marks"),
    "blanks only": ("  ", "has 1 field, ['  ']. Expected: 4"),
    "no user": (",Emma,4,5", "has no user. Fill it in, or delete the line."),
    "no item": ("Ann, ,4,5", "has no item. Fill it in"),
    "no rating": ("Ann,Emma,,5", "has no rating. Fill it in"),
    "no timestamp": ("Ann,Emma,4,", "has no timestamp. Fill it in"),
    "word": (
        "Ann,Emma,four,5",
        "has the rating 'four'. Expected: a number such as 4 or 3.5, with a decimal point.",
    ),
    "decimal comma": ('Ann,Emma,"4,5",5', "has the rating '4,5'. Expected: a number"),
    "not a number": ("Ann,Emma,nan,5", "has the rating 'nan'. Expected: a number"),
    "infinite": ("Ann,Emma,-inf,5", "has the rating '-inf'. Expected: a number"),
    "too large": ("Ann,Emma,1e999,5", "has the rating '1e999'. Expected: a number"),
    "another date": (
        "Ann,Emma,4,24.11.2026",
        "has the timestamp '24.11.2026'. Expected: seconds since 1970, 0 to",
    ),
    "no hyphens": ("Ann,Emma,4,20240501", "or dates such as 2026-11-24 or 2026-11-24T18:30 (UTC)."),
    "old date": ("Ann,Emma,4,1969-12-31", "has the timestamp '1969-12-31'. Expected: seconds since 1970"),
    "half a second": ("Ann,Emma,4,1.5", "has the timestamp '1.5'"),
    "before 1970": ("Ann,Emma,4,-1", "has the timestamp '-1'"),
    "one second too late": ("Ann,Emma,4,9000000001", "has the timestamp '9000000001'. Expected: seconds"),
    "milliseconds": ("Ann,Emma,4,1764000000000", "(UTC). Divide milliseconds by 1000."),
    "pair twice": (
        "Ben,Dune,1,5",
        "rates the same pair as line 2: user 'Ben', item 'Dune'. Expected: one rating",
    ),
}


@pytest.mark.parametrize(("line", "words"), PROBLEMS.values(), ids=PROBLEMS.keys())
def test_a_wrong_line_of_a_table_is_named(tmp_path, line, words):
    message = refused(tmp_path, MINE + line + "\nZoe,Dune,1,2\n")
    assert message.startswith(" has 1 problem:\n  - line 6 ") and words in message


def test_the_first_problems_are_shown_in_order_and_the_others_counted(tmp_path):
    bad = "x\n" + "Ann,Emma,four,\n" * 3 + "\n" + "Eve,Dune,1,2\n" * 2 + "y\n"
    message = refused(tmp_path, MINE + bad)
    # Lines 6 and 13 have one field; 7, 8, 9 lack a time and have no number; 8, 9 and 12 rate a pair again.
    numbers = [int(line.split()[2]) for line in message.splitlines()[1:-1]]
    assert message.startswith(" has 11 problems:") and numbers == [6, 7, 7, 8, 8]
    assert message.endswith("\n  - and 6 more")


def test_a_message_in_full(tmp_path):
    expected = "a number such as 4 or 3.5, with a decimal point. Correct it, or delete the line."
    lines = "".join(f"\n  - line {line} has the rating 'x'. Expected: {expected}" for line in range(6, 11))
    bad = "".join(f"Zoe,{title},x,1\n" for title in "abcde")
    assert refused(tmp_path, MINE + bad) == f" has 5 problems:{lines}"
    assert refused(tmp_path, MINE + bad + "Zoe,f,x,1\n") == f" has 6 problems:{lines}\n  - and 1 more"


def test_long_lines_and_ids_are_cut(tmp_path):
    long = "x" * 50 + "y" * 50
    assert f", line 2 is {long[:80]!r}. Expected" in refused(tmp_path, f"1\t2\t3\t4\n{long}\n")
    assert f"line 6 has 1 field, {str([long])[:80]}. Expected" in refused(tmp_path, f"{MINE}{long}\n")
    pair = f"{long},item {long},1,2\n"
    assert f"line 2: user {long[:40]!r}, item {('item ' + long)[:40]!r}. Expected" in refused(
        tmp_path, "user,item,rating,time\n" + pair * 2
    )
    assert f"the rating {long[:40]!r}. Expected" in refused(tmp_path, f"{MINE}a,b,{long},1\n")


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path):
    assert ", line 1 is '5\\t6\\t9\\t4'. Expected" in refused(tmp_path, "\ufeff5\t6\t9\t4\n")


def test_rows_without_an_id_are_no_pair_twice(tmp_path):
    message = refused(tmp_path, MINE + ",Dune,1,2\n,Dune,1,2\nAnn,,1,2\nAnn,,1,2\n")
    assert message.startswith(" has 4 problems:") and "same pair" not in message


def test_a_table_of_nothing_but_wrong_lines(tmp_path):
    assert refused(tmp_path, "user,item,rating\na,b\n").startswith(" has 1 problem:\n  - line 2 has 2 fields")


def test_what_was_guessed_without_a_header_line_is_said(tmp_path):
    said = ".csv has no header line. Its columns were taken as user, item{} and {}. If this is wrong, add one."
    for fields, roles in (("Ann,Dune,4", ("", "rating")), ("Ann,Dune,4,1700000000", (", rating", "timestamp"))):
        with pytest.warns(UserWarning) as warned:
            data.load_ratings(write(tmp_path, fields))
        assert len(warned) == 1 and str(warned[0].message).endswith(said.format(*roles))


def test_a_wrong_line_without_a_header_line(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # first the refusal
        message = refused(tmp_path, "Ann,Dune,4\nBen,Dune\nBen,Emma,five\nAnn,Dune,4\n")
    assert "line 2 has 2 fields, ['Ben', 'Dune']. Expected: 3, as in the first line." in message
    assert "line 3 has the rating 'five'" in message and "line 4 rates the same pair as line 1" in message
    with pytest.warns(UserWarning):
        data.load_ratings(write(tmp_path, "a::b::1\n\nb::b::2\n"))
    message = refused(tmp_path, "a::b::1\n\nb::c\n")
    assert message.startswith(" has 1 problem:\n  - line 3 has 2 fields, ['b', 'c']")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ('"Dune" by Herbert', "expected after"),
        ('"Dune', "unexpected end"),
        ('"' + "x" * 200_000, "field limit"),
    ],
    ids=["text behind", "never closed", "very long"],
)
def test_quotation_marks_that_do_not_match(tmp_path, bad, reason):
    more = 'Kim,"Dune",1,2\n' if "by" in bad else ""  # marks that match do not hide it
    message = refused(tmp_path, MINE + f"Ann,{bad},4,5\n" + more)
    assert ", line 6 is not CSV (" in message and reason in message and "Correct the marks" in message


def test_marks_that_only_look_wrong_are_read(tmp_path):
    content = 'user,item,rating\nAnn,12" single,4\nBen,7" single,3\nBen,"a ""b""",2\n'
    table = data.load_ratings(write(tmp_path, content))
    assert table["item"].tolist() == ['12" single', '7" single', 'a "b"']


def test_what_can_not_be_explained_is_refused_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "_parse", lambda text, layout: None)
    for content, first in ((MINE, 2), (RATINGS, 1)):
        assert refused(tmp_path, content).startswith(f", between lines {first} and ")


def test_ratings_outside_a_stated_scale_are_refused(tmp_path):
    good = "user,item,rating\na,b,1\na,c,5.01\n"
    message = refused(tmp_path, good + "a,d,5\na,e,-1\na,f,x\na,g,\n", scale=(1, 5))
    assert message.startswith(
        " has 4 problems:\n  - line 3 has the rating '5.01'. Expected: 1 to 5, the scale that"
    )
    assert "line 5 has the rating '-1'. Expected: 1 to 5" in message
    assert "line 6 has the rating 'x'. Expected: a number" in message and "line 7 has no rating" in message
    assert data.load_ratings(write(tmp_path, good), scale=(1, 5.01))["rating"].tolist() == [1, 5.01]


# --- Ratings that look like codes -----------------------------------------------------------------


def rated(folder, *values):
    lines = [f"{row},b,{value}\n" for row, value in enumerate(values)]
    return write(folder, "user,item,rating\n" + "".join(lines))


@pytest.mark.parametrize(
    ("values", "found", "scale"),
    [
        ([1, 2, 3, 4, 5, -1], "1 of 6 ratings are -1", "(-1, 5)"),
        ([1, 2, 3, 0, 0, 0, 0], "4 of 7 ratings are 0", "(0, 3)"),
        ([0.5, 1, 2, 3, 4, 5, 99, 99], "2 of 8 ratings are 99", "(0.5, 99)"),
        ([1, 2, 3, 4, 5, 99, 100], "2 of 7 ratings are 99, 100", "(1, 100)"),
        ([1, 2, 3, 99, 99, 99], "3 of 6 ratings are 99", "(1, 99)"),
        ([1, 2, 3, 4, 4, 5, -9, 45], "2 of 8 ratings are -9, 45", "(-9, 45)"),
    ],
)
def test_ratings_that_look_like_codes_get_one_warning(tmp_path, values, found, scale):
    with pytest.warns(UserWarning) as said:
        table = data.load_ratings(rated(tmp_path, *values))
    assert len(said) == 1 and said[0].filename == __file__ and len(table) == len(values)
    message = str(said[0].message)
    assert f": {found}, far from the others." in message and "delete these lines" in message
    assert f"load_ratings(path, scale={scale})" in message
    # As the message says: with the scale stated, there is nothing to warn of.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.load_ratings(rated(tmp_path, *values), scale=eval(scale))


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, 3, 4, 5],
        [0.5, 5],
        [0, 1],  # like or not
        [-1, 1],
        [-1, 0, 1],
        [-10, -3.5, 0, 4, 10],
        [1, 2, 25],  # too few values to know
        [1, 2, 3, 15],  # five times the next, and not more
        [1, 2, 3, 99, 99, 99, 99],  # most are above the gap
        [1, 2, 3, 50, 60, 70, 80, 90],  # most are above the gap
        [1, 2, 3, 10, 11, 15],
        [7],
    ],
)
def test_ratings_that_do_not_look_like_codes_get_none(tmp_path, values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.load_ratings(rated(tmp_path, *values))


# --- Blocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 7, 50, 333, 4096])
def test_the_size_of_a_block_changes_nothing(tmp_path, monkeypatch, block):
    """Also where a block ends inside quotation marks, and where a date or a text begins to appear."""
    lines = [f'u{k % 7},"Part {k},\n""{k}""",{k % 5 + 1},{k + 1}\n' for k in range(40)]
    lines += [f"u{k % 7},p{k},{k % 5 + 1}.0,2024-05-{k % 28 + 1:02}\r\n\n" for k in range(40)]
    content = "user,item,rating,time\n" + "".join(lines)
    whole, official = (data.load_ratings(write(tmp_path, one)) for one in (content, RATINGS))
    assert len(whole) == 80 and whole["item"][0] == 'Part 0,\n"0"'
    monkeypatch.setattr(reader, "BLOCK", block)
    pd.testing.assert_frame_equal(data.load_ratings(write(tmp_path, content)), whole)
    pd.testing.assert_frame_equal(data.load_ratings(write(tmp_path, RATINGS)), official)
    bad = content.replace(
        "u0,p35,1.0", "oops\nu0,p35,1.0"
    )  # the 35th of the lines that are followed by an empty one
    assert " has 1 problem:\n  - line 152 has 1 field, ['oops']" in refused(tmp_path, bad)
    assert ", line 4 is 'oops'." in refused(tmp_path, RATINGS + b"oops\n")


def test_the_slow_search_is_for_wrong_files_only(tmp_path, monkeypatch):
    for name in ("_bad_line", "_explain", "_rows"):
        monkeypatch.setattr(reader, name, forbidden)
    titles = ["Book {}", "Book {}, Two", 'Book ""{}""']
    lines = [f'{k % 2000},"{titles[k % 3].format(k % 777)}",{k % 5 + 1},{10**9 + k}\n' for k in range(200_000)]
    table = data.load_ratings(write(tmp_path, '\ufeff"user",item,rating,time\n' + "".join(lines)))
    assert len(table) == 200_000 and table["timestamp"].iloc[-1] == 10**9 + 199_999
    lines = [f"{k // 500 + 1}::{k % 500 + 1}::{k % 5 + 1}::{10**9 + k}\n" for k in range(200_000)]
    assert len(data.load_ratings(write(tmp_path, "".join(lines)))) == 200_000


def test_a_progress_bar_is_shown_for_many_ratings_only(tmp_path, monkeypatch, capfd):
    path = write(tmp_path, MINE)
    data.load_ratings(path)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(reader, "MANY", 3)  # the file has four
    data.load_ratings(path)
    out, err = capfd.readouterr()
    assert out == "" and "mine.csv" in err and "100%" in err
