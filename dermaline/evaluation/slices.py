"""The final model on parts of the test images: kinds of patients, and the ways in which others count a test."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dermaline.evaluation.summary import FEWEST_LESIONS, lesions_of, metrics_with_ci
from dermaline.params.evaluate import Evaluate

PROTOCOL_METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc")
SHARES, MACRO = ("accuracy", "melanoma_sensitivity"), ("balanced_accuracy", "macro_auc")  # of all images, of classes
AGES: dict[str, float] = {"under 30": 30, "30 to 44": 45, "45 to 59": 60, "60 to 74": 75, "75 and over": np.inf}
UNKNOWN = "unknown"


def protocol_rows(test: pd.DataFrame, lesion_averaged: pd.DataFrame, options: Evaluate) -> pd.DataFrame:
    """One model under the protocols in use: `protocol`, `cases`, then each of `PROTOCOL_METRICS` with its interval.

    Args:
        test: decided predictions of the test images.
        lesion_averaged: the same by lesion, decided again.
        options: how the intervals are drawn.
    """
    protocols: Mapping[str, pd.DataFrame] = {
        "all images": test,
        "mean of each lesion": lesion_averaged,
        "first image of each lesion": test.drop_duplicates("lesion_id"),
        "first image of each near-duplicate group": test.drop_duplicates("group"),
    }
    return pd.DataFrame(
        {"protocol": name, "cases": len(table), **metrics_with_ci(table, PROTOCOL_METRICS, options)}
        for name, table in protocols.items()
    )


def slice_rows(test: pd.DataFrame, index: pd.DataFrame, options: Evaluate) -> pd.DataFrame:
    """One model on each kind of patient: a row for all images and one for each value of each variable.

    The scores in `MACRO` are of those classes, and their images, that have `FEWEST_LESIONS` in the slice, if there are
    two: of slices with different `classes` they are not comparable to the digit.

    Args:
        test: decided predictions of the test images.
        index: `image_id`, `age` in years, `sex`, `localization`, and maybe `dataset`, of these images and maybe others.
        options: how the intervals are drawn.

    Returns:
        `variable`, `value`, `images`, `lesions`, `melanomas` (their images), `classes` that the scores in `MACRO` are
        over, then each of `SHARES` and `MACRO` with its interval (NaN without a value), and `note`; a slice of fewer
        than `FEWEST_LESIONS` lesions has its counts and a note that says so. A variable that is the same for all has
        no rows.
    """
    facts = described(index).set_index("image_id").loc[test["image_id"]]
    rows = [_row("all", "all", test, options)]
    for variable in [name for name in facts if facts[name].nunique() > 1]:
        column = facts[variable].to_numpy()
        rows += [_row(variable, value, test[column == value], options) for value in _values(variable, facts[variable])]
    return pd.DataFrame(rows)


def described(index: pd.DataFrame) -> pd.DataFrame:
    """`image_id` and the variables to slice by, as words; what is missing is `unknown`."""
    edges = [-np.inf, *AGES.values()]
    table = index[[name for name in ("image_id", "sex", "localization", "dataset") if name in index]].fillna(UNKNOWN)
    ages = pd.cut(index["age"], edges, labels=list(AGES), right=False).astype(object).fillna(UNKNOWN)
    table.insert(2, "age", ages)
    return table


def _values(variable: str, column: pd.Series) -> list[str]:
    """The values that occur: ages in order, others from frequent to rare; unknown last."""
    counts = column.value_counts()
    known = list(AGES) if variable == "age" else sorted(counts.index, key=lambda value: (-counts[value], value))
    return [value for value in known if value in counts and value != UNKNOWN] + [UNKNOWN] * (UNKNOWN in counts)


def _row(variable: str, value: str, table: pd.DataFrame, options: Evaluate) -> dict[str, str | float]:
    lesions, counts = table["lesion_id"].nunique(), lesions_of(table)
    few, enough = lesions < FEWEST_LESIONS, list(counts.index[counts >= FEWEST_LESIONS])
    scores = {f"{name}{end}": np.nan for name in (*SHARES, *MACRO) for end in ("", "_low", "_high")}
    if not few:
        scores |= metrics_with_ci(table, SHARES, options)
    if len(enough) > 1:
        scores |= metrics_with_ci(table[table["dx"].isin(enough)], MACRO, options)
    return {
        "variable": variable,
        "value": value,
        "images": len(table),
        "lesions": lesions,
        "melanomas": int((table["dx"] == "mel").sum()),
        "classes": " ".join(enough),
        **scores,
        "note": f"fewer than {FEWEST_LESIONS} lesions: not scored" if few else "",
    }
