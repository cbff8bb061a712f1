"""Maps of what in a photograph speaks for a class (Grad-CAM, Selvaraju et al. 2017)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.transforms.v2.functional import resize

from dermaline.base.errors import DermalineError
from dermaline.data.photographs import resized
from dermaline.inference.member import Member
from dermaline.models.network import Network

WITHOUT = "{}: its last layer gives no maps, so there is nothing to show"


class NoMaps(DermalineError):
    """A backbone whose last layer keeps no place in the image that we know how to find."""


def grad_cam(network: Network, images: Tensor, classes: Tensor, metadata: Tensor | None = None) -> Tensor:
    """What in each image raises the logit of its class, and what lowers it: the last maps, weighted by their slopes.

    It is not cut at 0, as a figure does: a mean over views, and ranks, want what speaks against the class too.

    Args:
        network: in evaluation mode.
        images: float [N, 3, height, width] in 0..1.
        classes: int64 [N], the class to explain of each.
        metadata: float [N, M], or None.

    Returns:
        float32 [N, height, width]. Their scale is the logits', so maps of one network may be averaged.

    Raises:
        NoMaps: see there.
    """
    kept: list[Tensor] = []
    hook = _last_layer(network).register_forward_hook(lambda _, given, found: kept.append(found))
    try:
        logits = network(images.detach().requires_grad_(), metadata)
    finally:
        hook.remove()
    (maps,) = kept
    if not isinstance(maps, Tensor):  # of several branches
        raise NoMaps(WITHOUT.format(network.backbone))
    (slopes,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), maps)
    maps, slopes = (_in_place(network, values.detach().float()) for values in (maps, slopes))
    heat = (slopes.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True)
    return interpolate(heat, images.shape[2:], mode="bilinear")[:, 0]


def _last_layer(network: Network) -> nn.Module:
    """The layer with the last maps on which the logits depend: the backbone's end.

    A vision transformer that decides by its class token looks at no patch after the last block's attention, so of one
    it is what that attention is given.
    """
    blocks = getattr(network.body, "blocks", None)
    if blocks is not None and getattr(network.body, "global_pool", None) == "token" and hasattr(blocks[-1], "norm1"):
        return blocks[-1].norm1
    return network.attention


def _in_place(network: Network, maps: Tensor) -> Tensor:
    """What the last layer gives as [N, C, rows, columns]."""
    body = network.body
    if maps.ndim == 4:
        return maps.permute(0, 3, 1, 2) if getattr(body, "output_fmt", "NCHW") == "NHWC" else maps
    rows, columns = getattr(getattr(body, "patch_embed", None), "grid_size", None) or (0, 0)
    tokens = maps[:, getattr(body, "num_prefix_tokens", 0) :]
    if maps.ndim != 3 or tokens.shape[1] != rows * columns:
        raise NoMaps(WITHOUT.format(network.backbone))
    return tokens.transpose(1, 2).unflatten(2, (rows, columns))


def explain(member: Member, images: Tensor, classes: Tensor, metadata: Tensor | None) -> Tensor:
    """The map of a prediction: the mean over scales and views, each put back to where in the photograph it looked.

    Args:
        member: the model and its views.
        images: uint8 [N, 3, height, width], whole photographs.
        classes: int64 [N], the class to explain of each.
        metadata: float [N, M], or None.

    Returns:
        float32 [N, h, w] on the CPU, over the whole photograph, of the least size at which the model sees it.
    """
    device = member.fabric.device
    classes, metadata = classes.to(device), None if metadata is None else metadata.to(device)
    size, found = min(scale.size for scale in member.scales), []
    for scale in member.scales:
        pixels = resized(images, scale.size).to(device, torch.float32).div_(255)
        places = torch.arange(pixels[0, 0].numel(), dtype=torch.float32).view(1, 1, *scale.size)
        total, seen = torch.zeros(len(images), places.numel()), torch.zeros(places.numel())
        for view in scale.views:
            at = view(places).flatten().long()  # where in the photograph each pixel of the view is from
            total.index_add_(1, at, grad_cam(member.network, view(pixels), classes, metadata).flatten(1).cpu())
            seen.index_add_(0, at, torch.ones(len(at)))
        whole = (total / seen.clamp(min=1)).view(len(images), 1, *scale.size)
        found.append(resize(whole, list(size), antialias=True)[:, 0])
    return torch.stack(found).mean(dim=0)
