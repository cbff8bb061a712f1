"""Distillation (Hinton et al. 2015): a network learns what trained ones say of the very views that it is shown.

So an ensemble becomes one network (Beyer et al. 2022: of the same augmented views, not of the photographs once).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from dermaline.base.errors import DermalineError
from dermaline.base.files import from_root
from dermaline.base.parameters import Size
from dermaline.models.backbone import input_size
from dermaline.models.model_io import load_to_predict
from dermaline.models.network import Network


class Teachers:
    """Trained networks; called as one, they give the mean of their probabilities."""

    def __init__(self, folders: Sequence[str], device: torch.device, sizes: Sequence[Size]) -> None:
        """Load them.

        Raises:
            DermalineError: one is none, or takes images of one size only, and would be shown others of `sizes`.
        """
        self.networks: list[Network] = []
        for folder in folders:
            network, recipe = load_to_predict(from_root(Path(folder)))
            own = tuple(input_size(recipe))
            if network.takes_one_size and (others := [size for size in sizes if tuple(size) != own]):
                (height, width), (other, wide) = own, others[0]
                what = f"it takes images of {height}x{width} only, and would be shown {other}x{wide}"
                raise DermalineError(f"recipe: teachers: {folder}: {what}; take another teacher, or this size")
            self.networks.append(network.to(device))

    def __call__(self, pixels: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
        """float32 [B, 7], rows sum to 1, of what a network is called with; no gradients."""
        with torch.no_grad():
            seen = [network(pixels, metadata).float().softmax(dim=1) for network in self.networks]
        return torch.stack(seen).mean(dim=0)


def distilled(losses: torch.Tensor, logits: torch.Tensor, soft: torch.Tensor, share: float) -> torch.Tensor:
    """The loss of each image, [B]: `share` of it the cross-entropy with what the teachers say, the rest `losses`."""
    return (1 - share) * losses + share * cross_entropy(logits.float(), soft, reduction="none")
