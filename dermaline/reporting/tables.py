"""Measured numbers as tables of words: for the page of the last run, the card, the README and docs/.

A cell is a word or a number as it is read; `code` and **stress** in it are marked as in Markdown.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dermaline.base.classes import CLASSES, DIAGNOSES
from dermaline.evaluation.slices import JUDGED
from dermaline.evaluation.uncertainty import SELECTIVE
from dermaline.explaining.words import WORDS
from dermaline.inference.conformal import SetRule, percent

COLUMNS = {
    "accuracy": "accuracy",
    "balanced accuracy": "balanced_accuracy",
    "macro F1": "macro_f1",
    "macro AUC": "macro_auc",
}
HEADLINE = COLUMNS | {
    "expected calibration error": "ece",
    "melanoma sensitivity at 90 % specificity": "melanoma_sensitivity_at_specificity_90",
    "melanoma sensitivity at 95 % specificity": "melanoma_sensitivity_at_specificity_95",
}
NONE = "–"
PARTS = {"train": "training", "val": "validation", "test": "test"}


class Table(NamedTuple):
    """The first cell of a row names it."""

    heads: list[str]
    rows: list[list[str]]


def with_ends(scores: Mapping[str, Any], key: str) -> str:
    """A score with its interval, where it has one: not every score of few lesions has. A dash without a value."""
    ends = scores["intervals"].get(key, {})
    return _with(scores.get(key, np.nan), ends.get("low", np.nan), ends.get("high", np.nan))


def with_flat_ends(row: Mapping[str, float], key: str) -> str:
    """The same from a flat row: NAME, NAME_low and NAME_high."""
    return _with(*(row.get(f"{key}{end}", np.nan) for end in ("", "_low", "_high")))


def _with(value: float, low: float, high: float) -> str:
    if np.isnan(value):
        return NONE
    return f"{value:.3f}" + ("" if np.isnan(low) else f" ({low:.3f} to {high:.3f})")


def words(names: Iterable[str]) -> list[str]:
    """The names of columns as they are read."""
    known = {key: said for said, key in COLUMNS.items()}
    return [known.get(name, name.replace("_", " ")) for name in names]


def diagnosis(dx: str) -> str:
    """A class by its name and its code."""
    return f"{DIAGNOSES[dx]} (`{dx}`)"


def classes(scores: Mapping[str, Any], pairs: pd.DataFrame) -> Table:
    """One model class by class, with 95 % intervals and the class that each is most often taken for.

    Args:
        scores: of `evaluation.summary.scores`.
        pairs: of `evaluation.series.confusion_rows`.
    """
    shares = pd.crosstab(pairs["actual"], pairs["predicted"], normalize="index")
    rows = []
    for name, own in scores["per_class"].items():
        cells = [diagnosis(name), f"{own['support']:,}"]
        given = (pairs["predicted"] == name).any()  # else its precision is of nothing
        cells += [
            with_ends(own, key) if given or key != "precision" else NONE for key in ("recall", "precision", "auc")
        ]
        wrong = shares.reindex([name], fill_value=0.0).loc[name].drop(name, errors="ignore")
        most = " or ".join(f"`{given}`" for given in wrong.index[wrong == wrong.max()])
        rows.append([*cells, f"{most}, {wrong.max():.0%}" if wrong.any() else NONE])
    return Table(["diagnosis", "test images", "sensitivity", "precision", "AUC", "most often taken for"], rows)


def parts(split: Mapping[str, Any]) -> Table:
    """Images by diagnosis, and sums of images and lesions, as the stage `split` counted them, a column a part."""
    rows = [[diagnosis(dx), *(f"{split[part]['images_per_class'].get(dx, 0):,}" for part in PARTS)] for dx in CLASSES]
    for what in ("images", "lesions"):
        rows.append([f"**all {what}**", *(f"**{split[part][what]:,}**" for part in PARTS)])
    return Table(["diagnosis", *PARTS.values()], rows)


def patients(split: Mapping[str, Any]) -> Table:
    """Ages, and shares of images by sex and place, as the stage `split` counted them, a column a part."""
    ages = [split[part]["age_quartiles"] for part in PARTS]
    without = [split[part]["images_without_age"] / split[part]["images"] for part in PARTS]
    rows = [["age: median (quartiles)", *(f"{own[1]:g} ({own[0]:g} to {own[2]:g})" if own else NONE for own in ages)]]
    rows.append(["age: unknown", *(f"{share:.1%}" for share in without)])
    for name in ("sex", "localization"):
        counts = {part: split[part][f"images_per_{name}"] for part in PARTS}
        values = {value for own in counts.values() for value in own}
        for word in sorted(values, key=lambda value: (value == "unknown", value)):
            shares = [counts[part].get(word, 0) / split[part]["images"] for part in PARTS]
            rows.append([f"{name}: {word}", *(f"{share:.1%}" for share in shares)])
    return Table(["", *PARTS.values()], rows)


def protocols(found: pd.DataFrame) -> Table:
    """What `slices.protocol_rows` told: the test, counted in other ways."""
    rows = [
        [row["protocol"], f"{row['cases']:,}", *(with_flat_ends(row, key) for key in COLUMNS.values())]
        for _, row in found.iterrows()
    ]
    return Table(["a test case is", "cases", *COLUMNS], rows)


def selective(found: Mapping[str, Any]) -> Table:
    """What `uncertainty.selective` told, a row a share of the images."""
    rows = []
    for key, one in found.items():
        if key.startswith("at_"):
            scored = [with_flat_ends(one, name) for name in SELECTIVE]
            of_melanomas = f"{one['melanomas']:.3f}" if "melanomas" in one else NONE
            rows.append([key.removeprefix("at_"), f"{one['images']:,}", *scored, of_melanomas])
    return Table(["surest", "images", *words(SELECTIVE), "of all melanomas"], rows)


def all_sets(sets: pd.DataFrame) -> Table:
    """The table of sets, of all images and of melanomas."""
    rows = []
    for (kind, promised), own in sets.groupby(["kind", "promised"], sort=False):
        one = own.set_index("value")
        held = [with_flat_ends(one.loc[value], "coverage") if value in one.index else NONE for value in ("all", "mel")]
        rows.append([kind, percent(promised), *held, f"{one.loc['all', 'size']:.2f}"])
    return Table(["sets", "promised", "coverage", "coverage, melanoma", "diagnoses a set"], rows)


def of_rule(sets: pd.DataFrame, rule: SetRule) -> pd.DataFrame:
    """Those rows of the table of sets that are of a rule."""
    return sets[(sets["kind"] == rule.kind) & np.isclose(sets["promised"], rule.coverage)]


def chosen_sets(sets: pd.DataFrame, rule: SetRule) -> Table:
    """The sets that `predict` gives, of each diagnosis."""
    own, rows = of_rule(sets, rule).query("variable == 'dx'"), []
    for _, row in own.iterrows():
        always = rule.by_class and rule.thresholds[row["value"]] == 0  # so it was not found to be there
        held = "in every set" if always else with_flat_ends(row, "coverage")
        short = rule.by_class and row["coverage_high"] < rule.coverage  # for all together, no diagnosis is promised any
        verdict = f"short of {percent(rule.coverage)}" if short else ""
        of_one = [f"{row['single']:.0%}", with_flat_ends(row, "single_coverage") if row["single"] else NONE]
        rows.append([row["value"], f"{row['lesions']:,}", held, f"{row['size']:.2f}", *of_one, verdict])
    heads = ["true diagnosis", "lesions", "coverage", "diagnoses a set", "sets of one", "of which name it", ""]
    return Table(heads, rows)


NO_SINGLE = "None of the sets is of one diagnosis"
MORE_NEVI = "Accuracy is also higher where a group has more nevi"


def single_sets(sets: pd.DataFrame, rule: SetRule) -> str:
    """How many of the sets that `predict` gives are of one diagnosis, and how many of those are right."""
    own = of_rule(sets, rule).set_index("value").loc["all"]
    if not own["single"]:
        return NO_SINGLE
    return f"{own['single']:.0%} of the sets have one diagnosis, and {own['single_coverage']:.0%} of these are right"


def bare_sets(scores: Mapping[str, float] | None) -> str:
    """How often these sets hold the true diagnosis where age, sex and place are not known, if they are looked at."""
    if not scores:
        return ""
    held = with_flat_ends(scores, "coverage")
    what = f"the sets hold the true diagnosis for {held} of the lesions, and name {scores['size']:.2f} diagnoses"
    return f"Where age, sex and place are not known, {what}"


def differing_slices(slices: pd.DataFrame) -> Table:
    """The slices that are shown to differ from the rest, with what is found of their melanomas, which counts first."""
    rows = []
    for _, row in slices.iterrows():
        for name in JUDGED:
            if row[f"{name}_verdict"] in ("better", "worse"):
                low, high = row[f"{name}_difference_low"], row[f"{name}_difference_high"]
                difference = f"{row[f'{name}_difference']:+.3f} ({low:+.3f} to {high:+.3f})"
                what = [f"{row['variable']}: {row['value']}", f"{row['images']:,}", *words([name])]
                sensitivity = row["melanoma_sensitivity"]
                found = NONE if pd.isna(sensitivity) else f"{sensitivity:.2f} of {row['melanomas']}"
                rows.append([*what, difference, row[f"{name}_verdict"], found])
    return Table(["group", "images", "score", "difference from the rest", "", "melanomas given melanoma"], rows)


def explained(told: Mapping[str, Mapping[str, Any]]) -> Table:
    """What the checks of each model's maps told."""
    rows = []
    for name, of_model in told.items():
        for key, one in of_model["checks"].items():
            means = [f"{one[which]:.3f}" if which in one else NONE for which in ("own", "other", "area")]
            value = f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})"
            rows.append([name, WORDS[key], *means, value, "passed" if one["passed"] else "**failed**"])
    heads = ["model", "check", "own map", "another's", "lesion's area", "difference (last check: the correlation)", ""]
    return Table(heads, rows)


