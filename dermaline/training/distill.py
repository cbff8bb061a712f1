"""Distillation (Hinton et al. 2015): a network learns what trained ones say of the very views that it is shown.

So an ensemble becomes one network (Beyer et al. 2022: of the same augmented views, not of the photographs once).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from dermaline.base.files import from_root
from dermaline.models.model_io import load_to_predict
from dermaline.models.network import Network


class Teachers:
    """Trained networks; called as one, they give the mean of their probabilities."""

    def __init__(self, folders: Sequence[str], device: torch.device) -> None:
        self.networks: list[Network] = [load_to_predict(from_root(Path(folder)))[0].to(device) for folder in folders]

    def __call__(self, pixels: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
        """float32 [B, 7], rows sum to 1, of what a network is called with; no gradients."""
        with torch.no_grad():
            seen = [network(pixels, metadata).float().softmax(dim=1) for network in self.networks]
        return torch.stack(seen).mean(dim=0)


def distilled(losses: torch.Tensor, logits: torch.Tensor, soft: torch.Tensor, share: float) -> torch.Tensor:
    """The loss of each image, [B]: `share` of it the cross-entropy with what the teachers say, the rest `losses`."""
    return (1 - share) * losses + share * cross_entropy(logits.float(), soft, reduction="none")
