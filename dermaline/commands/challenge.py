"""The command `challenge`: photographs of other lesions than HAM10000's, to validate a model on."""

import argparse
import shutil
from pathlib import Path

from dermaline.params import whole
from dermaline.sources import dataverse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, nargs="?", default=Path("data/isic2018_test"), help="default: %(default)s")


def main(options: argparse.Namespace) -> str:
    """Download the test part of ISIC 2018's Task 3, which lies beside HAM10000 on the Dataverse, into a folder.

    Returns:
        What to write into `params.yaml` to have the final model scored on it.

    Raises:
        DermalineError: the server can't be reached, or lacks a file.
    """
    brought = dataverse.bring(dataverse.CHALLENGE_TEST, whole.read().data.dataverse)
    names = ("images.zip", "truth.csv")
    options.folder.mkdir(parents=True, exist_ok=True)
    for source, name in zip(brought, names, strict=True):
        shutil.copyfile(source, options.folder / name)
    photographs, truth = (options.folder / name for name in names)
    keys = f"external:\n  isic2018:\n    photographs: {photographs}\n    truth: {truth}"
    return f"{options.folder}: downloaded. To score the last run's model on it, write into params.yaml:\n{keys}"
