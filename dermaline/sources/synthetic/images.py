"""Generated data in HAM10000's shape, the default source: it needs no download, no account and no hub.

Everything follows from `data.synthetic`: the same parameters give the same bytes, on however many cores.
"""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from dermaline.base.classes import CLASSES
from dermaline.base.columns import GENERATED, SOURCE
from dermaline.params.data import Data
from dermaline.pool import mapped
from dermaline.sources import archive
from dermaline.sources.synthetic import camera, lesions
from dermaline.sources.synthetic.patients import patient

# HAM10000's images and lesions of each diagnosis.
IMAGES: dict[str, int] = {"akiec": 327, "bcc": 514, "bkl": 1099, "df": 115, "mel": 1113, "nv": 6705, "vasc": 142}
LESIONS: dict[str, int] = {"akiec": 228, "bcc": 327, "bkl": 727, "df": 73, "mel": 614, "nv": 5403, "vasc": 98}
FEWEST_LESIONS = 3  # of a diagnosis: one for each side of the split
MOST_PHOTOS = 6  # of one lesion
COPIES = 0.003  # pairs of near-duplicates under two lesion ids, per image
PLAN, LESION, PHOTO = range(3)  # what a stream of random numbers is for


@dataclass
class Lesion:
    """One lesion of the table and the photographs it has."""

    number: int
    dx: str
    image_ids: list[str] = field(default_factory=list)
    copy_of: int | None = None  # the lesion that the only photograph really shows


def fetch(data: Data, folder: Path, workers: int | None = None) -> None:
    """Write the raw folder of `data.synthetic`; `workers` processes draw (all cores unless given)."""
    synthetic = data.synthetic
    plan = planned(synthetic.images, synthetic.seed)
    with archive.writing(folder) as raw:
        bar = tqdm(total=synthetic.images, desc="drawing", unit="image", disable=None)
        with bar, closing(drawn(plan, synthetic.size, synthetic.seed, workers)) as done:
            for photos in done:
                for image_id, jpeg, png in photos:
                    raw.add_image(image_id, jpeg)
                    raw.add_mask(image_id, png)
                bar.update(len(photos))
        raw.write_table(table(plan, synthetic.seed))


def apportioned(images: int) -> dict[str, int]:
    """The images of each diagnosis: HAM10000's shares by largest remainder, and never fewer than three."""
    total = sum(IMAGES.values())
    counts = {dx: images * IMAGES[dx] // total for dx in CLASSES}
    by_remainder = sorted(CLASSES, key=lambda dx: images * IMAGES[dx] % total, reverse=True)
    for dx in by_remainder[: images - sum(counts.values())]:
        counts[dx] += 1
    for dx in CLASSES:
        short = max(0, FEWEST_LESIONS - counts[dx])
        counts[dx] += short
        counts["nv"] -= short
    return counts


def planned(images: int, seed: int) -> list[Lesion]:
    """Every lesion with its photographs' ids, none of HAM10000's; numbers and ids say nothing about the diagnosis."""
    rng = np.random.default_rng([seed, PLAN])
    dxs, photos = [], []
    for dx, count in apportioned(images).items():
        own = max(FEWEST_LESIONS, round(count * LESIONS[dx] / IMAGES[dx]))
        dxs += [dx] * own
        photos += spread(count, own, rng)
    names = iter(f"SYN_{number:07d}" for number in rng.permutation(images))
    plan = [Lesion(0, dxs[at], [next(names) for _ in range(photos[at])]) for at in rng.permutation(len(dxs))]
    for number, lesion in enumerate(plan):
        lesion.number = number
    mark_copies(plan, max(1, round(COPIES * images)))
    return plan


def spread(photos: int, among: int, rng: np.random.Generator) -> list[int]:
    """The photographs of each of `among` lesions: one each, the others at random, none with more than six."""
    counts = np.ones(among, int)
    while (left := photos - counts.sum()) > 0:
        counts = np.minimum(counts + np.bincount(rng.integers(among, size=left), minlength=among), MOST_PHOTOS)
    return counts.tolist()


def mark_copies(plan: list[Lesion], pairs: int) -> None:
    """Make `pairs` lesions of one photograph near-duplicates of another such lesion of the same diagnosis."""
    single = [lesion for lesion in plan if len(lesion.image_ids) == 1 and lesion.dx in ("nv", "mel", "bkl")]
    waiting: dict[str, Lesion] = {}
    for lesion in single:
        if pairs and lesion.dx in waiting:
            lesion.copy_of = waiting.pop(lesion.dx).number
            pairs -= 1
        else:
            waiting[lesion.dx] = lesion


def table(plan: list[Lesion], seed: int) -> pd.DataFrame:
    """The metadata, one row an image, sorted by image id; a lesion's rows agree, a copy's agree with its original's."""
    rows = []
    for lesion in plan:
        shown = lesion.number if lesion.copy_of is None else lesion.copy_of
        about = patient(lesion.dx, np.random.default_rng([seed, LESION, shown, 1]))
        for image_id in lesion.image_ids:
            rows.append({"lesion_id": f"HAM_{lesion.number:07d}", "image_id": image_id, "dx": lesion.dx, **about})
    return pd.DataFrame(rows).sort_values("image_id").assign(**{SOURCE: GENERATED})


Photo = tuple[str, bytes, bytes]  # image id, JPEG, PNG mask


def photographed(lesion: Lesion, size: tuple[int, int], seed: int) -> list[Photo]:
    """Draw one lesion and take its photographs; depends on nothing but the arguments."""
    shown = lesion.number if lesion.copy_of is None else lesion.copy_of
    rng = np.random.default_rng([seed, LESION, shown])
    instrument = camera.choose(rng)
    colour, mask = lesions.draw(lesion.dx, rng, camera.patch_side(size))
    photos = []
    for number, image_id in enumerate(lesion.image_ids):
        photo_rng = np.random.default_rng([seed, PHOTO, shown, number])
        files = camera.photograph(colour, mask, instrument, photo_rng, size, copy=lesion.copy_of is not None)
        photos.append((image_id, *files))
    return photos


def drawn(
    plan: list[Lesion], size: tuple[int, int], seed: int, workers: int | None
) -> Generator[list[Photo], None, None]:
    """Each lesion's photographs, in the order of `plan`."""
    return mapped(partial(photographed, size=size, seed=seed), plan, chunk=8, workers=workers)
