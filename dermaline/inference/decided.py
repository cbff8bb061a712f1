"""The predictions of a recipe, or of several together, once everything about them is decided."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dermaline.data import words
from dermaline.data.groups import stratum
from dermaline.data.patients import encode
from dermaline.evaluation import tables
from dermaline.inference.decision import Decision, fit
from dermaline.inference.doubts import doubts
from dermaline.params.evaluate import Evaluate

DEALS = 5  # of validation into halves


class Decided(NamedTuple):
    """A decision, and the tables it makes (see `evaluation.tables`)."""

    decision: Decision
    val: pd.DataFrame  # on which it was fitted: for what is fitted next, no scores
    test: pd.DataFrame
    lesions: pd.DataFrame  # of test: one row each, averaged and decided on again by the same rule
    alone: pd.DataFrame | None  # test as it is where nothing is known but the photograph; None: nothing else is asked


def decide(members: Mapping[str, pd.DataFrame], train: pd.DataFrame, options: Evaluate) -> Decided:
    """Fit a decision on the val rows, and apply it to the test rows; what val has too little of is said on stderr.

    Args:
        members: predictions of each recipe, in one order of images; what `beside` adds to them is looked at.
        train: the rows of the index of the images that were trained on.
        options: what to fit.
    """
    val, test = (_of_split(members, split) for split in tables.SPLITS)
    decision = _fitted(val, train, options)
    seen = applied(decision, val)
    for doubt in doubts(tables.truth(seen), tables.probabilities(seen), seen["group"].to_numpy(), decision, options):
        print(f"note: {', '.join(members)}: {doubt}", file=sys.stderr)
    images = applied(decision, test)
    lesions = tables.by_lesion(images)
    averaged = tables.probabilities(lesions)
    bare = {name: table.drop(columns=list(words.COLUMNS), errors="ignore") for name, table in test.items()}
    return Decided(
        decision=decision,
        val=seen,
        test=images,
        lesions=tables.decided(lesions, averaged, decision.diagnose(averaged)),
        alone=applied(decision, bare) if decision.likelihood_ratios else None,
    )


def cross_fitted(
    members: Mapping[str, pd.DataFrame],
    train: pd.DataFrame,
    options: Evaluate,
    choose: Callable[[Mapping[str, pd.DataFrame]], Sequence[str]] = list,
) -> pd.DataFrame:
    """Decide on the val rows without having seen them: fitted on the groups of one half, applied to the other's.

    What is fitted looks better on the rows it was fitted on, most of all the decision for balanced accuracy. How the
    halves are dealt moves it too, so they are dealt `DEALS` times. Every deal is scored, and no mean or vote taken over
    them: an image that five decisions agree on is decided better than by one, and one is what is used in the end.

    Arguments as for `decide`; `choose` names those of the members, as they are on one half, that are to decide on the
    other: all, unless they are chosen too.

    Returns:
        The val rows `DEALS` times, each image in every deal under a name of its own. Shares of them are means over the
        deals (what ranks or bins over all of them is a little lower than that), and as an image's rows are of one
        group, the intervals do not take them for more.
    """
    val = _of_split(members, "val")
    first, random, parts = next(iter(val.values())), np.random.default_rng(options.seed), []
    for deal in range(DEALS):
        half = _half(first, random)
        for fitted_on in (half, ~half):
            seen, unseen = ({name: table[rows] for name, table in val.items()} for rows in (fitted_on, ~fitted_on))
            names = choose(seen)
            seen, unseen = ({name: of[name] for name in names} for of in (seen, unseen))
            found = applied(_fitted(seen, train, options), unseen)
            parts.append(found.assign(image_id=found["image_id"] + f" in deal {deal}"))
    return pd.concat(parts)


def _half(table: pd.DataFrame, random: np.random.Generator) -> np.ndarray:
    """Whether each row is in a half that has, within one, as many groups of each diagnosis as the other."""
    diagnosis = stratum(table["group"], table["dx"]).sample(frac=1, random_state=random).sort_values(kind="stable")
    return table["group"].isin(diagnosis.index[::2]).to_numpy()


def _of_split(members: Mapping[str, pd.DataFrame], split: str) -> dict[str, pd.DataFrame]:
    return {name: table[table["split"] == split] for name, table in members.items()}


def read_members(paths: Mapping[str, Path], index: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The predictions of each recipe, in one order of images, each with what `beside` adds.

    Raises:
        DermalineError: as `tables.read_predictions` and `tables.aligned`.
    """
    read = tables.aligned([tables.read_predictions(path) for path in paths.values()])
    return {name: beside(table, index) for name, table in zip(paths, read, strict=True)}


def beside(table: pd.DataFrame, index: pd.DataFrame) -> pd.DataFrame:
    """A table of images with what the index knows of their patients and places."""
    return table.merge(index[["image_id", *words.COLUMNS]], on="image_id", how="left")


def _fitted(members: Mapping[str, pd.DataFrame], train: pd.DataFrame, options: Evaluate) -> Decision:
    raw = [tables.probabilities(table) for table in members.values()]
    models = {name: next(iter(table["model"]), "") for name, table in members.items()}  # a half may have no rows
    first = next(iter(members.values()))
    return fit(models, tables.truth(first), raw, train, options, first["group"].to_numpy(), encode(first))


def applied(decision: Decision, members: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The rows of some members, see `decide`, as a fitted decision decides on them (see `evaluation.tables`)."""
    raw = [tables.probabilities(table) for table in members.values()]
    first = next(iter(members.values()))
    probabilities, predicted = decision.apply(raw, encode(first))
    suspected = {tables.SUSPECTED: decision.suspects_melanoma(probabilities)}
    return tables.decided(first, probabilities, predicted).assign(**suspected)
