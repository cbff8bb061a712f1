"""The predictions of a recipe, or of several together, once everything about them is decided."""

import sys
from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from dermaline.evaluation import tables
from dermaline.inference.decision import Decision, fit
from dermaline.inference.doubts import doubts
from dermaline.params import Evaluate


class Decided(NamedTuple):
    """A decision, and the tables it makes (see `evaluation.tables`)."""

    decision: Decision
    test: pd.DataFrame
    lesions: pd.DataFrame  # of test: one row each, averaged and decided on again by the same rule


def decide(members: Mapping[str, pd.DataFrame], train_images: Mapping[str, int], options: Evaluate) -> Decided:
    """Fit a decision on the val rows, and apply it to the test rows; what val has too little of is said on stderr.

    Args:
        members: predictions of each recipe, in one order of images.
        train_images: how many images of each class were trained on.
        options: what to fit.
    """
    val, test = (_of_split(members, split) for split in tables.SPLITS)
    decision = _fitted(val, train_images, options)
    probabilities = decision.apply([tables.probabilities(table) for table in val.values()])[0]
    for doubt in doubts(tables.truth(next(iter(val.values()))), probabilities, options):
        print(f"note: {', '.join(members)}: {doubt}", file=sys.stderr)
    images = _applied(decision, test)
    lesions = tables.by_lesion(images)
    averaged = tables.probabilities(lesions)
    return Decided(
        decision=decision,
        test=images,
        lesions=tables.decided(lesions, averaged, decision.diagnose(averaged)),
    )


def cross_fitted(
    members: Mapping[str, pd.DataFrame], train_images: Mapping[str, int], options: Evaluate
) -> pd.DataFrame:
    """Decide on the val rows without having seen them: fitted on the groups of one half, applied to the other's.

    What is fitted looks better on the rows it was fitted on, most of all the decision for balanced accuracy.
    Arguments as for `decide`; returns the table of the val rows, one half after the other.
    """
    val = _of_split(members, "val")
    group = next(iter(val.values()))["group"]
    half = group.isin(pd.Series(sorted(group.unique())).sample(frac=0.5, random_state=options.seed)).to_numpy()
    parts = []
    for fitted_on in (half, ~half):
        seen, unseen = ({name: table[rows] for name, table in val.items()} for rows in (fitted_on, ~fitted_on))
        parts.append(_applied(_fitted(seen, train_images, options), unseen))
    return pd.concat(parts)


def _of_split(members: Mapping[str, pd.DataFrame], split: str) -> dict[str, pd.DataFrame]:
    return {name: table[table["split"] == split] for name, table in members.items()}


def _fitted(members: Mapping[str, pd.DataFrame], train_images: Mapping[str, int], options: Evaluate) -> Decision:
    raw = [tables.probabilities(table) for table in members.values()]
    models = {name: next(iter(table["model"]), "") for name, table in members.items()}  # a half may have no rows
    return fit(models, tables.truth(next(iter(members.values()))), raw, train_images, options)


def _applied(decision: Decision, members: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    raw = [tables.probabilities(table) for table in members.values()]
    return tables.decided(next(iter(members.values())), *decision.apply(raw))
