"""Near-duplicate photographs under different lesion ids.

HAM10000 holds pairs of nearly the same photograph whose lesion_ids differ (Abhishek et al., Sci Data 2025,
arXiv 2401.14497). Left apart, such a pair can stand in train and test. Which pairs these are was found by looking, once
and for good (`ham10000.py`); among other images they are searched for, on thumbnails of the search's own, so that
neither `prepare.size` nor a copy's size decides.
"""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import fft
from scipy.ndimage import gaussian_filter

from dermaline.blocks import blocks
from dermaline.data import ham10000
from dermaline.data.decode import decode
from dermaline.data.pack import pack
from dermaline.params.prepare import Prepare
from dermaline.sources.archive import RawZip

VIEWED = (240, 320)  # height, width at which a photograph is decoded for the search
TEXTURE = (60, 80)  # of its thumbnail, on which texture is compared
LAYOUT = (12, 16)  # at which candidates are sought by colour
SPECTRUM = (20, 32)  # the lowest frequencies, down and across, by which they are sought whatever the shift
CANDIDATES = 20  # images most like each one, by either
COMPARED = 2**25  # pairs that a thread has at a time: 128 MiB, twice
IDENTICAL = 0.95  # similarity from which even two diagnoses are one lesion


def near_duplicates(source: RawZip, table: pd.DataFrame, options: Prepare) -> pd.DataFrame:
    """Pairs of images under two lesion ids that show one lesion.

    Two images of HAM10000 (by image and lesion id) are such a pair if its list says so. Others are by their similarity
    alone from `duplicate_similarity` on, and from `duplicate_similarity_same_facts` on if `same_facts`; two diagnoses
    are joined only if nearly identical. The thresholds were set on HAM10000 (`python -m benchmarks.twins`): from 0.85
    on all 4 pairs are true, against none with mirrored photographs; from 0.7 on 805 pairs against 759 mirrored ones
    say nothing, but of the 23 with the same facts 17 are true (7 mirrored ones have the same).

    Args:
        source: the photographs; all of `table` can be decoded.
        table: image_id, lesion_id, dx, age, sex and localization.

    Returns:
        Columns a, b (rows of `table`, a < b) and similarity (NaN for a pair of the list), the most similar first.
    """
    known = (table.image_id.map(ham10000.has) & table.lesion_id.str.fullmatch(ham10000.LESION)).to_numpy(bool)
    listed = ham10000.pairs(table.image_id.where(known, ""))
    if known.all():
        return listed
    least = min(options.duplicate_similarity, options.duplicate_similarity_same_facts)
    pairs = similar_pairs(thumbnails(source, list(table.image_id), options.max_megapixels), least)
    a, b = (table.iloc[pairs[side]].reset_index(drop=True) for side in ("a", "b"))
    wanted = np.where(same_facts(a, b), options.duplicate_similarity_same_facts, options.duplicate_similarity)
    wanted = np.where(a.dx == b.dx, wanted, np.maximum(wanted, IDENTICAL))
    searched = ~(known[pairs.a] & known[pairs.b]) & (a.lesion_id != b.lesion_id)
    return pd.concat([listed, pairs[searched & (pairs.similarity >= wanted)]], ignore_index=True)


def same_facts(a: pd.DataFrame, b: pd.DataFrame) -> pd.Series:
    """Whether diagnosis, age and sex are known and agree, row by row, and the place is the same or missing in both."""
    place = (a.localization == b.localization) | (a.localization.isna() & b.localization.isna())
    return place & (a[["dx", "age", "sex"]] == b[["dx", "age", "sex"]]).all(axis=1)


