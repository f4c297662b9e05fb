"""The checks that several modules share say what was expected and what came."""

from course_utils import checks, data, fetch

import numpy as np
import pytest


def test_there_is_one_error_of_data():
    assert data.DataError is fetch.DataError is checks.DataError and issubclass(checks.DataError, RuntimeError)


def test_whole_numbers_become_those_of_python():
    for value in (3, np.int32(3), np.array(3)):
        number = checks.whole_number(value, "K")
        assert number == 3 and type(number) is int
    assert checks.whole_number(1, "K") == 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "K must be at least 1, but it is 0."),
        (-2, "K must be at least 1, but it is -2."),
        (2.0, "K must be a whole number, but it is 2.0."),
        ("3", "K must be a whole number, but it is '3'."),
        (None, "K must be a whole number, but it is None."),
    ],
)
def test_what_is_no_whole_number_of_at_least_one(value, words):
    with pytest.raises(ValueError) as found:
        checks.whole_number(value, "K")
    assert str(found.value) == words


def test_known_ids_become_whole_numbers_of_python():
    for value in (1, 5, np.int64(5)):
        number = checks.known_id(value, 5, "movie")
        assert number == value and type(number) is int


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "Unknown movie 0: the ids go from 1 to 5."),
        (6, "Unknown movie 6: the ids go from 1 to 5."),
        (-1, "Unknown movie -1: the ids go from 1 to 5."),
        (1.0, "A movie id is a whole number, but this is 1.0."),
        ("1", "A movie id is a whole number, but this is '1'."),
    ],
)
def test_what_is_no_known_id(value, words):
    with pytest.raises(ValueError) as found:
        checks.known_id(value, 5, "movie")
    assert str(found.value) == words
