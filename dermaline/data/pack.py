"""Packing: every image is decoded once, on all cores, into one memory-mapped array."""

import math
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dermaline.base.files import require_space
from dermaline.blocks import blocks
from dermaline.data.decode import BadImageError, what_fails_is_bad
from dermaline.pool import mapped
from dermaline.sources.archive import RawZip

CHUNK = 32  # images a task


def pack(
    source: RawZip, ids: list[str], target: Path, shape: tuple[int, ...], decoder: Callable[[bytes], np.ndarray]
) -> dict[str, str]:
    """Decode the images `ids` into `target`, a uint8 `.npy` of shape [len(ids), *shape], in that order.

    The memory in use does not grow with the number of images: each process writes its rows through the map.

    Args:
        decoder: makes an array of `shape` from a file's bytes, or raises `BadImageError`; it must pickle.

    Returns:
        image_id -> reason, for the images that could not be read; their rows are zero.
    """
    require_space(target.parent, len(ids) * math.prod(shape))  # a map that finds no room kills its process
    np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=(len(ids), *shape)).flush()
    chunks = [(part.start, ids[part], source.only(ids[part])) for part in blocks(len(ids), CHUNK)]
    work = partial(_pack_chunk, target, decoder)
    bad: dict[str, str] = {}
    progress = tqdm(total=len(ids), unit="image", desc=target.name, disable=None)
    with progress, closing(mapped(work, chunks)) as done:
        for (_, chunk, _), problems in zip(chunks, done, strict=True):
            bad.update(problems)
            progress.update(len(chunk))
    return bad


def _pack_chunk(
    target: Path, decoder: Callable[[bytes], np.ndarray], chunk: tuple[int, list[str], RawZip]
) -> dict[str, str]:
    start, ids, source = chunk
    rows = np.load(target, mmap_mode="r+")
    bad = {}
    for row, image_id in enumerate(ids, start):
        if image_id not in source.names:
            bad[image_id] = f"not in {source.path.name}"
            continue
        try:
            with what_fails_is_bad("can't be read"):
                content = source.read(image_id)
            rows[row] = decoder(content)
        except BadImageError as problem:
            bad[image_id] = str(problem)
    return bad


def keep_rows(path: Path, rows: np.ndarray) -> None:
    """Rewrite the `.npy` at `path` with only `rows` (ascending int array), a chunk at a time."""
    whole = np.load(path, mmap_mode="r")
    kept = path.with_suffix(".kept.npy")
    target = np.lib.format.open_memmap(kept, mode="w+", dtype=whole.dtype, shape=(len(rows), *whole.shape[1:]))
    for part in blocks(len(rows), 256):
        target[part] = whole[rows[part]]
    target.flush()
    del whole, target  # Windows replaces no file that is mapped
    kept.replace(path)
