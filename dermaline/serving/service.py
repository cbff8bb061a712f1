"""What is asked of the models, done: predictions and explanations of photographs that are decoded."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from dermaline.base.classes import CLASSES, INDEX
from dermaline.base.files import digest
from dermaline.base.parameters import Size
from dermaline.data.decode import BadImageError
from dermaline.data.metadata import MISSING
from dermaline.data.photographs import channels_first
from dermaline.evaluation.tables import SUSPECTED
from dermaline.inference.ensemble import OUT, Ensemble, Prediction
from dermaline.models.model_info import read_model_info
from dermaline.ood.detector import DENSITY, FACTS
from dermaline.serving import overlays
from dermaline.serving.answers import Explained, Model, Predicted
from dermaline.serving.uploads import TAKEN, Upload
from dermaline.user_files.photographs import Block, block_of

SHOWN = 7  # digits of a probability, as `predict` writes them


class Asked(NamedTuple):
    """A photograph about which something is asked."""

    block: Block  # of it alone
    metadata: torch.Tensor = MISSING  # [M], see `data.metadata.encode`
    diagnosis: str | None = None  # to explain; None: the predicted one


@dataclass(frozen=True, eq=False)
class Service:
    """Models, and all that turns their answers into ours."""

    ensemble: Ensemble  # that explains
    predictor: Callable[[Block, torch.Tensor], Prediction]  # of photographs, and [N, M] of what is known
    sizes: Sequence[Size]  # at which `predictor` wants photographs
    max_megapixels: float
    outliner: overlays.Outliner | None
    model: Model

    def decode(self, upload: Upload) -> Block:
        """A block of this one photograph; raises `BadImageError`."""
        block = block_of([upload], self.sizes, self.max_megapixels, TAKEN)
        for reason in block.bad.values():
            raise BadImageError(reason)
        return block

    def blank(self) -> Asked:
        """A black photograph, to try whether all works."""
        return Asked(Block(["blank"], {size: np.zeros((1, *size, 3), np.uint8) for size in self.sizes}, {}))

    def predict(self, asked: Sequence[Asked]) -> list[Predicted]:
        """Predict photographs together."""
        block, metadata = _joined(asked)
        rows = self.predictor(block, metadata).table(block.image_ids).to_dict("records")
        return [_predicted(row) for row in rows]

    def explain(self, asked: Sequence[Asked]) -> list[Explained]:
        """Where the networks looked, for a diagnosis.

        Raises:
            NoMaps: a network keeps no place in the image.
        """
        block, metadata = _joined(asked)
        names = [one.diagnosis for one in asked]
        if None in names:
            predicted = [CLASSES[number] for number in self.predictor(block, metadata).predicted]
            names = [name or own for name, own in zip(names, predicted, strict=True)]
        images = [channels_first(block.images[size]) for size in self.ensemble.prepared_sizes]
        classes = torch.tensor([INDEX[name] for name in names])
        maps = overlays.strengths(self.ensemble.members, images, classes, metadata)
        seen = block.images[self.ensemble.prepared_sizes[0]]
        masks = [None] * len(names) if self.outliner is None else self.outliner(images[0])
        return [_explained(*one) for one in zip(block.image_ids, names, seen, maps, masks, strict=True)]


def describe(folders: Sequence[Path], ensemble: Ensemble, detector: Path | None, has_outlines: bool) -> Model:
    """The facts of the models; the hash is of all files that have a say in a prediction, and of the views."""
    decision = ensemble.decision
    weights = decision.models
    settings = [digest(folder / "recipe.json") for folder in folders]
    views = [member.options.model_dump_json() for member in ensemble.members]
    beside = [digest(detector / name) for name in (FACTS, DENSITY)] if detector else []
    parts = [*weights.values(), *settings, *views, *beside, decision.model_dump_json()]
    name = hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()
    return Model(
        version=f"{'+'.join(weights)}-{name[:8]}",
        hash=name,
        weights=weights,
        melanoma_threshold=decision.melanoma_threshold,
        set_coverage=decision.set_rule and decision.set_rule.coverage,
        set_by_class=decision.set_rule and decision.set_rule.by_class,
        calibrated=decision.val_images > 0,
        generated=any(read_model_info(folder).get("generated", False) for folder in folders),
        takes_metadata=ensemble.takes_metadata,
        looks_for_other_images=detector is not None,
        has_outlines=has_outlines,
    )


def _joined(asked: Sequence[Asked]) -> tuple[Block, torch.Tensor]:
    """All photographs in one block, and their metadata [N, M]."""
    blocks = [one.block for one in asked]
    images = {size: np.concatenate([block.images[size] for block in blocks]) for size in blocks[0].images}
    block = Block([name for block in blocks for name in block.image_ids], images, {})
    return block, torch.stack([one.metadata for one in asked])


def _predicted(row: dict) -> Predicted:
    """A row of `Prediction.table` as an answer."""
    probabilities = {name: round(row[name], SHOWN) for name in CLASSES}
    return Predicted(
        name=row["image_id"],
        predicted=row["predicted"],
        confidence=probabilities[row["predicted"]],
        probabilities=probabilities,
        diagnoses=row["diagnoses"] and row["diagnoses"].split(),
        not_sure=row["not_sure"],
        melanoma_suspected=row[SUSPECTED],
        out_of_distribution=row.get(OUT),
    )


def _explained(name: str, dx: str, seen: np.ndarray, strength: np.ndarray, mask: np.ndarray | None) -> Explained:
    """The pictures of one photograph, uint8 [H, W, 3]."""
    photograph = overlays.Image.fromarray(seen)
    pictures = [overlays.encoded(photograph, "JPEG"), overlays.encoded(overlays.coloured(strength), "PNG")]
    line = None if mask is None else overlays.encoded(overlays.outline(mask), "PNG")
    photograph_jpeg, map_png = (base64.b64encode(picture).decode() for picture in pictures)
    return Explained(
        name=name,
        diagnosis=dx,
        photograph_jpeg=photograph_jpeg,
        map_png=map_png,
        outline_png=line and base64.b64encode(line).decode(),
    )
