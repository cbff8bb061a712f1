"""How well outlines agree with those that are known."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree
from skimage.filters import threshold_otsu

from dermaline.base.classes import CLASSES
from dermaline.evaluation import rates

Mask = NDArray[np.bool_]  # [height, width], True inside the lesion
SCORES = ("jaccard", "thresholded_jaccard", "dice", "boundary_distance")
LEAST = 0.65  # below it, ISIC 2018's Task 1 counts a Jaccard index as 0
THRESHOLDS = ("otsu_blue", "otsu_saturation")


def agreement(found: Mask, known: Mask) -> dict[str, float]:
    """The scores of one outline, by the names of `SCORES`.

    `jaccard` and `dice` are 1 where both are empty. `boundary_distance` is the mean distance of the pixels of either
    boundary to the other boundary, as a share of the image's diagonal; 1 where one of the two is empty.
    """
    overlap = jaccard(found, known)
    return {
        "jaccard": overlap,
        "thresholded_jaccard": overlap if overlap >= LEAST else 0.0,
        "dice": 2 * overlap / (1 + overlap),
        "boundary_distance": boundary_distance(found, known),
    }


def jaccard(found: Mask, known: Mask) -> float:
    """The share of what is inside either that is inside both; 1 where both are empty."""
    either = (found | known).sum()
    return float((found & known).sum() / either) if either else 1.0


def boundary_distance(found: Mask, known: Mask) -> float:
    """See `agreement`; the average symmetric surface distance (Heimann et al. 2009)."""
    ends = [np.argwhere(mask & ~binary_erosion(mask)) for mask in (found, known)]
    if not all(map(len, ends)):
        return float(len(ends[0]) != len(ends[1]))
    one, other = ends
    total = cKDTree(other).query(one)[0].sum() + cKDTree(one).query(other)[0].sum()
    return float(total / (len(one) + len(other)) / np.hypot(*found.shape))


def by_threshold(image: NDArray[np.uint8]) -> dict[str, Mask]:
    """Outlines of a photograph, uint8 [H, W, 3], without a network: by Otsu's threshold of one channel.

    A lesion is darker in blue, and more saturated.
    """
    blue, saturation = image[..., 2], np.asarray(Image.fromarray(image).convert("HSV"))[..., 1]
    return dict(zip(THRESHOLDS, (blue <= threshold_otsu(blue), saturation > threshold_otsu(saturation)), strict=True))


def mean(values: pd.Series, group: pd.Series) -> dict[str, float]:
    """The mean over images as `value`, and its 95 % interval over lesions, `low` and `high`, if there are two."""
    low, high = rates.of_clusters(values.to_numpy(), pd.factorize(group)[0])
    ends = {"low": float(low), "high": float(high)} if np.isfinite(low) else {}
    return {"value": float(values.mean()), **ends}


def summary(table: pd.DataFrame) -> dict[str, Any]:
    """The `mean` of each of `SCORES`, and how many images and lesions they are of.

    Args:
        table: `group`, and `SCORES`.
    """
    counts = {"images": len(table), "lesions": int(table["group"].nunique())}
    return counts | {name: mean(table[name], table["group"]) for name in SCORES}


def report(val: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
    """All that is told of the outlines.

    Args:
        val, test: `dx`, `group`, `SCORES`, and the Jaccard index of each of `THRESHOLDS`.

    Returns:
        `val` and `test`, a `summary` each; `by_class`, of those diagnoses of the test that have `rates.FEWEST_LESIONS`;
        `thresholds`, the test's mean Jaccard index of each; `better`, by how much ours is better than that threshold
        which is the best on val.
    """
    parts = {dx: test[test["dx"] == dx] for dx in CLASSES}
    plain = max(THRESHOLDS, key=lambda name: val[name].mean())
    return {
        "val": summary(val),
        "test": summary(test),
        "by_class": {dx: summary(own) for dx, own in parts.items() if own["group"].nunique() >= rates.FEWEST_LESIONS},
        "thresholds": {name: mean(test[name], test["group"]) for name in THRESHOLDS},
        "better": {"than": plain, **mean(test["jaccard"] - test[plain], test["group"])},
    }
