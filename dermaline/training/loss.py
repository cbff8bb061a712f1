"""The loss: cross-entropy, with class weights as the one mechanism against imbalance."""

from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy

from dermaline.classes import CLASSES
from dermaline.params import Loss


def class_weights(labels: torch.Tensor, power: float) -> torch.Tensor:
    """float32 [7], proportional to n^-power for a class with n training images; their mean over the images is 1.

    A class without images gets 0: nothing of it is ever weighed.
    """
    counts = torch.bincount(labels, minlength=len(CLASSES)).double()
    weights = torch.where(counts > 0, counts.clamp(min=1) ** -power, 0.0)
    return (weights * counts.sum() / (weights * counts).sum()).float()


def make_loss(options: Loss, labels: torch.Tensor) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The mean loss of a batch of logits [B, 7] and labels [B]; `labels` are those of the whole training set."""
    weights = class_weights(labels, options.class_weight_power)

    def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return cross_entropy(
            logits.float(), target, weight=weights.to(logits.device), label_smoothing=options.label_smoothing
        )

    return loss
