"""One trained model, ready for images: what the predict stage, the command `predict` and the benchmarks apply."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from dermaline.base.parameters import Size
from dermaline.compute import setup_fabric
from dermaline.inference import views
from dermaline.inference.predict import View, probabilities
from dermaline.models import model_io
from dermaline.models.network import Network, input_size


class Member(NamedTuple):
    """One model, loaded, and how it is applied."""

    network: Network
    device: Fabric
    size: Size  # of the network's input
    tta: str
    views: Sequence[View]

    def __call__(self, images: Tensor, metadata: Tensor | None) -> NDArray[np.float64]:
        """Raw probabilities, float64 [N, 7].

        Args:
            images: uint8 [N, 3, height, width]; of another size than `size` they are resized as `load_images` does.
            metadata: float [N, M] as `data.metadata.encode` makes it, or None when nothing is known.
        """
        if images.shape[2:] != self.size:
            images = resize(images, list(self.size), antialias=True)
        found = probabilities(self.network, images, self.device, metadata=metadata, views=self.views)
        return found.numpy().astype(np.float64)


def load_member(folder: Path, device: str, tta: str, *, portable: bool = True) -> Member:
    """Load a model folder onto a device; to be called before anything is computed, see `compute.setup_fabric`.

    Args:
        folder: as `models.model_io.save` writes it.
        device: see `compute.setup_fabric`.
        tta: a key of `views.VIEWS`.
        portable: whether a recipe's precision of that name holds; else its fp32 is computed on all cores, or a GPU.

    Raises:
        DermalineError: the folder, the device, or the test-time augmentation does not do.
    """
    precision = model_io.recipe(folder).precision
    where = setup_fabric(device, precision if portable or precision != "portable" else "32-true")
    network, recipe = model_io.load(folder)
    network.to(where.device)
    size = input_size(recipe)
    return Member(network, where, size, tta, views.tta_views(tta, network, size))
