"""Whether maps can be believed: where they lie, whether they need what was learned, whether what they mark decides."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from scipy.stats import rankdata
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.v2.functional import resize

from dermaline.blocks import blocks
from dermaline.explaining.grad_cam import explain
from dermaline.inference.member import Member
from dermaline.models.network import Network

Maps = NDArray[np.float32]  # [N, height, width]
AT_ONCE = 16  # images
STEPS = 8  # in which pixels are taken away
NOISE = (6, 8)  # rows and columns of the noise that a random map is made of
FEWEST_LESIONS = 10
ALIKE = 0.5  # rank correlation from which a map is called like one of a network that learned nothing

CHECKS = ("inside", "pointing", "random_weights", "deletion", "insertion")


def measure(
    member: Member, untaught: Network, images: Tensor, classes: Tensor, metadata: Tensor, masks: NDArray, seed: int
) -> pd.DataFrame:
    """What is measured of the maps of some images, a row each and a column for each of `CHECKS`.

    Args:
        member: the model.
        untaught: the same network with random weights (the test of Adebayo et al. 2018).
        images, classes, metadata: as for `grad_cam.explain`.
        masks: of the lesions, [N, height, width] of any size, not 0 inside; nothing where it is not known, and then
            `inside` and `pointing` are NaN.
        seed: of the random maps.
    """
    maps = in_parts(member, images, classes, metadata)
    lesion = resize(torch.from_numpy(masks).float()[:, None], list(maps.shape[1:]), antialias=True)[:, 0].numpy() >= 0.5
    known = lesion.any((1, 2))

    def probability(photographs: Tensor) -> NDArray[np.float64]:
        return member(photographs, metadata)[np.arange(len(classes)), classes]

    (deleted, inserted), (by_chance, won_by_chance) = (
        deletion_and_insertion(images, some, probability)
        for some in (maps, random_maps(len(maps), maps.shape[1:], seed))
    )
    without = in_parts(member._replace(network=untaught), images, classes, metadata)
    return pd.DataFrame({
        "inside": np.where(known, inside(maps.clip(0), lesion), np.nan),
        "pointing": np.where(known, pointing(maps, lesion), np.nan),
        "random_weights": np.abs(rank_correlation(maps, without)),  # what is upside down is alike too
        "deletion": by_chance - deleted,
        "insertion": inserted - won_by_chance,
    })  # fmt: skip


def in_parts(member: Member, images: Tensor, classes: Tensor, metadata: Tensor) -> Maps:
    """`grad_cam.explain` of a few images at a time, for gradients take memory."""
    parts = [explain(member, images[part], classes[part], metadata[part]) for part in blocks(len(images), AT_ONCE)]
    return torch.cat(parts).numpy()


def inside(maps: Maps, masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The share of each map's mass that is inside the lesion, less the share of the image that the lesion takes, [N].

    A map that is 0 everywhere marks nothing: it counts as even.
    """
    area, mass = masks.mean((1, 2)), maps.sum((1, 2), dtype=float)
    within = np.where(masks, maps, 0).sum((1, 2), dtype=float)
    return np.divide(within, mass, out=area.copy(), where=mass > 0) - area


def pointing(maps: Maps, masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Whether the map's maximum is inside the lesion, less the share of the image that the lesion takes, [N].

    That share is how often a random point would be (the pointing game, Zhang et al. 2018, against chance). Of equal
    maxima, each counts a part.
    """
    highest = maps == maps.max((1, 2), keepdims=True)
    return (highest & masks).sum((1, 2)) / highest.sum((1, 2)) - masks.mean((1, 2))


def rank_correlation(first: Maps, second: Maps) -> NDArray[np.float64]:
    """Spearman's rank correlation of each pair of maps, [N]; 0 where one of them is the same everywhere."""
    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (first, second)]
    centred = [rank - rank.mean(axis=1, keepdims=True) for rank in ranks]
    norms = np.prod([np.sqrt((rank**2).sum(axis=1)) for rank in centred], axis=0)
    return np.divide((centred[0] * centred[1]).sum(axis=1), norms, out=np.zeros(len(norms)), where=norms > 0)


def random_maps(count: int, size: tuple[int, int], seed: int) -> Maps:
    """Smooth noise, as coarse as what networks give: what a map is to be better than."""
    noise = torch.rand(count, 1, *NOISE, generator=torch.Generator().manual_seed(seed))
    return interpolate(noise, size, mode="bilinear")[:, 0].numpy()


def deletion_and_insertion(
    images: Tensor, maps: Maps, probability: Callable[[Tensor], NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The areas under the curves of deletion and of insertion (Petsiuk et al. 2018), each [N] in 0..1.

    From the map's largest values on, pixels are replaced by the photograph's mean colour, or put back into it. A map
    that marks what decides has a small first area and a large second one.

    Args:
        images: uint8 [N, 3, H, W].
        maps: of any size.
        probability: of photographs like `images` the probability of what is explained, [N].
    """
    ranks = torch.from_numpy(rankdata(-maps.reshape(len(maps), -1), axis=1, method="ordinal").reshape(maps.shape))
    share = interpolate(ranks[:, None].float() / ranks[0].numel(), images.shape[2:])
    empty = images.float().mean((2, 3), keepdim=True).round().to(torch.uint8).expand_as(images)
    curves: list[list[NDArray[np.float64]]] = [[], []]
    for step in range(STEPS + 1):
        marked = share <= step / STEPS
        curves[0].append(probability(torch.where(marked, empty, images)))
        curves[1].append(probability(torch.where(marked, images, empty)))
    deleted, inserted = (np.trapezoid(np.array(curve), dx=1 / STEPS, axis=0) for curve in curves)
    return deleted, inserted


def summary(table: pd.DataFrame) -> dict[str, dict[str, float | bool]]:
    """The mean of each of `CHECKS`, a lesion counted once, with its 95 % interval (Student's t), and whether it passed.

    Args:
        table: `CHECKS` of some images, NaN where one was not measured, and `group`, a label of the lesion.

    Returns:
        By check `value`, `low`, `high`, `passed`: whether all of the interval is over 0; of `random_weights`, a
        correlation that is to be small, under `ALIKE`. A check of fewer than `FEWEST_LESIONS` is left out.
    """
    lesions, found = table.groupby("group")[list(CHECKS)].mean(), {}
    for name in CHECKS:
        values = lesions[name].dropna()
        if len(values) < FEWEST_LESIONS:
            continue
        mean, half = float(values.mean()), float(stdtrit(len(values) - 1, 0.975) * values.sem())
        low, high = mean - half, mean + half
        passed = high < ALIKE if name == "random_weights" else low > 0
        found[name] = {"value": mean, "low": low, "high": high, "passed": passed}
    return found
