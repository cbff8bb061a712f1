"""An exported model beside the one that it was made from."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dermaline.base.classes import CLASSES
from dermaline.base.errors import DermalineError
from dermaline.compute import setup_fabric
from dermaline.evaluation import bootstrap, tables
from dermaline.evaluation.scores import balanced_accuracy
from dermaline.exporting.onnx_model import IMAGES, METADATA
from dermaline.inference.ensemble import Ensemble, Prediction

# Steps in which differences are told. Their last digits are the CPU's, and a file in git is to be the same on each.
STEPS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
REPLICATES = 1000  # of the bootstrap


def in_fp32(ensemble: Ensemble) -> Ensemble:
    """The same on a CPU in fp32, whatever its recipes ask for: in bf16, PyTorch is up to 0.03 from itself."""
    fabric = setup_fabric("cpu", "32-true")
    return ensemble._replace(members=[member._replace(fabric=fabric) for member in ensemble.members])


def by_torch(ensemble: Ensemble, given: dict[str, NDArray]) -> Prediction:
    """What PyTorch says of the inputs of the exported model."""
    (size,) = set(ensemble.prepared_sizes)
    return ensemble({size: given[IMAGES]}, torch.from_numpy(given[METADATA]))


def compared(rows: pd.DataFrame, ours: Prediction, exported: dict[str, NDArray], seed: int) -> dict[str, Any]:
    """How far an exported model is from PyTorch on N images.

    Args:
        rows: `dx` and `group` of the images.
        ours: as PyTorch has it.
        exported: the outputs of the file.
        seed: of the bootstrap.

    Returns:
        `images`; `largest_difference_up_to`, of a probability, as the least of `STEPS` that it does not exceed;
        `same_diagnosis`, a share; `balanced_accuracy_lost` with the ends of its paired 95 % interval over lesions.
    """
    difference = np.abs(exported["probabilities"] - ours.probabilities).max()
    if not np.isfinite(difference):
        raise DermalineError("export: the exported model gives probabilities that are no numbers")
    truth, group = tables.truth(rows), rows["group"].to_numpy()
    metric, each = {"balanced_accuracy": balanced_accuracy}, np.eye(len(CLASSES))
    decided = each[ours.predicted], each[exported["diagnosis"]]
    value = [float(balanced_accuracy(truth, one, None)) for one in decided]
    draws = [bootstrap.bootstrap_distribution(metric, truth, one, group, REPLICATES, seed) for one in decided]
    low, high = bootstrap.interval(draws[0]["balanced_accuracy"] - draws[1]["balanced_accuracy"])
    return {
        "images": len(rows),
        "largest_difference_up_to": next(step for step in STEPS if difference <= step),
        "same_diagnosis": float((exported["diagnosis"] == ours.predicted).mean()),
        "balanced_accuracy_lost": {"value": value[0] - value[1], "low": float(low), "high": float(high)},
    }
