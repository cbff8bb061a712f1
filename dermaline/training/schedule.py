"""The learning rate over a phase, and which parameters get which."""

import math

import torch

from dermaline.models.network import Network
from dermaline.params import Optimizer, Phase


def factor(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up over the first `warmup` share of a phase, then a cosine to zero (Loshchilov & Hutter 2017)."""
    rising = max(1, round(steps * warmup))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def make_optimizer(network: Network, options: Optimizer, phase: Phase) -> torch.optim.Optimizer:
    """AdamW with a group for each part that trains, at `lr` times the phase's factor; vectors are not decayed."""
    parts = {
        "backbone": (network.backbone_parameters(), phase.backbone),
        "head": (network.head_parameters(), phase.head),
    }
    groups = []
    for parameters, scale in parts.values():
        for decayed in (True, False):
            chosen = [parameter for parameter in parameters if (parameter.ndim > 1) == decayed]
            if scale and chosen:
                decay = options.weight_decay if decayed else 0.0
                groups.append({"params": chosen, "peak": options.lr * scale, "weight_decay": decay})
    return torch.optim.AdamW(groups, lr=options.lr)


def set_rates(optimizer: torch.optim.Optimizer, scale: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * scale
