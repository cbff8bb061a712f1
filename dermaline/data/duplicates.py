"""Near-duplicate photographs under different lesion ids, and the groups that keep them together.

HAM10000 holds pairs of nearly the same photograph whose lesion_ids differ (Abhishek et al., Sci Data 2025,
arXiv 2401.14497). Left apart, such a pair can stand in train and test. Joining two lesions by mistake costs nothing
but a little freedom in the split, so the threshold errs on that side.
"""

import numpy as np
import pandas as pd
from PIL import Image
from scipy import fft
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dermaline.blocks import blocks

TEXTURE = (80, 60)  # width, height at which texture is compared
LAYOUT = (16, 12)  # width, height at which candidates are sought
CANDIDATES = 20  # images most like each one by layout


def similar_pairs(images: np.ndarray, similarity: float) -> pd.DataFrame:
    """Pairs of images that show the same skin: candidates by colour layout, judged by texture at the best shift.

    Texture is the fine structure with its local contrast made equal everywhere, so that pores and hairs count as
    much as a dark lesion (which would make any two centred moles alike). Shifts are free, other light and colour too;
    a strong zoom or turn is not found.

    Args:
        images: uint8 [N, H, W, 3].
        similarity: the least correlation of textures, 0..1.

    Returns:
        Columns a, b (rows of `images`, a < b) and similarity, the most similar first.
    """
    layout = _unit(np.stack([_thumbnail(image, LAYOUT).ravel() for image in images]))
    spectra = np.concatenate([_texture_spectra(images[part]) for part in blocks(len(images), 512)])
    candidates = _candidates(layout)
    found = []
    for part in blocks(len(candidates), 2048):
        a, b = candidates[part].T
        shifted = fft.irfft2(spectra[a] * spectra[b].conj(), s=TEXTURE[::-1])
        found.append(pd.DataFrame({"a": a, "b": b, "similarity": shifted.max(axis=(1, 2))}))
    pairs = pd.concat(found)
    pairs = pairs[pairs.similarity >= similarity]
    return pairs.sort_values(["similarity", "a", "b"], ascending=[False, True, True], ignore_index=True)


def _thumbnail(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX), dtype=np.float32)


def _unit(rows: np.ndarray) -> np.ndarray:
    """Each row without its mean and of length 1, so that a product of two is their correlation."""
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def _texture_spectra(images: np.ndarray) -> np.ndarray:
    grey = np.stack([_thumbnail(image, TEXTURE).mean(axis=2) for image in images])
    fine = grey - gaussian_filter(grey, (0, 3, 3))
    fine /= np.sqrt(gaussian_filter(fine**2, (0, 4, 4))) + 1  # + 1 grey level: what is flat stays flat
    fine = gaussian_filter(fine, (0, 0.7, 0.7))
    window = np.sqrt(np.outer(np.hanning(TEXTURE[1]), np.hanning(TEXTURE[0])))  # no edges where shifts wrap around
    return fft.rfft2(_unit((fine * window).reshape(len(fine), -1)).reshape(fine.shape).astype(np.float32))


def _candidates(layout: np.ndarray) -> np.ndarray:
    """The pairs [M, 2], a < b, in which one is among the `CANDIDATES` images most like the other."""
    count = min(CANDIDATES, len(layout) - 1)
    found = []
    for part in blocks(len(layout), 1024):
        alike = layout[part] @ layout.T
        rows = np.arange(len(alike))
        alike[rows, rows + part.start] = -np.inf
        nearest = np.argpartition(-alike, count - 1, axis=1)[:, :count]
        found.append(np.stack([np.repeat(rows + part.start, count), nearest.ravel()], axis=1))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def groups(lesion_ids: pd.Series, pairs: pd.DataFrame) -> pd.Series:
    """Join lesions that share a near-duplicate: each image's group is the first lesion_id of its joined lesions.

    Args:
        lesion_ids: one an image, in row order.
        pairs: columns a and b, rows that show the same lesion.
    """
    codes, names = pd.factorize(lesion_ids, sort=True)
    edges = (codes[pairs.a.to_numpy()], codes[pairs.b.to_numpy()])
    links = coo_array((np.ones(len(pairs)), edges), shape=(len(names), len(names)))
    _, component = connected_components(links, directed=False)
    first = pd.Series(names).groupby(component).transform("first")
    return pd.Series(first.to_numpy()[codes], index=lesion_ids.index)
