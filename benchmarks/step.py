"""One training step of a recipe's network, with what can be switched off for comparison."""

import torch
from torch.nn.functional import cross_entropy

from dermaline.compute import setup_fabric
from dermaline.models.network import Network
from dermaline.params.recipe import Recipe, read_recipe
from dermaline.training.depthwise import quick_depthwise
from dermaline.training.optimizer import build_optimizer


def quick_recipe(**changes: object) -> Recipe:
    """`lite0`, but in the quickest precision: its own, `portable`, is fp32 on every CPU, and is not for GPUs."""
    return read_recipe("lite0").model_copy(update={"precision": "auto"} | changes)


class Step:
    """Forward, backward and optimizer step on a batch that is already there: what the hardware is to be kept busy with.

    Args:
        recipe: its last phase decides what trains.
        channels_last, quick, compiled: the layout of activations, `quick_depthwise`, `torch.compile`.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        device: str = "auto",
        channels_last: bool = True,
        quick: bool = True,
        compiled: bool = False,
    ) -> None:
        phase = recipe.phases[-1]
        self.fabric, self.quick = setup_fabric(device, recipe.precision), quick
        network = Network(recipe, pretrained=False).to(self.fabric.device)
        if not channels_last:  # the network itself lays its images out so
            forward = network.body.forward_features
            network.body.forward_features = lambda images: forward(images.contiguous())
        network.start_training(first_layer=phase.first_layer if phase.backbone else None)
        if compiled:
            network.compile(dynamic=False)
        self.network, self.model = network, self.fabric.setup_module(network)
        self.optimizer = self.fabric.setup_optimizers(build_optimizer(network, recipe, phase))

    def batch(self, count: int, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Random pixels in 0..1 and labels, on the device."""
        pixels = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(0))
        return pixels.to(self.fabric.device), (torch.arange(count) % 7).to(self.fabric.device)

    def __call__(self, pixels: torch.Tensor, target: torch.Tensor) -> None:
        with quick_depthwise(self.fabric.device if self.quick else torch.device("meta")):
            logits = self.model(pixels)
        self.fabric.backward(cross_entropy(logits.float(), target))
        self.optimizer.step()
        self.optimizer.zero_grad()

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.fabric.device.type == "cuda":
            torch.cuda.synchronize()
