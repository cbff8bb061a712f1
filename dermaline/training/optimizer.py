"""The optimizer, and which parameters get which learning rate."""

import torch
from timm.optim import create_optimizer_v2
from torch import nn

from dermaline.models.network import Network
from dermaline.params import Optimizer, Phase


def make_optimizer(network: Network, options: Optimizer, phase: Phase) -> torch.optim.Optimizer:
    """An optimizer of what trains in a phase, with the groups' peak rates.

    The head's is `lr` times the phase's factor; the backbone's layers have theirs times `layer_decay` for each layer
    of distance from the head (Howard & Ruder 2018). Biases, norms and embeddings of positions are not decayed.
    """
    named = dict(network.body.named_parameters())
    exempt = {id(named[name]) for name in getattr(network.body, "no_weight_decay", set)() if name in named}

    def split(parameters: list[nn.Parameter], rate: float) -> list[dict]:
        decayed = [p for p in parameters if p.ndim > 1 and id(p) not in exempt]
        others = [p for p in parameters if p.ndim <= 1 or id(p) in exempt]
        parts = ((decayed, options.weight_decay), (others, 0.0))
        return [{"params": part, "peak": rate, "weight_decay": decay} for part, decay in parts if part]

    groups = split(network.head_parameters(), options.lr * phase.head)
    layers = network.backbone_layers() if phase.backbone else []
    for depth in range(phase.first_layer, len(layers)):
        rate = options.lr * phase.backbone * options.layer_decay ** (len(layers) - depth)
        groups = split(layers[depth], rate) + groups
    own = {
        "lamb": {"max_grad_norm": None},  # timm's clips at 1, beside our `clip`
        # Unfused, the square root on a CPU is MKL's, which rounds by processor; the fused one's is exact. It wants
        # weights and gradients in one layout, so the network's weights are contiguous.
        "adam": {"fused": True},
        "adamw": {"fused": True},
    }.get(options.optimizer, {})
    return create_optimizer_v2(groups, opt=options.optimizer, lr=options.lr, weight_decay=0.0, momentum=0.9, **own)
