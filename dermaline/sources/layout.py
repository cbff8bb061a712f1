"""The layouts in which HAM10000 comes (Kaggle's, Dataverse's, ISIC 2018's), and the way to a raw folder.

A file is known by its own name, wherever it lies: `ISIC_0027419.jpg` (or `.png`), `ISIC_0027419_segmentation.png`,
`HAM10000_metadata` (`.csv` or `.tab`), also with a copy's mark such as ` (1)`. Anything else is ignored. What lies
under an `ISIC2018` name counts only if it is of Task 3's training part, which is HAM10000 too, and only where
HAM10000's own files lack: the challenge's other images are named like those of HAM10000.
"""

import re
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

import pandas as pd
from tqdm import tqdm

from dermaline.base.errors import DermalineError
from dermaline.base.files import require_space
from dermaline.sources import tables
from dermaline.sources.archive import RawWriter, writing
from dermaline.sources.folders import File, files

OFFICIAL = (10_015, 7_470)  # images and lesions of the whole data set
PARTS = ("HAM10000_images_part_1", "HAM10000_images_part_2")
CHALLENGE = "isic2018"  # begins the names of all that is of the challenge
LARGEST = 64 * 2**20  # bytes; one file is held in memory at a time, and none of HAM10000 comes near
_ZIP_OVERHEAD = 256  # bytes a file, generously
_COPY = r"(?:(?: -)? \(?copy\)?)?(?: ?\(\d+\)| \d+)?"  # X (1), X 2, X (copy), X copy 2, X - Copy (2)
_NAMES = {
    "jpegs": re.compile(rf"(isic_\d+){_COPY}\.jpe?g"),
    "pngs": re.compile(rf"(isic_\d+){_COPY}\.png"),
    "masks": re.compile(rf"(isic_\d+)_segmentation{_COPY}\.png"),
    "tables": re.compile(rf"(ham10000_metadata){_COPY}(?:\.csv|\.tab|\.tsv|\.txt)?"),
    "truths": re.compile(rf"({CHALLENGE}_task3_training_groundtruth){_COPY}\.csv"),
    "groupings": re.compile(rf"({CHALLENGE}_task3_training_lesiongroupings){_COPY}\.csv"),
}
Copies = dict[str, list[File]]  # all copies of each file, by its image's id (of a table: its own name)


class Layout:
    """What was recognised, by the kinds of `_NAMES`."""

    def __init__(self) -> None:
        self._kinds: dict[str, Copies] = {kind: defaultdict(list) for kind in _NAMES}

    def add(self, parts: tuple[str, ...], file: File) -> None:
        """Take `file` if its path, in lower case, is one of HAM10000's."""
        for kind, pattern in _NAMES.items():
            if match := pattern.fullmatch(parts[-1]):
                if kind == "pngs" and any("mask" in part or "segment" in part for part in parts[:-1]):
                    return  # a mask under its image's name
                if file.size > LARGEST:
                    raise DermalineError(f"{file.place}: {file.size} bytes, more than any file of HAM10000; remove it")
                self._kinds[kind][match[1].upper()].append(file)

    @property
    def images(self) -> Copies:
        """Of an image that is there in both formats, the JPEG: the camera's file."""
        return self._kinds["pngs"] | self._kinds["jpegs"]

    @property
    def masks(self) -> Copies:
        return self._kinds["masks"]

    def table(self) -> pd.DataFrame | None:
        """The metadata, or None if there is no table."""
        own, truths, groupings = (
            [file for copies in self._kinds[kind].values() for file in copies]
            for kind in ("tables", "truths", "groupings")
        )
        return tables.ham10000(own) if own else tables.isic2018(truths, groupings) if truths else None


