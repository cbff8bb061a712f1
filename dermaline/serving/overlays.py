"""Pictures to lay over a photograph: where a network looked, and the lesion's outline."""

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation
from skimage.segmentation import find_boundaries
from torch import Tensor

from dermaline.base.errors import DermalineError
from dermaline.base.parameters import Size
from dermaline.blocks import blocks
from dermaline.data.photographs import resized
from dermaline.explaining.grad_cam import explain
from dermaline.inference.member import Member
from dermaline.segmentation import network
from dermaline.segmentation.outlines import inside, probabilities
from dermaline.segmentation.scores import Mask

AT_ONCE = 4  # photographs of one backward pass: of a large network's activations, few fit into a small memory


class Outliner(NamedTuple):
    """Networks that outline a lesion, ready for photographs that none of them has seen."""

    networks: Sequence[network.UNet]
    size: Size
    fabric: Fabric

    def __call__(self, images: Tensor) -> list[Mask]:
        """Which pixels of each of uint8 [N, 3, height, width] are inside the lesion."""
        found = probabilities(self.networks, resized(images, self.size), self.fabric)
        return [inside(one, tuple(images.shape[2:])) for one in found]


def load_outliner(folder: Path, device: str) -> Outliner | None:
    """The networks of a folder; None where there is no such folder, or none was trained (a source without outlines).

    None also where they can't be loaded, as those of an older version, which is said on stderr: all else works.
    """
    if not folder.exists():
        return None
    try:
        options, networks, fabric = network.load(folder, device, portable=False)
    except DermalineError as problem:
        print(f"note: explanations have no outlines: {problem}", file=sys.stderr)
        return None
    return Outliner(networks, options.size, fabric) if networks else None


def strengths(
    members: Sequence[Member], images: Sequence[Tensor], classes: Tensor, metadata: Tensor
) -> NDArray[np.float32]:
    """What speaks for a class, float32 [N, h, w] in 0..1: the mean over networks, each map to its own maximum.

    Args:
        members: the networks.
        images: for each network, uint8 [N, 3, height, width].
        classes: int64 [N].
        metadata: float [N, M] as `data.metadata.encode` makes it.

    Raises:
        NoMaps: of one of the networks there are none.
    """
    found, size = [], min(min(scale.size for scale in member.scales) for member in members)
    for member, some in zip(members, images, strict=True):
        parts = [explain(member, some[part], classes[part], metadata[part]) for part in blocks(len(classes), AT_ONCE)]
        heat = resized(torch.cat(parts)[:, None], size)[:, 0].clamp(min=0)
        found.append(heat / heat.amax((1, 2), keepdim=True).clamp(min=1e-12))
    return torch.stack(found).mean(dim=0).numpy()


def coloured(strength: NDArray[np.float32]) -> Image.Image:
    """A map [h, w] in 0..1 as `figures.explanations` draws it: the more there is, the brighter and the less clear."""
    pixels = matplotlib.colormaps["inferno"](strength, bytes=True)
    pixels[..., 3] = (255 * 0.75 * np.sqrt(strength)).round()
    return Image.fromarray(pixels)


def outline(mask: Mask) -> Image.Image:
    """The border of a mask [H, W]: white, within black, so that it is seen on any skin."""
    line = find_boundaries(mask, mode="thick")
    around = binary_dilation(line, iterations=2)
    pixels = np.zeros((*mask.shape, 4), np.uint8)
    pixels[around] = (0, 0, 0, 160)
    pixels[line] = 255
    return Image.fromarray(pixels)


def encoded(image: Image.Image, form: str) -> bytes:
    file = io.BytesIO()
    image.save(file, form, quality=90)
    return file.getvalue()
