"""Measured numbers as Markdown."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dermaline.base.classes import DIAGNOSES

COLUMNS = {
    "accuracy": "accuracy",
    "balanced accuracy": "balanced_accuracy",
    "macro F1": "macro_f1",
    "macro AUC": "macro_auc",
}


def markdown(heads: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    rows = [[cell.replace("|", r"\|") for cell in cells] for cells in [heads, ["---"] * len(heads), *lines]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def with_ends(scores: dict[str, Any], key: str) -> str:
    """A score with its interval, where it has one: not every score of few lesions has."""
    ends = scores["intervals"].get(key)
    return f"{scores[key]:.3f}" + (f" ({ends['low']:.3f} to {ends['high']:.3f})" if ends else "")


def with_flat_ends(row: Mapping[str, float], key: str) -> str:
    """A score with its interval from a flat row: NAME, NAME_low and NAME_high; a dash where there is none."""
    if key not in row:
        return "–"
    return f"{row[key]:.3f} ({row[f'{key}_low']:.3f} to {row[f'{key}_high']:.3f})"


def classes_table(folder: Path) -> str:
    """One recorded model class by class, with 95 % intervals and the class that each is most often taken for.

    Below the table its melanoma sensitivity at fixed specificities, and its calibration error.
    """
    (model,) = list(json.loads((folder / "details.json").read_text(encoding="utf-8")).values())[-1:]
    pairs = pd.read_csv(folder / "confusion.csv")
    shares = pd.crosstab(pairs["actual"], pairs["predicted"], normalize="index")
    lines = []
    for name, scores in model["image_level"]["per_class"].items():
        cells = [f"{DIAGNOSES[name]} (`{name}`)", f"{scores['support']:,}"]
        cells += [with_ends(scores, key) for key in ("recall", "precision", "auc")]
        wrong = shares.loc[name].drop(name, errors="ignore")
        lines.append([*cells, f"`{wrong.idxmax()}`, {wrong.max():.0%}"])
    heads = ["diagnosis", "test images", "sensitivity", "precision", "AUC", "most often taken for"]
    whole, at = model["image_level"], []
    for specificity in (90, 95):
        key = f"melanoma_sensitivity_at_specificity_{specificity}"
        at.append(f"{with_ends(whole, key)} at {specificity} % specificity")
    said = f"Melanoma: sensitivity {', '.join(at)}. Expected calibration error of all diagnoses: {whole['ece']:.3f}."
    return f"{markdown(heads, lines)}\n\n{said}"
