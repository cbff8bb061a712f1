"""The network that outlines a lesion: a U-Net on a timm backbone, with its pretrained weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
from lightning_fabric import Fabric
from safetensors.torch import save_file
from torch import Tensor, nn

from dermaline.base.errors import DermalineError
from dermaline.base.files import read_json, replacing, write_json
from dermaline.compute import setup_fabric
from dermaline.models.folding import folded
from dermaline.models.normalise import Normalise
from dermaline.models.weights import load_pretrained, read_tensors
from dermaline.params.segment import Segment

FACTS = "segmentation.json"


class UNet(nn.Module):
    """Photographs to the logit of each pixel's being inside the lesion (Ronneberger et al. 2015)."""

    def __init__(self, options: Segment, *, pretrained: bool) -> None:
        """Build it, with the backbone's pretrained weights or (to load trained ones) without.

        Raises:
            DermalineError: timm or the U-Net does not have the backbone, or its weights can't be had.
        """
        super().__init__()
        backbone = options.backbone
        if not timm.is_model(backbone):
            raise DermalineError(f"params.yaml: segment.backbone: timm has no '{backbone}'; try tf_efficientnet_lite0")
        try:
            self.layers = smp.Unet(f"tu-{backbone}", encoder_weights=None)
        except (ValueError, RuntimeError, TypeError, AssertionError) as problem:  # of a backbone without stages
            raise DermalineError(
                f"params.yaml: segment.backbone: no U-Net of {backbone} ({problem}); try tf_efficientnet_lite0"
            ) from None
        body = timm.create_model(backbone, num_classes=0)
        if pretrained:
            load_pretrained(body, backbone, options.weights, {"num_classes": 0})
            missing, _ = self.layers.encoder.model.load_state_dict(body.state_dict(), strict=False)
            if missing:
                what = f"its weights do not fit a U-Net ('{missing[0]}' is missing)"
                raise DermalineError(f"params.yaml: segment.backbone: {backbone}: {what}; try tf_efficientnet_lite0")
        self.normalise = Normalise(body.pretrained_cfg)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, height, width] of float images [B, 3, height, width] in 0..1, sides multiples of 32."""
        return self.layers(self.normalise(images))[:, 0]


def save(folder: Path, networks: Sequence[dict[str, Tensor]], options: Segment, facts: dict[str, Any]) -> None:
    """Write a folder whole: `fold_0.safetensors` and so on, and `segmentation.json` with the options and `facts`."""
    with replacing(folder) as partial:
        partial.mkdir(parents=True)
        for number, weights in enumerate(networks):
            save_file({key: value.contiguous() for key, value in weights.items()}, partial / _name(number))
        facts = {"segment": options.model_dump(mode="json"), "networks": len(networks), **facts}
        write_json(partial / FACTS, facts, exact=True)


def load(folder: Path, device: str, *, portable: bool = True) -> tuple[Segment, list[UNet], Fabric]:
    """The options of such a folder, its networks on a device in evaluation mode, and what they are computed with.

    To be called before anything is computed, as `load_member`, for arguments see there.

    Raises:
        DermalineError: a file is missing or broken, or of another network; or the device is not there.
    """
    try:
        known = read_json(folder / FACTS)
        options, networks = Segment.model_validate(known["segment"]), []
        precision = options.precision
        fabric = setup_fabric(device, precision if portable or precision != "portable" else "32-true")
        for number in range(known["networks"]):
            network = UNet(options, pretrained=False).eval()
            network.load_state_dict(read_tensors(folder / _name(number)))
            networks.append(folded(network, options.size))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise DermalineError(f"{folder}: no trained U-Nets ({reason}); run the segment stage") from None
    return options, [one.to(fabric.device) for one in networks], fabric


def _name(number: int) -> str:
    return f"fold_{number}.safetensors"
