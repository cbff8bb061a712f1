"""What a section of the page is made of. In its words `code` and **stress** are marked as in Markdown."""

from pathlib import Path
from typing import NamedTuple

from dermaline.reporting.tables import Table


class Text(NamedTuple):
    """A paragraph, or a warning that nobody is to miss."""

    words: str
    loud: bool = False


class Points(NamedTuple):
    """A list."""

    words: list[str]


class Captioned(NamedTuple):
    """A table under its caption."""

    table: Table
    caption: str


class Figure(NamedTuple):
    """A PNG, which may be missing; `wide` ones scroll on a small screen rather than shrink."""

    path: Path
    alt: str  # what it shows, for who does not see it
    caption: str
    wide: bool = False


class Figures(NamedTuple):
    """Figures that stand beside each other where there is room."""

    shown: list[Figure]


Block = Text | Points | Captioned | Figures


class Section(NamedTuple):
    """A part of the page, which the table of contents names."""

    name: str  # of its anchor
    title: str
    blocks: list[Block]
