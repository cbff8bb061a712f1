"""The final model on parts of the test images: kinds of patients, and the ways in which others count a test."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dermaline.evaluation import rates, tables
from dermaline.evaluation.bootstrap import CONFIDENCE
from dermaline.evaluation.compare import verdict
from dermaline.evaluation.metrics import HEADLINE
from dermaline.evaluation.scores import Bools
from dermaline.evaluation.summary import FEWEST_LESIONS, lesions_of, metrics_with_ci
from dermaline.params.evaluate import Evaluate

PROTOCOL_METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc")
SHARES, MACRO = ("accuracy", "melanoma_sensitivity"), ("balanced_accuracy", "macro_auc")  # of all images, of classes
JUDGED = ("accuracy", "balanced_accuracy", "melanoma_sensitivity")  # of a slice against all other images
AGES: dict[str, float] = {"under 30": 30, "30 to 44": 45, "45 to 59": 60, "60 to 74": 75, "75 and over": np.inf}
UNKNOWN = "unknown"


def protocol_rows(
    test: pd.DataFrame, lesion_averaged: pd.DataFrame, alone: pd.DataFrame | None, options: Evaluate
) -> pd.DataFrame:
    """One model under the protocols in use: `protocol`, `cases`, then each of `PROTOCOL_METRICS` with its interval.

    Args:
        test: decided predictions of the test images.
        lesion_averaged: the same by lesion, decided again.
        alone: those of the photographs alone, if otherwise more is looked at.
        options: how the intervals are drawn.
    """
    protocols: Mapping[str, pd.DataFrame] = {
        "all images": test,
        **({} if alone is None else {"all images, without age, sex and place": alone}),
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
    two (of all images: over all classes): of slices with different `classes` they are not comparable to the digit.

    Args:
        test: decided predictions of the test images.
        index: `image_id`, `age` in years, `sex`, `localization`, and maybe `dataset`, of these images and maybe others.
        options: how the intervals are drawn.

    Returns:
        `variable`, `value`, `images`, `lesions`, `melanomas` (their images), `classes` that the scores in `MACRO` are
        over, then each of `SHARES` and `MACRO` with its interval (NaN without a value), `note`, and what `_judged`
        says; a slice of fewer than `FEWEST_LESIONS` lesions has its counts and a note that says so. A variable that is
        the same for all has no rows.
    """
    found = parts(test, index)
    rows = pd.DataFrame(_row(*names, test[inside], options) for names, inside in found.items())
    return rows.join(_judged(test, list(found.values())))


def parts(test: pd.DataFrame, index: pd.DataFrame) -> dict[tuple[str, str], Bools]:
    """Which images are in each slice, [N], by variable and value: all of them, then every kind of patient.

    Arguments as for `slice_rows`; a variable that is the same for all has no slices.
    """
    facts = described(index).set_index("image_id").loc[test["image_id"]]
    found = {("all", "all"): np.ones(len(test), dtype=bool)}
    for variable in [name for name in facts if facts[name].nunique() > 1]:
        column = facts[variable].to_numpy()
        found |= {(variable, value): column == value for value in _values(variable, facts[variable])}
    return found


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
    fewest = 1 if variable == "all" else FEWEST_LESIONS  # as all scores of the whole test are
    few, enough = lesions < FEWEST_LESIONS, list(counts.index[counts >= fewest])
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


def _judged(test: pd.DataFrame, parts: Sequence[np.ndarray]) -> pd.DataFrame:
    """Each part of the images, [N] bools, against all the others: for each of `JUDGED` a difference and a verdict.

    The two sides share no image, so nothing is paired: the interval is made of theirs. It holds for all of the
    differences at once (Bonferroni), for of twenty that are looked at one by one, one is shown where there is none. A
    score is compared over the classes with `FEWEST_LESIONS` on both sides, accuracy over all: a part with more nevi is
    easier.

    Returns:
        NAME_difference with its interval, and NAME_verdict: "better", "worse", "not shown to differ", or empty.
    """
    sides = [_sides(test, inside) for inside in parts]
    confidence = 1 - (1 - CONFIDENCE) / max(sum(len(names) for pairs in sides for names, _ in pairs), 1)
    rows = []
    for pairs in sides:
        row = {f"{name}_difference{end}": np.nan for name in JUDGED for end in ("", "_low", "_high")}
        row |= {f"{name}_verdict": "" for name in JUDGED}
        for names, pair in pairs:
            intervals = [rates.intervals(side, confidence) for side in pair]
            for name in names:
                values = [float(HEADLINE[name](tables.truth(side), tables.decisions(side), None)) for side in pair]
                ends = [of_side[name] for of_side in intervals]
                low, high = map(float, rates.of_difference(tuple(values), tuple(ends)))
                row |= {f"{name}_difference": values[0] - values[1], f"{name}_difference_low": low}
                row |= {f"{name}_difference_high": high, f"{name}_verdict": verdict(low, high)}
        rows.append(row)
    return pd.DataFrame(rows)


def _sides(test: pd.DataFrame, inside: np.ndarray) -> list[tuple[list[str], tuple[pd.DataFrame, pd.DataFrame]]]:
    """Those of `JUDGED` that can be compared, with the images of a part and the others that they are over."""
    part, rest = test[inside], test[~inside]
    if min(table["lesion_id"].nunique() for table in (part, rest)) < FEWEST_LESIONS:
        return []
    counts = np.minimum(lesions_of(part), lesions_of(rest))
    enough = list(counts.index[counts >= FEWEST_LESIONS])
    names = ["balanced_accuracy"] * (len(enough) > 1) + ["melanoma_sensitivity"] * ("mel" in enough)
    found = [(["accuracy"], (part, rest))]
    if names:
        found.append((names, (part[part["dx"].isin(enough)], rest[rest["dx"].isin(enough)])))
    return found
