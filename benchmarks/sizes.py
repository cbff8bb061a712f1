"""What the released model says of photographs of another size: `python -m benchmarks.sizes --data ham10000`.

The validation images, resized by Pillow and compressed again as JPEG, go through what `python -m dermaline predict`
does with a file, and are compared with the photographs as they are by paired intervals over lesions. The decision was
fitted on these images, so the differences count here, not the scores. Reads data/raw/images.zip, data/prepared,
data/split.csv and released/; writes results/DATA/sizes.csv.
"""

import io

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from benchmarks.asked import asked
from dermaline.base import errors
from dermaline.blocks import blocks
from dermaline.commands import predict, record
from dermaline.compute import in_words
from dermaline.data.batches import read_split
from dermaline.data.decode import decode
from dermaline.evaluation.compare import models_table
from dermaline.evaluation.tables import decided
from dermaline.inference.ensemble import Ensemble, load_ensemble
from dermaline.params import whole
from dermaline.sources.archive import RawZip
from dermaline.user_files.external import IMAGES

SIZES = {"as they are": None, "1024x768": (1024, 768), "320x240": (320, 240)}  # width, height
QUALITY = 92  # of the JPEG
BLOCK = 32


def main() -> None:
    chosen = asked("What the released model says of photographs of another size.")
    rows, params = read_split("val").assign(split="val"), whole.read()
    selection = predict.choose([], None, last_run=False)
    how = ("auto", params.predict, params.prepare.size)
    ensemble = load_ensemble(selection.folders, selection.decision, *how)
    table = {name: predicted(ensemble, rows, size, params.prepare.max_megapixels) for name, size in SIZES.items()}
    machine = in_words(ensemble.members[0].device)
    found = models_table(table, params.evaluate).assign(seeds=1, machine=machine)
    record.keep_table(found, "sizes", chosen.data, "val", f"python -m benchmarks.sizes --data {chosen.data}")
    print(found[["model", "accuracy", "balanced_accuracy", "macro_auc"]].to_string(index=False, float_format="%.4f"))


def predicted(
    ensemble: Ensemble, rows: pd.DataFrame, size: tuple[int, int] | None, max_megapixels: float
) -> pd.DataFrame:
    """The rows with what the ensemble says of their photographs at another size."""
    source, parts = RawZip(IMAGES), []
    for part in tqdm(list(blocks(len(rows), BLOCK))):
        files = [resized(source.read(name), size) for name in rows["image_id"].iloc[part]]
        images = {
            prepared: np.stack([decode(file, prepared, max_megapixels) for file in files])
            for prepared in set(ensemble.prepared_sizes)
        }
        said = ensemble(images, None)
        parts.append(decided(rows.iloc[part], said.probabilities, said.predicted))
    return pd.concat(parts)


def resized(file: bytes, size: tuple[int, int] | None) -> bytes:
    """A JPEG at another width and height; None leaves it as it is."""
    if size is None:
        return file
    made = io.BytesIO()
    Image.open(io.BytesIO(file)).resize(size, Image.Resampling.LANCZOS).save(made, "JPEG", quality=QUALITY)
    return made.getvalue()


if __name__ == "__main__":
    errors.run(main)