def write(sources: list[Path], folder: Path, *, official: bool) -> None:
    """Turn `sources` (folders, zips or files) into the raw folder `folder`, whole or not at all.

    Args:
        official: demand the counts of the whole data set.

    Raises:
        DermalineError: something is missing, unknown, doubled with different bytes, damaged or unsafe.
    """
    with ExitStack() as zips:
        where = ", ".join(str(source) for source in sources)
        table, images, masks = _recognise(sources, where, zips)
        ids, lesions = list(table["image_id"]), table["lesion_id"].nunique()
        _same_images(set(ids), images, where)
        if official and (len(ids), lesions) != OFFICIAL:
            expected = f"{OFFICIAL[0]} images of {OFFICIAL[1]} lesions"
            raise DermalineError(f"{where}: {len(ids)} images of {lesions} lesions, expected {expected}; get it again")
        masks = {image_id: masks[image_id] for image_id in ids if image_id in masks}
        copies = [images[image_id] for image_id in ids] + list(masks.values())
        require_space(folder, sum(files[0].size + _ZIP_OVERHEAD for files in copies))
        with writing(folder) as raw:
            _fill(raw, table, images, masks)
    print(f"{folder}: {len(ids)} images, {lesions} lesions, {len(masks)} masks")


def _recognise(sources: list[Path], where: str, zips: ExitStack) -> tuple[pd.DataFrame, Copies, Copies]:
    """The table, the images and the masks: HAM10000's own, or the challenge's where there are none."""
    own, challenge = Layout(), Layout()
    for name, file in (one for source in sources for one in files(source, zips)):
        parts = PurePosixPath(name.lower()).parts
        if any(part.startswith((".", "__macosx")) for part in parts):
            continue
        of_challenge = [part for part in parts if part.startswith(CHALLENGE)]
        if not of_challenge:
            own.add(parts, file)
        elif of_challenge[-1].startswith(f"{CHALLENGE}_task3_training"):
            challenge.add(parts, file)
    table, images = own.table(), own.images or challenge.images
    if table is None:
        table = challenge.table()
    if table is None or not images:
        kinds = "HAM10000_metadata (.csv or .tab) or ISIC2018_Task3_Training_GroundTruth.csv"
        lacks = f"table {kinds}" if table is None else "images ISIC_*.jpg or .png"
        packed = "a zip that lies inside a zip, or any other archive"
        raise DermalineError(f"{where}: no {lacks}; check the path, and unpack {packed}")
    return table, images, own.masks


def _fill(raw: RawWriter, table: pd.DataFrame, images: Copies, masks: Copies) -> None:
    raw.write_table(table)
    for image_id in tqdm(table["image_id"], desc="images", unit=""):
        raw.add_image(image_id, _one(image_id, images[image_id]))
    for image_id in tqdm(masks, desc="masks", unit="", disable=not masks):
        raw.add_mask(image_id, _one(image_id, masks[image_id]))


def _one(image_id: str, copies: list[File]) -> bytes:
    """The bytes that all copies share (Kaggle's archive holds some folders twice)."""
    first, *others = copies
    content = first.read()
    for other in others:
        if other.size != first.size or other.read() != content:
            raise DermalineError(f"{image_id}: {first.place} and {other.place} differ; remove the wrong one")
    return content


def _same_images(listed: set[str], images: Copies, where: str) -> None:
    """Stop unless the table lists the images that are there, no more and no fewer."""
    absent, extra = listed - images.keys(), images.keys() - listed
    if absent:
        lack = f"{len(absent):,} of the {len(listed):,} images of the table are not there, {min(absent)} for one"
        raise DermalineError(f"{where}: {lack}; {_advice(images)}")
    if extra:
        lack = f"{len(extra):,} of the {len(images):,} images there are not in the table, {min(extra)} for one"
        raise DermalineError(f"{where}: {lack}; remove them or get the whole table")


def _advice(images: Copies) -> str:
    """Name the part that is not there, when the other one is."""
    places = [file.place.lower() for copies in images.values() for file in copies]
    absent = [part for part in PARTS if not any(part.lower() in place for place in places)]
    return f"is {absent[0]} missing?" if len(absent) == 1 else "complete the data"
