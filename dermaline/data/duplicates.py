"""Near-duplicate photographs under different lesion ids, and the groups that keep them together.

HAM10000 holds pairs of nearly the same photograph whose lesion_ids differ (Abhishek et al., Sci Data 2025,
arXiv 2401.14497). Left apart, such a pair can stand in train and test. Joining two lesions by mistake costs nothing
but a little freedom in the split, so the threshold errs on that side.
"""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor

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
COMPARED = 2**25  # pairs of layouts that a thread has at a time: 128 MiB, twice


def similar_pairs(images: np.ndarray, similarity: float) -> pd.DataFrame:
    """Pairs of images that show the same skin: candidates by colour layout, judged by texture at the best shift.

    Texture is the fine structure with its local contrast made equal everywhere, so that pores and hairs count as
    much as a dark lesion (which would make any two centred moles alike). Shifts are free, other light and colour too;
    a strong zoom or turn is not found. Of each image 2 KB stay in memory; 20 KB, its spectrum, lie in a temporary file.

    Args:
        images: uint8 [N, H, W, 3], a memory map if there are many.
        similarity: the least correlation of textures, 0..1.

    Returns:
        Columns a, b (rows of `images`, a < b) and similarity, the most similar first.
    """
    with tempfile.TemporaryFile() as file, ThreadPoolExecutor(os.cpu_count()) as pool:
        spectra = np.memmap(file, np.complex64, "w+", shape=(len(images), TEXTURE[1], TEXTURE[0] // 2 + 1))
        layout = np.empty((len(images), LAYOUT[0] * LAYOUT[1] * 3), np.float32)

        def enter(part: slice) -> None:
            small = np.stack([_thumbnail(image) for image in images[part]])
            layout[part], spectra[part] = _layouts(small), _texture_spectra(small)

        def compared(part: slice) -> pd.DataFrame:
            a, b = candidates[part].T
            shifted = fft.irfft2(spectra[a] * spectra[b].conj(), s=TEXTURE[::-1])
            return pd.DataFrame({"a": a, "b": b, "similarity": shifted.max(axis=(1, 2))})

        list(pool.map(enter, blocks(len(images), 128)))
        candidates = _candidates(layout, pool)
        pairs = pd.concat(pool.map(compared, blocks(len(candidates), 1024)))
    pairs = pairs[pairs.similarity >= similarity]
    return pairs.sort_values(["similarity", "a", "b"], ascending=[False, True, True], ignore_index=True)


def _thumbnail(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize(TEXTURE, Image.Resampling.BOX), dtype=np.float32)


def _layouts(small: np.ndarray) -> np.ndarray:
    """[N, 12 * 16 * 3] of thumbnails [N, 60, 80, 3]: the means of 5x5 pixels."""
    (width, height), side = LAYOUT, TEXTURE[0] // LAYOUT[0]
    means = small.reshape(len(small), height, side, width, side, 3).mean(axis=(2, 4))
    return _unit(means.reshape(len(small), -1))


def _unit(rows: np.ndarray) -> np.ndarray:
    """Each row without its mean and of length 1, so that a product of two is their correlation."""
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def _texture_spectra(small: np.ndarray) -> np.ndarray:
    grey = small.mean(axis=3)
    fine = grey - gaussian_filter(grey, (0, 3, 3))
    fine /= np.sqrt(gaussian_filter(fine**2, (0, 4, 4))) + 1  # + 1 grey level: what is flat stays flat
    fine = gaussian_filter(fine, (0, 0.7, 0.7))
    window = np.sqrt(np.outer(np.hanning(TEXTURE[1]), np.hanning(TEXTURE[0])))  # no edges where shifts wrap around
    return fft.rfft2(_unit((fine * window).reshape(len(fine), -1)).reshape(fine.shape).astype(np.float32))


def _candidates(layout: np.ndarray, pool: ThreadPoolExecutor) -> np.ndarray:
    """The pairs [M, 2], a < b, in which one is among the `CANDIDATES` images most like the other."""
    count = min(CANDIDATES, len(layout) - 1)

    def nearest(part: slice) -> np.ndarray:
        unlike = -layout[part] @ layout.T
        rows = np.arange(len(unlike))
        unlike[rows, rows + part.start] = np.inf
        found = np.argpartition(unlike, count - 1, axis=1)[:, :count]
        return np.stack([np.repeat(rows + part.start, count), found.ravel()], axis=1)

    found = pool.map(nearest, blocks(len(layout), max(1, COMPARED // len(layout))))
    return np.unique(np.sort(np.concatenate(list(found)), axis=1), axis=0)


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
