"""Decode every image once, find near-duplicates, and write the packed arrays with their index."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from dermaline.base.columns import PATIENT
from dermaline.base.errors import DermalineError, run
from dermaline.base.files import replacing, write_json
from dermaline.base.parameters import load
from dermaline.data.decode import decode, decode_mask
from dermaline.data.duplicates import near_duplicates
from dermaline.data.groups import groups
from dermaline.data.pack import keep_rows, pack
from dermaline.data.prepared import report
from dermaline.data.table import read_table
from dermaline.params.prepare import Prepare
from dermaline.sources.archive import RawZip

RAW, PREPARED = Path("data/raw"), Path("data/prepared")


def refuse(path: Path, bad: dict[str, str], advice: str = "mend it or set prepare.bad_images to drop") -> None:
    image_id, reason = next(iter(bad.items()))
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    raise DermalineError(f"{path}: {image_id}: {reason}{more}; {advice}")


def pack_images(table: pd.DataFrame, options: Prepare, folder: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """Pack the images, and the masks when the source has some; give the rows that stayed and what was dropped."""
    limits = {"size": options.size, "max_megapixels": options.max_megapixels}
    wanted = {"images": ((*options.size, 3), decode), "masks": (options.size, decode_mask)}
    bad: dict[str, str] = {}
    for name, (shape, decoder) in wanted.items():
        path = RAW / f"{name}.zip"
        if name == "masks" and not path.exists():
            continue
        source = RawZip(path)
        found = pack(source, list(table.image_id), folder / f"{name}.npy", shape, partial(decoder, **limits))
        if name == "masks":  # an image may have none; its mask is then all zero
            found = {image_id: reason for image_id, reason in found.items() if image_id in source.names}
        if found and options.bad_images == "stop":
            refuse(path, found)
        if name == "images":
            bad = {image_id: f"{path.name}: {reason}" for image_id, reason in found.items()}
        elif found:  # they count as photographs without an outline
            print(f"note: {len(found)} outlines can't be read, of {min(found)} for one: {found[min(found)]}")
    if bad:
        rows = np.flatnonzero(~table.image_id.isin(bad))
        for path in sorted(folder.glob("*.npy")):
            keep_rows(path, rows)
        table = table.iloc[rows].reset_index(drop=True)
    if len(table) < 2:
        refuse(RAW, bad or {"images.zip": "one image"}, "no two are left to learn from")
    return table, bad


def main() -> None:
    options = load(Prepare, "prepare")
    table = read_table(RAW / "metadata.csv")
    with replacing(PREPARED) as folder:
        folder.mkdir(parents=True)
        table, bad = pack_images(table, options, folder)
        pairs = near_duplicates(RawZip(RAW / "images.zip"), table, options)
        joined = groups(table.lesion_id, pairs)
        said = report(table.assign(group=joined), bad, pairs)
        table.insert(2, "group", groups(table.lesion_id, pairs, table.get(PATIENT)))
        table.insert(0, "row", table.index)
        table.to_csv(folder / "index.csv", index=False, lineterminator="\n")
        write_json(folder / "report.json", said)


if __name__ == "__main__":
    run(main)
