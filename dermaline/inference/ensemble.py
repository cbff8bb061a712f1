"""Trained models and a decision, ready for photographs that no stage has packed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from dermaline.base.classes import CLASSES
from dermaline.base.errors import DermalineError
from dermaline.base.parameters import Size, checked
from dermaline.data.photographs import channels_first
from dermaline.evaluation.scores import Bools, Floats, Ints
from dermaline.evaluation.tables import SUSPECTED
from dermaline.inference.decision import Decision
from dermaline.inference.member import Member, load_member
from dermaline.models.model_info import read_model_info
from dermaline.params.predict import Predict

OUT = "out_of_distribution"


class Prediction(NamedTuple):
    """What is said about N images."""

    probabilities: Floats  # [N, 7], calibrated
    predicted: Ints  # [N] class numbers
    is_melanoma_suspect: Bools | None  # [N], whether the melanoma threshold is reached; None when the decision has none
    sets: Bools | None  # [N, 7], which diagnoses are in each set; None when the decision has none
    confidences: Floats  # [N, 7], rows sum to 1, whose largest is the prediction; see `Decision.confidences`
    out_of_distribution: Bools | None = None  # [N], whether it is no dermatoscopic image; None: not looked at

    def table(self, image_ids: Sequence[str]) -> pd.DataFrame:
        """A row an image: `image_id`, `predicted` (a class), probabilities, `SUSPECTED`, `diagnoses`, `not_sure`.

        `diagnoses` are those of the set, from the predicted one on, `not_sure` says whether they are more than one.
        Where it was looked at, `out_of_distribution` too.
        """
        shares = dict(zip(CLASSES, self.probabilities.T, strict=True))
        predicted = np.array(CLASSES)[self.predicted]
        facts = {"image_id": image_ids, "predicted": predicted, **shares, SUSPECTED: self.is_melanoma_suspect}
        beside = {} if self.out_of_distribution is None else {OUT: self.out_of_distribution}
        if self.sets is None:
            return pd.DataFrame({**facts, "diagnoses": None, "not_sure": None, **beside})
        order = np.argsort(-self.confidences, axis=1, kind="stable")
        names = [" ".join(CLASSES[n] for n in row if held[n]) for row, held in zip(order, self.sets, strict=True)]
        return pd.DataFrame({**facts, "diagnoses": names, "not_sure": self.sets.sum(axis=1) > 1, **beside})


class Ensemble(NamedTuple):
    """One model or several, with all that lies between their probabilities and a diagnosis."""

    members: Sequence[Member]
    prepared_sizes: Sequence[Size]  # of each member: at which images are decoded, before they are resized for it
    decision: Decision

    @property
    def takes_metadata(self) -> bool:
        return bool(self.decision.likelihood_ratios) or any(one.network.fusion is not None for one in self.members)

    def __call__(self, images: Mapping[Size, np.ndarray], metadata: torch.Tensor | None) -> Prediction:
        """Predict N images.

        Args:
            images: for each of `prepared_sizes` uint8 [N, height, width, 3], as `data.decode.decode` makes them.
            metadata: float [N, M] as `data.metadata.encode` makes it, or None when nothing is known.

        Raises:
            DermalineError: a network gives no numbers.
        """
        packed = [channels_first(images[size]) for size in self.prepared_sizes]
        raw = [member(some, metadata) for member, some in zip(self.members, packed, strict=True)]
        for name, found in zip(self.decision.recipes, raw, strict=True):
            if not np.isfinite(found).all():
                raise DermalineError(f"{name}: its probabilities are no numbers; train it anew, or use another model")
        calibrated, predicted = self.decision.apply(raw, None if metadata is None else metadata.numpy())
        decision = self.decision
        is_melanoma_suspect = None if decision.melanoma_threshold is None else decision.suspects_melanoma(calibrated)
        sets, confidences = decision.sets(calibrated), decision.confidences(calibrated)
        return Prediction(calibrated, predicted, is_melanoma_suspect, sets, confidences)


def load_ensemble(
    folders: Sequence[Path],
    decision: Decision,
    device: str,
    otherwise: Predict,
    prepared: Size,
    changes: Mapping[str, object] | None = None,
) -> Ensemble:
    """Load model folders, in the order of the decision's recipes.

    What a folder's `recipe.json` says (at which size images are decoded, as released ones also which views) holds;
    what it does not, is as the decision, `prepared` and `otherwise` say. `changes` of views overrule all.

    Raises:
        DermalineError: a folder, the device or the views do not do.
    """
    members, sizes = [], []
    for folder in folders:
        stated = read_model_info(folder)
        views = checked(Predict, stated.get("predict", decision.views or otherwise), folder / "recipe.json", "predict")
        views = views.model_copy(update=changes)
        members.append(load_member(folder, device, views, portable=False))
        sizes.append(checked(Size, stated.get("prepared_size", prepared), folder / "recipe.json", "prepared_size"))
    return Ensemble(members, sizes, decision)


def plain(names: Sequence[str]) -> Decision:
    """The decision of models for which none was fitted: the mean of their probabilities, and the largest of it."""
    return Decision(
        models=dict.fromkeys(names, ""),
        temperatures=dict.fromkeys(names, 1.0),
        temperature=1.0,
        prior=dict.fromkeys(CLASSES, 1 / len(CLASSES)),
        factors=dict.fromkeys(CLASSES, 1.0),
        tau=0.0,
        melanoma_threshold=None,
        set_rule=None,
        val_images=0,
        val_melanomas=0,
    )
