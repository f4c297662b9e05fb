"""The checks that several modules share, the error of data that can't be used, and how exercises report."""

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


def short_messages() -> None:
    """Let a check that fails in a notebook say its sentence alone, without the traceback.

    Only an ``assert`` with a message in the notebook itself becomes short. Other errors, also those of a
    library, are shown with their traceback as always: there it helps.
    """
    from IPython import get_ipython  # only notebooks need it

    shell = get_ipython()
    if shell is not None:
        shell.set_custom_exc((AssertionError,), _show_shortly)


def _show_shortly(shell, kind, error, trace, tb_offset=None):
    """Show an AssertionError as ``short_messages`` says; IPython calls it with these arguments."""
    last = trace
    while last.tb_next:
        last = last.tb_next
    if str(error) and last.tb_frame.f_globals is shell.user_global_ns:
        error._render_traceback_ = lambda: [f"Not yet: {error}"]
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset)
