"""Bring the images, the table and the masks to `data/raw`, from the source that `data.source` names."""

from collections.abc import Callable
from pathlib import Path

from dermaline.base import errors
from dermaline.base.parameters import load
from dermaline.params.data import Data

RAW = Path("data/raw")


# Each source is imported when it is used: the generated data needs neither a network nor Kaggle's client.
def _synthetic(data: Data, folder: Path) -> None:
    from dermaline.sources.synthetic import images

    images.fetch(data, folder)


def _local(data: Data, folder: Path) -> None:
    from dermaline.sources import local

    local.fetch(data, folder)


def _kaggle(data: Data, folder: Path) -> None:
    from dermaline.sources import kaggle

    kaggle.fetch(data, folder)


def _dataverse(data: Data, folder: Path) -> None:
    from dermaline.sources import dataverse

    dataverse.fetch(data, folder)


SOURCES: dict[str, Callable[[Data, Path], None]] = {
    "synthetic": _synthetic,
    "local": _local,
    "kaggle": _kaggle,
    "dataverse": _dataverse,
}


def main() -> None:
    """Run the stage."""
    data = load(Data, "data")
    SOURCES[data.source](data, RAW)


if __name__ == "__main__":
    errors.run(main)