def thumbnails(source: RawZip, ids: list[str], max_megapixels: float) -> np.ndarray:
    """uint8 [N, 60, 80, 3] of the images `ids`: the means of 4x4 pixels of each, decoded at `VIEWED`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "thumbnails.npy"
        pack(source, ids, path, (*TEXTURE, 3), partial(_thumbnail, max_megapixels=max_megapixels))
        return np.load(path)


def _thumbnail(content: bytes, max_megapixels: float) -> np.ndarray:
    return reduced(decode(content, VIEWED, max_megapixels)[None])[0]


def reduced(images: np.ndarray) -> np.ndarray:
    """Thumbnails, as `thumbnails` makes them, of uint8 [N, 240, 320, 3]."""
    return _means(images, TEXTURE).round().astype(np.uint8)


def known_pairs(images: np.ndarray, others: np.ndarray, similarity: float) -> pd.DataFrame:
    """As `similar_pairs`, between two sets of thumbnails: columns a (row of `images`), b (of `others`), similarity."""
    pairs = similar_pairs(np.concatenate([images, others]), similarity, len(images))
    return pairs.assign(b=pairs.b - len(images)).reset_index(drop=True)


def similar_pairs(images: np.ndarray, similarity: float, apart: int | None = None) -> pd.DataFrame:
    """Pairs of images that show the same skin: candidates by colour layout or spectrum, judged at the best shift.

    Texture is the fine structure with its local contrast made equal everywhere, so that pores and hairs count as
    much as a dark lesion (which would make any two centred moles alike). Shifts are free, other light and colour too;
    a zoom of 5 % is found, of 10 % hardly; a turn, a mirror image and another shape of the frame are not. Of each
    image 5 KB stay in memory, 20 KB in a temporary file.

    Args:
        images: uint8 [N, 60, 80, 3], photographs as of `thumbnails`.
        similarity: the least correlation of textures, 0..1.
        apart: compare those before this row with those from it on alone; None: all with all.

    Returns:
        Columns a, b (rows of `images`, a < b) and similarity, the most similar first.
    """
    with tempfile.TemporaryFile() as file, ThreadPoolExecutor(os.cpu_count()) as pool:
        spectra = np.memmap(file, np.complex64, "w+", shape=(len(images), TEXTURE[0], TEXTURE[1] // 2 + 1))
        layout = np.empty((len(images), LAYOUT[0] * LAYOUT[1] * 3), np.float32)
        strength = np.empty((len(images), SPECTRUM[0] * SPECTRUM[1]), np.float32)

        def enter(part: slice) -> None:
            small = images[part].astype(np.float32)
            layout[part], spectra[part] = _layouts(small), _texture_spectra(small)
            strength[part] = _strengths(spectra[part])

        def compared(part: slice) -> pd.DataFrame:
            a, b = candidates[part].T
            shifted = fft.irfft2(spectra[a] * spectra[b].conj(), s=TEXTURE)
            return pd.DataFrame({"a": a, "b": b, "similarity": shifted.max(axis=(1, 2))})

        list(pool.map(enter, blocks(len(images), 128)))
        candidates = np.unique(np.concatenate([_candidates(like, pool, apart) for like in (layout, strength)]), axis=0)
        pairs = pd.concat(pool.map(compared, blocks(len(candidates), 1024)))
    pairs = pairs[pairs.similarity >= similarity]
    return pairs.sort_values(["similarity", "a", "b"], ascending=[False, True, True], ignore_index=True)


def _layouts(small: np.ndarray) -> np.ndarray:
    """[N, 12 * 16 * 3] of thumbnails [N, 60, 80, 3]."""
    return _unit(_means(small, LAYOUT).reshape(len(small), -1))


def _means(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """float [N, *size, 3] of images [N, H, W, 3] whose height and width are multiples of `size`."""
    (height, width), (down, across) = images.shape[1:3], size
    return images.reshape(len(images), down, height // down, across, width // across, 3).mean(axis=(2, 4))


def _strengths(spectra: np.ndarray) -> np.ndarray:
    """[N, 20 * 32]: how strong the lowest frequencies are, which no shift changes."""
    rows = np.abs(np.concatenate([spectra[:, : SPECTRUM[0] // 2], spectra[:, -SPECTRUM[0] // 2 :]], axis=1))
    return _unit(np.sqrt(rows[:, :, : SPECTRUM[1]]).reshape(len(spectra), -1))


def _unit(rows: np.ndarray) -> np.ndarray:
    """Each row without its mean and of length 1, so that a product of two is their correlation."""
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def _texture_spectra(small: np.ndarray) -> np.ndarray:
    grey = small.mean(axis=3)
    fine = grey - gaussian_filter(grey, (0, 3, 3))
    fine /= np.sqrt(gaussian_filter(fine**2, (0, 4, 4))) + 1  # + 1 grey level: what is flat stays flat
    fine = gaussian_filter(fine, (0, 0.7, 0.7))
    window = np.sqrt(np.outer(np.hanning(TEXTURE[0]), np.hanning(TEXTURE[1])))  # no edges where shifts wrap around
    return fft.rfft2(_unit((fine * window).reshape(len(fine), -1)).reshape(fine.shape).astype(np.float32))


def _candidates(features: np.ndarray, pool: ThreadPoolExecutor, apart: int | None) -> np.ndarray:
    """The pairs [M, 2], a < b, in which one is among the `CANDIDATES` most like the other; `apart` as above."""
    second = np.arange(len(features)) >= (apart or 0)
    count = min(CANDIDATES, len(features) - 1 if apart is None else min(apart, len(features) - apart))

    def nearest(part: slice) -> np.ndarray:
        unlike = -features[part] @ features.T
        rows = np.arange(len(unlike))
        unlike[rows, rows + part.start] = np.inf
        if apart is not None:
            unlike[second[part, None] == second] = np.inf
        found = np.argpartition(unlike, count - 1, axis=1)[:, :count]
        return np.stack([np.repeat(rows + part.start, count), found.ravel()], axis=1)

    found = pool.map(nearest, blocks(len(features), max(1, COMPARED // len(features))))
    return np.sort(np.concatenate(list(found)), axis=1)
