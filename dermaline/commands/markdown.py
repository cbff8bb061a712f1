"""Measured numbers as Markdown."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from dermaline.base.files import read_json
from dermaline.reporting import tables
from dermaline.reporting.tables import with_ends


def markdown(heads: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    rows = [[cell.replace("|", r"\|") for cell in cells] for cells in [heads, ["---"] * len(heads), *lines]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def classes_table(folder: Path) -> str:
    """One recorded model class by class, with 95 % intervals and the class that each is most often taken for.

    Below the table its melanoma sensitivity at fixed specificities, and its calibration error.
    """
    (model,) = list(read_json(folder / "details.json").values())[-1:]
    whole, at = model["image_level"], []
    table = markdown(*tables.classes(whole, pd.read_csv(folder / "confusion.csv")))
    for specificity in (90, 95):
        key = f"melanoma_sensitivity_at_specificity_{specificity}"
        at.append(f"{with_ends(whole, key)} at {specificity} % specificity")
    error = f"Expected calibration error of the most probable diagnosis: {whole['ece']:.3f}."
    return f"{table}\n\nMelanoma: sensitivity {', '.join(at)}. {error}"
