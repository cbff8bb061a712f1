"""Bad input of many kinds, given to stages and commands: each is to end in one line, or to be taken for what it is.

Cases are data: tables of them in the modules of `cases`, what is expected of each beside it.
"""

import importlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

from benchmarks.reliability.cases.make import ROOT
from benchmarks.reliability.rows import Row, row
from dermaline.base import errors

FAMILIES = {  # a module each -> what its cases are
    "images": "an image file that is damaged, of another kind, or unusual",
    "archives": "an archive, or what lies in it, that is damaged, unsafe, locked or unusual",
    "tables": "a table of HAM10000, of predictions or of the truth that is wrong or written otherwise",
    "masks": "masks of other sizes and values, classes that are absent or too small to be split",
    "parameters": "params.yaml with a key misspelt, missing, mistyped, out of range or contradicting another",
    "recipes": "a recipe with such a key",
}
OUTPUTS = ("data/raw", "data/prepared", "data/split.csv", "metrics", "scores.json")  # of what is called here


class Case(NamedTuple):
    """One bad input."""

    name: str
    make: Callable[[], Callable[[], object]]  # writes it to the working folder; what it returns is to be called then
    words: tuple[str, ...] = ()  # all in the line that refuses it; none: it is accepted, and `check`ed
    check: Callable[[], object] = lambda: True  # whether what was accepted was taken rightly


def cases(family: str) -> list[Case]:
    """The cases of one family."""
    return importlib.import_module(f"benchmarks.reliability.cases.{family}").CASES


def main(options: list[str]) -> list[Row]:
    """Try all cases, or those whose families and names have all the words of `options`."""
    rows = []
    for family, what in FAMILIES.items():
        chosen = [one for one in cases(family) if all(word in f"{family} {one.name}" for word in options)]
        faults = [f"{one.name}: {fault}" for one in chosen if (fault := tried(one))]
        for fault in faults:
            print(f"{family}: {fault}", file=sys.stderr)
        trial = f"{what}, in process; lost: no single line that names it and says what to do, or half an output"
        rows += [row(trial, len(chosen), len(faults))] if chosen else []
    return rows


def tried(case: Case) -> str | None:
    """What went wrong when a case was tried in a folder of its own; None: it went as it is to go."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        shutil.copy(ROOT / "params.yaml", folder)
        shutil.copytree(ROOT / "recipes", "recipes")
        entry = case.make()
        before = set(_outputs())
        line = _end_of(entry)
        if line is None:
            return "accepted" if case.words else None if case.check() else "accepted, and taken wrongly"
        if not line.startswith("error: ") or errors.UNEXPECTED in line or len(line.splitlines()) != 1:
            return f"no line of ours: {line}"
        if not case.words:
            return f"refused: {line}"
        absent = [word for word in case.words if word not in line]
        if absent:
            return f"does not say {absent}: {line}"
        left = set(_outputs()) - before
        return f"leaves {sorted(left)}" if left else None


def _end_of(entry: Callable[[], object]) -> str | None:
    """The line that a call ended with, as a script would; None if it came to its end."""
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            errors.run(entry)
    except SystemExit as end:
        return str(end.code)
    return None


def _outputs() -> Iterator[Path]:
    """The outputs that are there, and the beginnings of some."""
    yield from (Path(name) for name in OUTPUTS if os.path.lexists(name))
    yield from Path().rglob("*.partial")
