"""Whether photographs are dermatoscopic at all: how far their features lie from those of the training images.

The features are of no model of ours, so one detector serves them all (Mahalanobis distance, Lee et al. 2018, here
without classes). It is a folder: the density, and what else is to be known, which names the density by its digest.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from dermaline.base.errors import DermalineError
from dermaline.base.files import digest, read_json, replacing, write_json
from dermaline.base.parameters import Count, Fraction, Positive, Section, Size, checked
from dermaline.evaluation.scores import Bools, Floats
from dermaline.inference.conformal import lower_bound
from dermaline.models.weights import read_tensors
from dermaline.ood.density import Density
from dermaline.ood.features import WIDTH, Extractor, extractor

DENSITY, FACTS = "density.safetensors", "detector.json"
DIGITS = 4  # of a score: the same alone and among others


class Facts(Section):
    """What is to be known of a detector beside its density."""

    density: str  # digest of its file
    threshold: Positive  # a photograph with a larger score is out of distribution
    size: Size  # height and width at which photographs are looked at
    prepared_size: Size  # ... and at which they are decoded before
    fit_images: Count
    val_lesions: Count
    false_alarms: Fraction  # share of lesions that is to be called out of distribution at most
    split: str  # digest of the split that it was fitted on


class Detector(NamedTuple):
    """A density of features with its threshold."""

    extract: Extractor
    density: Density
    facts: Facts

    def __call__(self, images: Tensor) -> Bools:
        """Whether each of uint8 [N, 3, height, width], decoded at `prepared_size`, is out of distribution, [N]."""
        return self.scores(images) > self.facts.threshold

    def scores(self, images: Tensor) -> Floats:
        """How far each image is from the training images, [N]; those themselves have 1 on average."""
        return scores(self.density, self.extract(images))


def scores(density: Density, features: Tensor) -> Floats:
    """The distances of features [N, F], rounded, [N]."""
    return density.distances(features).numpy().round(DIGITS)


def fit_threshold(found: Floats, group: np.ndarray, false_alarms: float) -> float:
    """The score over which at most this share of new lesions like these lies, by split conformal prediction.

    Args:
        found: scores [N] of validation images.
        group: [N] labels; rows of one are one lesion's, which counts once.
        false_alarms: the share. Fewer lesions than it needs (99 for 0.01) give their largest score.
    """
    bound = lower_bound(-found, group, 1 - false_alarms)
    return float(found.max()) if bound is None else -bound


def save(folder: Path, density: Density, facts: dict) -> None:
    """Write a detector's folder whole; `facts` are those of `Facts` but for the digest."""
    with replacing(folder) as partial:
        partial.mkdir(parents=True)
        save_file({name: value.contiguous() for name, value in density._asdict().items()}, partial / DENSITY)
        known = Facts(density=digest(partial / DENSITY), **facts)
        write_json(partial / FACTS, known.model_dump(mode="json"), exact=True)


def require_split(folder: Path, splits: Iterable[str | None], advice: str = "run dvc repro") -> None:
    """Refuse a detector that may have learned from the images that models are tested on.

    Args:
        folder: of the detector.
        splits: digests of those that the models were trained on; None where it is not known.
        advice: what to do about another.

    Raises:
        DermalineError: it was fitted on another split, or is none.
    """
    if others := {split for split in splits if split not in (None, _facts(folder).split)}:
        raise DermalineError(f"{folder}: fitted on another split than the models ({min(others)}); {advice}")


def _facts(folder: Path) -> Facts:
    with _clearly(folder):
        return checked(Facts, read_json(folder / FACTS), folder / FACTS)


@contextmanager
def _clearly(folder: Path) -> Iterator[None]:
    """What a broken detector raises, in one line."""
    try:
        yield
    except (OSError, ValueError, TypeError) as problem:
        raise DermalineError(f"{folder}: not a detector ({problem}); run the stage ood") from None


def load(folder: Path, device: torch.device) -> Detector:
    """Read what `save` wrote.

    Raises:
        DermalineError: a file is missing or broken, or they do not belong together.
    """
    with _clearly(folder):
        facts = _facts(folder)
        if digest(folder / DENSITY) != facts.density:
            raise DermalineError(
                f"{folder / DENSITY}: not that of {FACTS}; run git checkout and dvc checkout, or dvc repro"
            )
        density = Density(**read_tensors(folder / DENSITY))
        if (density.mean.shape, density.whitening.shape) != ((WIDTH,), (WIDTH, WIDTH)):
            raise ValueError(f"{DENSITY} is of other features")
    return Detector(extractor(facts.size, device), density, facts)
