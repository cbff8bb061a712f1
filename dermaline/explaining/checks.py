"""Whether maps can be believed: where they lie, whether they need what was learned, whether what they mark decides."""

from collections.abc import Callable, Sequence

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
from dermaline.explaining.words import WORDS
from dermaline.inference.member import Member
from dermaline.models.network import Network
from dermaline.params.recipe import Recipe

Maps = NDArray[np.float32]  # [N, height, width]
AT_ONCE = 16  # images
UNTAUGHT = 3  # networks with random weights
STEPS = 6  # in which pixels are taken away
FEWEST_LESIONS = 20
ALIKE = 0.5  # rank correlation from which a map is called like one of a network that learned nothing

CHECKS = tuple(WORDS)


def measure(
    member: Member,
    without: Sequence[Network],
    images: Tensor,
    classes: Tensor,
    metadata: Tensor,
    masks: NDArray,
    group: NDArray,
) -> pd.DataFrame:
    """What is measured of the maps of some images: of each check a column for their own maps, and one to compare with.

    Lesions are in the middle of photographs, so any map of the middle finds them, and finds what decides. So a map is
    compared with those of other images, which lie where maps of this network lie.

    Args:
        member: the model.
        without: the same network with random weights, several times (the test of Adebayo et al. 2018).
        images, classes, metadata: as for `grad_cam.explain`.
        masks: of the lesions, [N, height, width] of any size, not 0 inside; nothing where it is not known, and then
            `inside` and `pointing` are NaN.
        group: [N] labels of the images' lesions.

    Returns:
        A row an image: `group`; `NAME` and `NAME_other` of each of `CHECKS` (`random_weights` alone, without another);
        `area`, the share of the image that the lesion takes.
    """
    maps = in_parts(member, images, classes, metadata)
    lesion = resize(torch.from_numpy(masks).float()[:, None], list(maps.shape[1:]), antialias=True)[:, 0].numpy() >= 0.5

    def probability(photographs: Tensor) -> NDArray[np.float64]:
        return member(photographs, metadata)[np.arange(len(classes)), classes]

    table = pd.DataFrame({"group": group, "area": lesion.mean((1, 2))})
    for end, some in (("", maps), ("_other", maps[of_others(group)])):
        table[f"inside{end}"], table[f"pointing{end}"] = inside(some, lesion), pointing(some, lesion)
        table[f"deletion{end}"], table[f"insertion{end}"] = deletion_and_insertion(images, some, probability)
    table.loc[~lesion.any((1, 2)), ["area", "inside", "inside_other", "pointing", "pointing_other"]] = np.nan
    blind = [in_parts(member._replace(network=one), images, classes, metadata) for one in without]
    alike = [np.abs(rank_correlation(maps, other)) for other in blind]  # what is upside down is alike too
    return table.assign(random_weights=np.mean(alike, axis=0))


def untaught(recipe: Recipe, seed: int, device: torch.device) -> list[Network]:
    """A recipe's network with random weights, several times."""
    torch.manual_seed(seed)
    return [Network(recipe, pretrained=False).eval().to(device) for _ in range(UNTAUGHT)]


def of_others(group: NDArray) -> NDArray[np.int64]:
    """For each image another one, of another lesion: the next such, in a circle."""
    ahead = (np.arange(len(group)) + 1) % len(group)
    while len(set(group)) > 1 and (same := group[ahead] == group).any():
        ahead = np.where(same, (ahead + 1) % len(group), ahead)
    return ahead


def in_parts(member: Member, images: Tensor, classes: Tensor, metadata: Tensor) -> Maps:
    """`grad_cam.explain` of a few images at a time, for gradients take memory."""
    parts = [explain(member, images[part], classes[part], metadata[part]) for part in blocks(len(images), AT_ONCE)]
    return torch.cat(parts).numpy()


def inside(maps: Maps, masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The share of what is over 0 in each map that is inside the lesion, [N].

    A map without anything over 0 marks nothing: it counts as even.
    """
    maps = maps.clip(0)
    mass = maps.sum((1, 2), dtype=float)
    return np.divide(np.where(masks, maps, 0).sum((1, 2), dtype=float), mass, out=masks.mean((1, 2)), where=mass > 0)


def pointing(maps: Maps, masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Whether each map's maximum is inside the lesion (the pointing game, Zhang et al. 2018), [N].

    Of equal maxima, each counts a part.
    """
    highest = maps == maps.max((1, 2), keepdims=True)
    return (highest & masks).sum((1, 2)) / highest.sum((1, 2))


def rank_correlation(first: Maps, second: Maps) -> NDArray[np.float64]:
    """Spearman's rank correlation of each pair of maps, [N]; 0 where one of them is the same everywhere."""
    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (first, second)]
    centred = [rank - rank.mean(axis=1, keepdims=True) for rank in ranks]
    norms = np.prod([np.sqrt((rank**2).sum(axis=1)) for rank in centred], axis=0)
    return np.divide((centred[0] * centred[1]).sum(axis=1), norms, out=np.zeros(len(norms)), where=norms > 0)


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
    marked = [share <= step / STEPS for step in range(1, STEPS)]
    ends = [probability(images), probability(empty)]
    deletion = [ends[0], *(probability(torch.where(some, empty, images)) for some in marked), ends[1]]
    insertion = [ends[1], *(probability(torch.where(some, images, empty)) for some in marked), ends[0]]
    deleted, inserted = (np.trapezoid(np.array(curve), dx=1 / STEPS, axis=0) for curve in (deletion, insertion))
    return deleted, inserted


def summary(table: pd.DataFrame) -> dict[str, dict[str, float | bool]]:
    """The means of each of `CHECKS`, a lesion counted once, and whether it has passed.

    Args:
        table: of `measure`.

    Returns:
        By check `own` and `other` (and of those that look at the lesion, `area`), their difference `value` with its
        95 % interval (Student's t) `low` and `high`, positive where the own map is better, and `passed`, whether all of
        it is over 0. Of `random_weights` the correlation itself is `value`, which has passed where all of its interval
        is under `ALIKE`. A check of fewer than `FEWEST_LESIONS` is left out.
    """
    lesions, found = table.groupby("group").mean(), {}
    for name in CHECKS:
        known = lesions[lesions[name].notna()]
        if len(known) < FEWEST_LESIONS:
            continue
        told = {"own": name, "other": f"{name}_other"} | ({"area": "area"} if name in ("inside", "pointing") else {})
        if name == "random_weights":
            told, values = {}, known[name]
        else:
            values = (known[name] - known[f"{name}_other"]) * (-1 if name == "deletion" else 1)
        mean, half = float(values.mean()), float(stdtrit(len(values) - 1, 0.975) * values.sem())
        passed = mean + half < ALIKE if name == "random_weights" else mean - half > 0
        means = {key: float(known[column].mean()) for key, column in told.items()}
        found[name] = {**means, "value": mean, "low": mean - half, "high": mean + half, "passed": passed}
    return found
