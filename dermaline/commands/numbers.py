"""Numbers among the options of commands: `type` of argparse, with what is to be given in the place of what can't be."""

import math
from argparse import ArgumentTypeError


def count(text: str) -> int:
    """A whole number from 1 on.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"'{text}': give a whole number from 1 on")
    return int(text)


def positive(text: str) -> float:
    """A finite number above 0.

    Raises:
        ArgumentTypeError: it is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ArgumentTypeError(f"'{text}': give a number above 0")
    return number
