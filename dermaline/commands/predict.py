"""The command `predict`: trained models on photographs from anywhere, the results in a table."""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from dermaline.base.classes import CLASSES
from dermaline.base.errors import DermalineError
from dermaline.base.files import replacing, require_file
from dermaline.commands.chosen_models import (
    add_device_arguments,
    add_model_arguments,
    choose,
    in_backend,
    load_chosen,
    predictor,
)
from dermaline.compute import in_words
from dermaline.evaluation.tables import SUSPECTED
from dermaline.inference.ensemble import OUT, Prediction
from dermaline.params import whole
from dermaline.user_files import forms, photographs
from dermaline.user_files.metadata_table import read_metadata


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="an image, a folder, or a zip")
    add_model_arguments(parser)
    add_device_arguments(parser)
    output = {"default": Path("predictions.csv"), "metavar": "FILE.csv", "help": "default: %(default)s"}
    parser.add_argument("--output", type=Path, **output)
    parser.add_argument("--format", choices=FORMATS, default="csv", help="isic: ISIC 2018 Task 3")
    parser.add_argument("--metadata", type=Path, metavar="TABLE", help="image_id and any of age, sex, localization")


def main(options: argparse.Namespace) -> str:
    """Predict every photograph of `paths` and write a table; images that can't be used are named on stderr.

    Images are decoded at `prepare.size` and then resized to the network's input, as the pipeline does: the network
    sees what it was trained on, in shape and sharpness, and the numbers agree with those of the predict stage.

    Args:
        options: of `add_arguments`.

    Returns:
        A line that says what was done.

    Raises:
        DermalineError: something given is missing or wrong, or, once the others are written, images were bad.
    """
    output = options.output
    require_file(output)
    params, found = whole.read(), photographs.find(options.paths)
    selection = choose(options.model, options.decision, options.last_run)
    metadata = read_metadata(options.metadata, [one.image_id for one in found])
    ensemble = in_backend(load_chosen(selection, options, params), options.backend)
    if ensemble.takes_metadata and options.metadata is None:
        print("note: age, sex and localization count too; without --metadata none is known", file=sys.stderr)
    apply, sizes = predictor(ensemble, selection.detector)

    def predict(block: photographs.Block) -> Prediction:
        return apply(block, metadata(block.image_ids))

    blocks = photographs.decoded(found, sizes, params.prepare.max_megapixels)
    with replacing(output) as partial, tqdm(total=len(found), disable=None) as progress:
        bad, strange = _write(partial, blocks, predict, FORMATS[options.format], progress)
        if bad == len(found):
            raise DermalineError(f"none of {bad} images could be used, see above; {output} is not written")
    if strange:
        what = f"{strange} of {len(found) - bad} images are unlike the dermatoscopic images of the training ({OUT})"
        print(f"note: {what}; do not rely on what is predicted of them", file=sys.stderr)
    if bad:
        raise DermalineError(f"{bad} of {len(found)} images could not be used, see above; the others are in {output}")
    views = ", ".join(str(views) for views in sorted({member.views for member in ensemble.members}))
    device = in_words(ensemble.members[0].fabric)
    return f"{len(found)} images -> {output}; {selection.description}; {views} views of each; on {device}"


def _write(
    path: Path,
    blocks: Iterator[photographs.Block],
    predict: Callable[[photographs.Block], Prediction],
    to_table: Callable[[list[str], Prediction], pd.DataFrame],
    progress: tqdm,
) -> tuple[int, int]:
    """Write the rows of block after block.

    Returns:
        The number of bad images, each named on stderr, and that of images out of distribution.
    """
    header, bad, strange = True, 0, 0
    # A file's name may be any bytes, which no encoding has.
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        for block in blocks:
            for name, reason in block.bad.items():
                progress.write(f"skipped {name}: {reason}", file=sys.stderr)
            if block.image_ids:
                prediction = predict(block)
                strange += 0 if prediction.out_of_distribution is None else int(prediction.out_of_distribution.sum())
                to_table(block.image_ids, prediction).to_csv(file, index=False, header=header, lineterminator="\n")
                header = False
            bad += len(block.bad)
            progress.update(len(block.image_ids) + len(block.bad))
    return bad, strange


def _own(image_ids: list[str], prediction: Prediction) -> pd.DataFrame:
    table = prediction.table(image_ids)
    shown = {name: table[name].map("{:.7f}".format) for name in CLASSES}
    told = [name for name in (SUSPECTED, "not_sure", OUT) if name in table]
    words = {name: table[name].map({True: "true", False: "false"}) for name in told}
    return table.assign(**shown, **words)


def _isic(image_ids: list[str], prediction: Prediction) -> pd.DataFrame:
    """With every digit: the scorer counts a row whose largest value stands there twice as wrong."""
    return forms.to_isic(image_ids, prediction.confidences)


FORMATS: dict[str, Callable[[list[str], Prediction], pd.DataFrame]] = {"csv": _own, "isic": _isic}
