"""Reading a table that may be anything: comma-, semicolon- or tab-separated text, in which nothing may be lost."""

import csv
import io
import warnings
from collections import Counter

import pandas as pd

from dermaline.base.errors import one_line

SEPARATORS = ",\t;"  # a semicolon: saved by a spreadsheet where the comma is a decimal one


class NoTableError(ValueError):
    """Why it is none, in a few words; whoever knows the file names it."""


def read(content: bytes) -> pd.DataFrame:
    """The cells of a table as strings, as they are; what is empty is "".

    Args:
        content: of the file: UTF-8, with or without its mark; the first line has the names of the columns.

    Raises:
        NoTableError: another coding, no text, a column twice, a row of more cells than columns, a quote without end.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise NoTableError(f"not UTF-8 at byte {problem.start}; save it as CSV in UTF-8") from None
    if "\0" in text:
        raise NoTableError("no text, it has zeros; save it as CSV in UTF-8")
    header = next((line for line in text.splitlines() if line.strip()), None)
    if header is None:
        raise NoTableError("it is empty")
    separator = max(SEPARATORS, key=header.count)
    options = {"dtype": str, "keep_default_na": False, "index_col": False, "sep": separator}
    try:
        _check_columns(text[text.index(header) :], separator)
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):  # a cell too many is cut off
            table = pd.read_csv(io.StringIO(text, newline=""), **options)
    except (MemoryError, NoTableError):
        raise
    except pd.errors.ParserWarning:
        raise NoTableError(
            "a row has more cells than there are columns; put what has a separator in it in quotes"
        ) from None
    except Exception as problem:  # the parsers' own: ParserError, csv.Error, ValueError...
        raise NoTableError(one_line(problem)) from None
    return table


def _check_columns(text: str, separator: str) -> None:
    """Refuse a name that two columns have: pandas would call the second one otherwise."""
    names = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    for name, count in Counter(map(str.strip, names)).items():
        if name and count > 1:
            raise NoTableError(f"two columns {name}; leave one")
