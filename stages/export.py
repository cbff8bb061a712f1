"""Write the final model as one ONNX file, and how far it is from PyTorch: `python -m stages.export`.

Reads the models, metrics/decision.json and photographs; writes models/exported/model.onnx, and
metrics/export.json, from a sample of the test. Speeds differ from run to run: they are `benchmarks.export`'s.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermaline.base import errors, files
from dermaline.base.parameters import Size, load
from dermaline.data import metadata
from dermaline.data.index import PREPARED, read_split
from dermaline.exporting import comparing, onnx_model
from dermaline.exporting.precision import changed
from dermaline.exporting.running import run, session
from dermaline.inference import decision
from dermaline.inference.ensemble import load_ensemble
from dermaline.params.export import Export
from dermaline.params.predict import Predict
from dermaline.portable import pin

FILE = Path("models/exported/model.onnx")


def main() -> None:
    pin()  # torchvision, too, resizes in another way without AVX2
    options, fitted = load(Export, "export"), decision.load(Path("metrics/decision.json"))
    folders = [Path("models", recipe) for recipe in fitted.recipes]
    fitted.require(folders)
    ensemble = load_ensemble(folders, fitted, "cpu", load(Predict, "predict"), load(Size, "prepare.size"))
    val = drawn(read_split("val"), options.calibration_images, options.seed)
    content = onnx_model.to_bytes(onnx_model.build(ensemble, changed(options.precision, given(val))))
    with files.replacing(FILE) as partial:
        partial.write_bytes(content)
    rows = drawn(read_split("test"), options.images, options.seed)
    exported = run(session(FILE), given(rows))
    ours = comparing.by_torch(comparing.in_fp32(ensemble), given(rows))
    told = comparing.compared(rows, ours, exported, options.seed)
    files.write_json(Path("metrics/export.json"), {"precision": options.precision, "bytes": len(content), **told})


def drawn(rows: pd.DataFrame, images: int, seed: int) -> pd.DataFrame:
    """As many of the rows at random, or all if there are no more."""
    return rows.sample(min(images, len(rows)), random_state=seed).reset_index(drop=True)


def given(rows: pd.DataFrame) -> dict[str, NDArray]:
    """The inputs of an exported model for some rows."""
    packed = np.load(PREPARED / "images.npy", mmap_mode="r")
    return {onnx_model.IMAGES: packed[rows["row"].to_numpy()], onnx_model.METADATA: metadata.encode(rows).numpy()}


if __name__ == "__main__":
    errors.run(main)
