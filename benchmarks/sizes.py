"""What the released model says of photographs of another size: `python -m benchmarks.sizes --data ham10000`.

The validation images, resized by Pillow and compressed again as JPEG, go through what `python -m dermaline predict`
does with a file, and are compared with the photographs as they are by paired intervals over lesions. The decision was
fitted on these images, so the differences count here, not the scores. Reads data/raw/images.zip, data/prepared,
data/split.csv and released/; writes results/DATA/sizes.csv.
"""

import io
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from PIL import Image
from tqdm import tqdm

from benchmarks.asked import asked, keep
from dermaline.base import errors
from dermaline.commands.chosen_models import choose
from dermaline.data.index import read_split
from dermaline.inference.ensemble import Ensemble, load_ensemble
from dermaline.params import whole
from dermaline.sources.archive import RawZip
from dermaline.user_files import photographs
from dermaline.user_files.external import IMAGES

SIZES = {"as they are": None, "1024x768": (1024, 768), "320x240": (320, 240)}  # width, height
QUALITY = 92  # of the JPEG


def main() -> None:
    chosen = asked("What the released model says of photographs of another size.")
    rows, params = read_split("val").assign(split="val"), whole.read()
    selection = choose([], None, last_run=False)
    how = ("auto", params.predict, params.prepare.size)
    ensemble = load_ensemble(selection.folders, selection.decision, *how)
    tables = {name: predicted(ensemble, rows, size, params.prepare.max_megapixels) for name, size in SIZES.items()}
    found = keep("sizes", chosen, tables, ensemble.members[0].fabric)
    print(found[["model", "accuracy", "balanced_accuracy", "macro_auc"]].to_string(index=False, float_format="%.4f"))


def predicted(
    ensemble: Ensemble, rows: pd.DataFrame, size: tuple[int, int] | None, max_megapixels: float
) -> pd.DataFrame:
    """The rows with what the ensemble says of their photographs at another size."""
    source, parts = RawZip(IMAGES), []
    with TemporaryDirectory() as folder, tqdm(total=len(rows)) as progress:
        for name in rows["image_id"]:
            Path(folder, f"{name}.jpg").write_bytes(resized(source.read(name), size))
        found = photographs.find([Path(folder)])
        for block in photographs.decoded(found, sorted(set(ensemble.prepared_sizes)), max_megapixels):
            parts.append(ensemble(block.images, None).table(block.image_ids))
            progress.update(len(block.image_ids))
    return rows.merge(pd.concat(parts), on="image_id", validate="one_to_one")


def resized(file: bytes, size: tuple[int, int] | None) -> bytes:
    """A JPEG at another width and height; None leaves it as it is."""
    if size is None:
        return file
    made = io.BytesIO()
    Image.open(io.BytesIO(file)).resize(size, Image.Resampling.LANCZOS).save(made, "JPEG", quality=QUALITY)
    return made.getvalue()


if __name__ == "__main__":
    errors.run(main)
