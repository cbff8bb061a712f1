"""Trained models and a decision, ready for photographs that no stage has packed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from torchvision.transforms.v2.functional import resize

from dermaline.classes import CLASSES
from dermaline.compute import fabric
from dermaline.errors import DermalineError
from dermaline.evaluation.ranking import Bools, Floats, Ints
from dermaline.inference import views
from dermaline.inference.calibration import rebalanced
from dermaline.inference.decision import Decision
from dermaline.inference.predict import View, probabilities
from dermaline.models.network import Network, input_size
from dermaline.models.store import facts, load
from dermaline.params import Size


class Preparation(NamedTuple):
    """How images reach a model where its folder does not say: `recipe.json` may state `prepared_size` and `tta`."""

    size: Size  # at which images are decoded, before they are resized to the network's input
    tta: str


class Member(NamedTuple):
    """One model, loaded: what it takes, and how it is applied."""

    network: Network
    device: Fabric
    prepared_size: Size
    size: Size
    tta: str
    views: Sequence[View]


class Outcome(NamedTuple):
    """What is said about N images."""

    probabilities: Floats  # [N, 7], calibrated
    predicted: Ints  # [N] class numbers
    suspected: Bools | None  # [N], whether the melanoma threshold is reached; None when the decision has none
    confidences: Floats  # [N, 7], rows sum to 1, whose largest is the prediction; see `confidences`


class Ensemble(NamedTuple):
    """One model or several, with all that lies between their probabilities and a diagnosis."""

    members: list[Member]
    decision: Decision

    @property
    def prepared_sizes(self) -> list[Size]:
        return sorted({member.prepared_size for member in self.members})

    @property
    def takes_metadata(self) -> bool:
        return any(member.network.fusion is not None for member in self.members)

    def __call__(self, images: Mapping[Size, np.ndarray], metadata: torch.Tensor | None) -> Outcome:
        """Predict N images.

        Args:
            images: for each of `prepared_sizes` uint8 [N, height, width, 3], as `data.decode.decode` makes them.
            metadata: float [N, M] as `data.metadata.encode` makes it, or None when nothing is known.
        """
        raw = [_raw(member, images[member.prepared_size], metadata) for member in self.members]
        calibrated, predicted = self.decision.apply(raw)
        suspected = None if self.decision.melanoma_threshold is None else self.decision.suspects_melanoma(calibrated)
        return Outcome(calibrated, predicted, suspected, confidences(calibrated, self.decision))


def load_member(folder: Path, device: str, otherwise: Preparation, tta: str | None = None) -> Member:
    """Load a model folder onto a device.

    Args:
        folder: as `models.store.save` writes it.
        device: see `dermaline.compute.fabric`.
        otherwise: what holds when `recipe.json` does not state it.
        tta: takes the place of either when given.

    Raises:
        DermalineError: the folder, the device, or the test-time augmentation does not do.
    """
    network, recipe = load(folder)
    stated = facts(folder)
    tta = tta or stated.get("tta", otherwise.tta)
    if tta not in views.VIEWS:
        raise DermalineError(f"{folder / 'recipe.json'}: tta: '{tta}' is not one of {', '.join(views.VIEWS)}")
    precision = "32-true" if recipe.precision == "portable" else recipe.precision  # on all cores, or a GPU
    where, size = fabric(device, precision), input_size(recipe)
    network.to(where.device)
    prepared_size = tuple(stated.get("prepared_size", otherwise.size))
    return Member(network, where, prepared_size, size, tta, views.of(tta, network, size))


def plain(names: Sequence[str]) -> Decision:
    """The decision of models for which none was fitted: the mean of their probabilities, and the largest of it."""
    return Decision(
        temperatures=dict.fromkeys(names, 1.0),
        weights=dict.fromkeys(names, 1.0),
        temperature=1.0,
        prior=dict.fromkeys(CLASSES, 1 / len(CLASSES)),
        power=0.0,
        tau=0.0,
        melanoma_threshold=None,
        val_images=0,
        val_melanomas=0,
    )


def confidences(calibrated: Floats, decision: Decision) -> Floats:
    """The probabilities as they were if the classes' shares were `prior^(1 - tau)`, [N, 7]; rows sum to 1.

    The largest of a row is the decision's diagnosis, so a scorer that looks for the largest, as ISIC's does, sees the
    decision rule. With tau = 0 they are the calibrated probabilities.
    """
    return rebalanced(calibrated, np.array(list(decision.prior.values())), -decision.tau)


def _raw(member: Member, packed: np.ndarray, metadata: torch.Tensor | None) -> Floats:
    """Raw probabilities [N, 7] of one model, for images resized as `data.batches.load_images` does."""
    images = torch.from_numpy(packed).permute(0, 3, 1, 2)
    if images.shape[2:] != member.size:
        images = resize(images, list(member.size), antialias=True)
    found = probabilities(member.network, images, member.device, metadata=metadata, views=member.views)
    return found.numpy().astype(np.float64)
