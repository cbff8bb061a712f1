"""What is done about rare classes: class weights, the prior, and the order in which images are drawn."""

import numpy as np
import torch

from dermaline.base.classes import CLASSES
from dermaline.params.recipe import Recipe

MECHANISMS = ("class_weight_power", "sampler_power", "logit_adjustment")


def class_counts(labels: torch.Tensor) -> torch.Tensor:
    """float64 [7], the images of each class."""
    return torch.bincount(labels, minlength=len(CLASSES)).double()


def class_weights(labels: torch.Tensor, power: float) -> torch.Tensor:
    """float32 [7], proportional to n^-power for a class with n training images; their mean over the images is 1.

    A class without images gets 0: nothing of it is ever weighed.
    """
    counts = class_counts(labels)
    weights = torch.where(counts > 0, counts.clamp(min=1) ** -power, 0.0)
    return (weights * counts.sum() / (weights * counts).sum()).float()


def log_prior(labels: torch.Tensor) -> torch.Tensor:
    """float32 [7], the logarithm of each class's share of the images; a class without images counts as one image."""
    counts = class_counts(labels).clamp(min=1)
    return (counts / counts.sum()).log().float()


def sample_epoch_indices(labels: torch.Tensor, power: float, seed: int, epoch: int) -> torch.Tensor:
    """The images of one epoch, int64 [N]: each once, or drawn with replacement with weights n^-power.

    With power 1 every class comes equally often. The order depends on seed and epoch alone, so any epoch can be
    repeated without the ones before it.
    """
    random = np.random.default_rng([seed, epoch])
    if not power:
        return torch.from_numpy(random.permutation(len(labels)))
    shares = class_weights(labels, power).double()[labels].numpy()
    return torch.from_numpy(random.choice(len(labels), len(labels), p=shares / shares.sum()))


def warnings(recipe: Recipe) -> list[str]:
    """A line for each phase that corrects the imbalance more than once: rare classes are then called too often.

    So they are by logit adjustment with label smoothing, which asks of a rare class, in every image, for an
    adjusted probability above its prior (`campaigns/heads.yaml`), and by neither where teachers speak of plain logits.
    """
    found = []
    for phase in recipe.phases:
        settings = recipe.in_phase(phase)
        used = [name for name in MECHANISMS if getattr(settings, name) > 0]
        if len(used) > 1:
            found.append(f"warning: phase '{phase.name}' balances the classes by {' and '.join(used)}; one is enough")
    if recipe.logit_adjustment and recipe.label_smoothing:
        found.append("warning: logit_adjustment goes ill with label_smoothing; set that to 0")
    if recipe.logit_adjustment and recipe.teachers:
        found.append("warning: logit_adjustment is of the labels' part of the loss alone; what teachers say undoes it")
    return found
