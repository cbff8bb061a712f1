"""MixUp and CutMix: training on mixtures of two images, and of their losses."""

from dataclasses import dataclass

import numpy as np
import torch

from dermaline.params.recipe import Mixing
from dermaline.training.augment import rectangles


@dataclass
class MixedBatch:
    """Which image of the batch each was mixed with, int64 [B], and the share that is left of itself, float32 [B]."""

    partner: torch.Tensor
    lam: torch.Tensor

    def blend(self, values: torch.Tensor) -> torch.Tensor:
        """Share-weighted means [B, ...] of the images' own values and their partners'."""
        lam = self.lam.view(-1, *[1] * (values.ndim - 1))
        return lam * values + (1 - lam) * values[self.partner]


def mix(pixels: torch.Tensor, options: Mixing, generator: torch.Generator) -> tuple[torch.Tensor, MixedBatch | None]:
    """Mix each image of a batch with another of it.

    MixUp (Zhang et al. 2018) blends them, CutMix (Yun et al. 2019) pastes a rectangle; with both switched on, one of
    them is drawn for the batch. The share comes from Beta(alpha, alpha), for each image its own.

    Args:
        pixels: float [B, 3, H, W].
        options: `mixup` and `cutmix` are the alphas; 0 switches one off.
        generator: a CPU generator, the only source of randomness.

    Returns:
        The mixed pixels, and how they were mixed (None when both are off).
    """
    kinds = [kind for kind in ("mixup", "cutmix") if getattr(options, kind)]
    if not kinds:
        return pixels, None
    kind = kinds[int(torch.randint(len(kinds), (), generator=generator))]
    alpha, count = getattr(options, kind), len(pixels)
    random = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))  # torch's beta takes none
    lam = torch.from_numpy(random.beta(alpha, alpha, count)).float()
    partner = torch.randperm(count, generator=generator).to(pixels.device)
    if kind == "mixup":
        mixed = MixedBatch(partner, lam.to(pixels.device))
        return mixed.blend(pixels), mixed
    pasted = rectangles(1 - lam, torch.ones(count), pixels.shape[2:], generator).to(pixels.device)
    mixed = MixedBatch(partner, 1 - pasted.float().mean(dim=(1, 2, 3)))  # what is left: edges cut rectangles off
    return torch.where(pasted, pixels[partner], pixels), mixed
