"""The optimizer, and which parameters get which learning rate."""

from functools import partial

import torch
from torch import nn

from dermaline.models.network import Network
from dermaline.params.recipe import Optimizer, Phase

OPTIMIZERS = {
    # Unfused, the square root on a CPU is MKL's, which rounds by processor; the fused one's is exact. It wants weights
    # and gradients in one layout, so the network's weights are contiguous.
    "adamw": partial(torch.optim.AdamW, fused=True),
    "adam": partial(torch.optim.Adam, fused=True),
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
}


def build_optimizer(network: Network, options: Optimizer, phase: Phase) -> torch.optim.Optimizer:
    """An optimizer of what trains in a phase, with the groups' peak rates: `lr` times the phase's factor of each part.

    Biases, norms and embeddings of positions are not decayed.
    """
    named = dict(network.body.named_parameters())
    exempt = {id(named[name]) for name in getattr(network.body, "no_weight_decay", set)() if name in named}

    def split(parameters: list[nn.Parameter], factor: float) -> list[dict]:
        decayed = [p for p in parameters if p.ndim > 1 and id(p) not in exempt]
        others = [p for p in parameters if p.ndim <= 1 or id(p) in exempt]
        parts = ((decayed, options.weight_decay), (others, 0.0))
        return [
            {"params": part, "base_lr": options.lr * factor, "weight_decay": decay} for part, decay in parts if part
        ]

    layers = network.backbone_layers()[phase.first_layer :] if phase.backbone else []
    backbone = [parameter for layer in layers for parameter in layer]
    groups = split(backbone, phase.backbone) + split(network.head_parameters(), phase.head)
    return OPTIMIZERS[options.optimizer](groups, lr=options.lr)
