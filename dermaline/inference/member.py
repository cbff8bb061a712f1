"""One trained model, ready for images: what the predict stage, the command `predict` and the benchmarks apply."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from dermaline.base.parameters import Size
from dermaline.compute import setup_fabric
from dermaline.data.photographs import resized
from dermaline.inference import views
from dermaline.inference.predict import probabilities
from dermaline.models import model_io
from dermaline.models.network import Network, input_size
from dermaline.params.predict import Predict
from dermaline.params.recipe import Recipe


class Member(NamedTuple):
    """One model, loaded, and how it is applied."""

    network: Network
    recipe: Recipe
    fabric: Fabric
    scales: Sequence[views.Scale]
    options: Predict  # which `scales` are the views of

    @property
    def size(self) -> Size:
        """The largest height and width at which photographs are looked at."""
        return max(scale.size for scale in self.scales)

    @property
    def views(self) -> int:
        """How many views of a photograph it predicts from."""
        return sum(len(scale.views) for scale in self.scales)

    def __call__(self, images: Tensor, metadata: Tensor | None) -> NDArray[np.float64]:
        """Raw probabilities, float64 [N, 7].

        Args:
            images: uint8 [N, 3, height, width], whole photographs; resized for each scale as `load_images` does.
            metadata: float [N, M] as `data.metadata.encode` makes it, or None when nothing is known.
        """
        found = [
            probabilities(self.network, resized(images, scale.size), self.fabric, metadata=metadata, views=scale.views)
            for scale in self.scales
        ]
        return torch.stack(found).mean(dim=0).numpy().astype(np.float64)


def load_member(folder: Path, device: str, options: Predict, *, portable: bool = True) -> Member:
    """Load a model folder onto a device; to be called before anything is computed, see `compute.setup_fabric`.

    Args:
        folder: as `models.model_io.save` writes it.
        device: see `compute.setup_fabric`.
        options: the views.
        portable: whether a recipe's precision of that name holds; else its fp32 is computed on all cores, or a GPU.

    Raises:
        DermalineError: the folder, the device, or the test-time augmentation does not do.
    """
    precision = model_io.recipe(folder).precision
    fabric = setup_fabric(device, precision if portable or precision != "portable" else "32-true")
    network, recipe = model_io.load_to_predict(folder)
    network.to(fabric.device)
    tta = views.tta_views(options.tta, network, input_size(recipe))
    return Member(network, recipe, fabric, views.scales(recipe, options, tta), options)
