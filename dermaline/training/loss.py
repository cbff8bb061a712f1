"""The losses: cross-entropy and focal, with class weights, label smoothing and logit adjustment."""

from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy

from dermaline.params.recipe import Loss
from dermaline.training.balance import class_weights, log_prior

EPS = 1e-6  # the least 1 - p_t: below, powers under 1 would have no gradient
LossFn = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def build_criterion(options: Loss, labels: torch.Tensor, progress: float = 1) -> LossFn:
    """The loss of each image, [B], of logits [B, 7] and labels [B]; `labels` are those of the whole training set.

    `progress` through the phase, 0 to 1, decides how much of the class weights is there (`class_weight_from`, `_to`).

    - Cross-entropy, with label smoothing (Szegedy et al. 2016).
    - Focal (Lin et al. 2017, eq. 4): times (1 - p_t)^gamma, where p_t is the plain probability of the true class. Class
      weights stand outside of it: inside, they would switch the factor off for the rare classes.
    - Class weights: times the weight of the true class, whose mean over the training images is 1. Their power may rise
      during training, from natural to balanced (cumulative learning, Yao et al. 2021, with its square).
    - Logit adjustment (Menon et al. 2021, eq. 10): tau * log prior is added to the logits here, and only here.
    """
    weights = class_weights(labels, options.class_weight_power * _risen(options, progress))
    shift = options.logit_adjustment * log_prior(labels)

    def losses(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        logits = logits.float() + shift.to(logits.device)
        losses = cross_entropy(logits, target, reduction="none", label_smoothing=options.label_smoothing)
        if options.loss == "focal":
            likelihood = logits.softmax(dim=1).gather(1, target[:, None])[:, 0]
            losses = losses * (1 - likelihood).clamp(min=EPS) ** options.focal_gamma
        return losses * weights.to(logits.device)[target]

    return losses


def _risen(options: Loss, progress: float) -> float:
    """The share of the power that is there: 0 until `class_weight_from`, 1 from `class_weight_to` on."""
    first, last = options.class_weight_from, options.class_weight_to
    if progress >= last:
        return 1.0
    return (max(0.0, progress - first) / (last - first)) ** 2 if last > first else 0.0
