"""The predictions of a recipe, or of several together, once everything about them is decided."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from dermaline.evaluation import tables
from dermaline.inference.decision import Decision, fit
from dermaline.params import Evaluate


class Decided(NamedTuple):
    """A decision, and the tables it makes (see `evaluation.tables`)."""

    decision: Decision
    test: pd.DataFrame
    lesions: pd.DataFrame  # of test: one row each, averaged and decided on again by the same rule


def decide(members: Mapping[str, pd.DataFrame], train_images: Mapping[str, int], options: Evaluate) -> Decided:
    """Fit a decision on the val rows, and apply it to the test rows.

    Args:
        members: predictions of each recipe, in one order of images.
        train_images: how many images of each class were trained on.
        options: what to fit.
    """
    val, test = ([table[table["split"] == split] for table in members.values()] for split in tables.SPLITS)
    raw_val, raw_test = ([tables.probabilities(table) for table in part] for part in (val, test))
    decision = fit(list(members), tables.truth(val[0]), raw_val, train_images, options)
    images = tables.decided(test[0], *decision.apply(raw_test))
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
    val = {name: table[table["split"] == "val"] for name, table in members.items()}
    group = next(iter(val.values()))["group"]
    half = group.isin(pd.Series(sorted(group.unique())).sample(frac=0.5, random_state=options.seed)).to_numpy()
    parts = []
    for fitted_on in (half, ~half):
        halves = {name: table.assign(split=np.where(fitted_on, "val", "test")) for name, table in val.items()}
        parts.append(decide(halves, train_images, options).test)
    return pd.concat(parts).assign(split="val")