def outlines(told: Mapping[str, Any]) -> Table:
    """What `segmentation.scores.report` told: of val, of the test, of its diagnoses, and of plain thresholds."""
    parts = {"validation": told["val"], "**test**": told["test"]}
    parts |= {f"test: {diagnosis(dx)}": own for dx, own in told["by_class"].items()}
    counts, scores = ("images", "lesions"), ("jaccard", "thresholded_jaccard", "dice", "boundary_distance")
    rows = [
        [name, *(f"{own[key]:,}" for key in counts), *(mean(own[key]) for key in scores)] for name, own in parts.items()
    ]
    for name, own in told["thresholds"].items():
        rows.append(
            [f"test, by a threshold: {name}", *(f"{told['test'][key]:,}" for key in counts), mean(own), *[NONE] * 3]
        )
    return Table(["outlines of", *counts, *words(scores)], rows)


def mean(told: Mapping[str, float]) -> str:
    """A mean with its interval, where it has one."""
    ends = f" ({told['low']:.3f} to {told['high']:.3f})" if "low" in told else ""
    return f"{told['value']:.3f}{ends}"


def out_of_distribution(told: Mapping[str, Any]) -> Table:
    """How often the stage `ood` called images out of distribution, with 95 % intervals."""
    rows = []
    for side, name in (("val", "lesions of validation, where the threshold is from"), ("test", "lesions of the test")):
        parts = {name: told[side]} | {f"... {dx}": own for dx, own in told[side]["by_diagnosis"].items()}
        for what, own in parts.items():
            rows.append([what, f"{own['lesions']:,}", _share(own, "false_alarms"), NONE])
    for kind, found in told["without_lesion"].items():
        rows.append([kind, str(found["images"]), _share(found, "detected"), f"{found['auc']:.3f}"])
    return Table(["images", "how many", "called out of distribution", "AUC against the test"], rows)


def _share(found: Mapping[str, float], name: str) -> str:
    return f"{found[name]:.1%} ({found['low']:.1%} to {found['high']:.1%})"
