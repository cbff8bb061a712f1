"""Colour constancy: photographs as if taken under a neutral light."""

import torch


def shades_of_gray(images: torch.Tensor, norm: float) -> torch.Tensor:
    """Shades of Gray (Finlayson & Trezzi 2004): the light's colour is the Minkowski mean of each channel.

    Each channel is divided by its own and multiplied by the mean of the three, so an image keeps its brightness and
    a grey one does not change.

    Args:
        images: float [B, 3, height, width] in 0..1.
        norm: the Minkowski norm p > 0; 1 is Gray World, 6 the authors' choice, a large one nears max-RGB.

    Returns:
        The same shape and range; what becomes brighter than 1 is cut to 1.
    """
    peak = images.amax(dim=(2, 3), keepdim=True).clamp(min=1e-3)  # a power of values near 1 does not underflow
    light = peak * (images / peak).pow(norm).mean(dim=(2, 3), keepdim=True).pow(1 / norm).clamp(min=1e-3)
    return (images * (light.mean(dim=1, keepdim=True) / light)).clamp(max=1)
