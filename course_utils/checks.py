"""The checks that several modules share, and the error of data that can't be used."""

import operator


class DataError(RuntimeError):
    """The data are missing, damaged or malformed. The message says what to do."""


def whole_number(value: int, name: str) -> int:
    """Return ``value``, a whole number of at least 1, as a Python int: Keras refuses NumPy's.

    Raises ValueError, with ``name`` in the message, if it is none.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be a whole number, but it is {value!r}.") from None
    if number < 1:
        raise ValueError(f"{name} must be at least 1, but it is {number}.")
    return number


def known_id(value: int, largest: int, kind: str) -> int:
    """Return an id between 1 and the largest as a Python int.

    Raises ValueError, with ``kind`` ("user" or "movie") in the message, for anything else.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"A {kind} id is a whole number, but this is {value!r}.") from None
    if not 1 <= number <= largest:
        raise ValueError(f"Unknown {kind} {number}: the ids go from 1 to {largest}.")
    return number
