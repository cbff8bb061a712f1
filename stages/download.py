"""Bring the images, the table and the masks to `data/raw`, from the source that `data.source` names."""

from pathlib import Path

from dermaline.base import errors
from dermaline.base.parameters import load
from dermaline.params.data import Data

RAW = Path("data/raw")


def main() -> None:
    """Run the stage."""
    data = load(Data, "data")
    match data.source:  # imported when used: the generated data needs neither a network nor Kaggle's client
        case "synthetic":
            from dermaline.sources.synthetic import images as source
        case "local":
            from dermaline.sources import local as source
        case "kaggle":
            from dermaline.sources import kaggle as source
        case "dataverse":
            from dermaline.sources import dataverse as source
    source.fetch(data, RAW)


if __name__ == "__main__":
    errors.run(main)
