"""The command `export`: trained models and their decision as one ONNX file."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from dermaline.base.errors import DermalineError
from dermaline.base.files import replacing, require_file
from dermaline.base.parameters import Size
from dermaline.commands.chosen_models import add_model_arguments, choose, load_chosen
from dermaline.data.metadata import MISSING
from dermaline.exporting import onnx_model
from dermaline.exporting.precision import changed
from dermaline.params import whole
from dermaline.params.export import Precision
from dermaline.user_files import photographs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.set_defaults(device="cpu")  # where a network is traced
    output = {"default": Path("model.onnx"), "metavar": "FILE.onnx", "help": "default: %(default)s"}
    parser.add_argument("--output", type=Path, **output)
    parser.add_argument("--precision", choices=get_args(Precision), default="fp32", help="default: %(default)s")
    photographs_of = {"nargs": "+", "type": Path, "default": [], "metavar": "PATH"}
    parser.add_argument("--calibration", **photographs_of, help="photographs for int8, none of a test")


def main(options: argparse.Namespace) -> str:
    """Write the file; the models and their decision are found as for `predict`.

    Args:
        options: of `add_arguments`.

    Returns:
        A line that says what was done.

    Raises:
        DermalineError: something given is missing or wrong, or the models can't be exported.
    """
    require_file(options.output)
    if (options.precision == "int8") != bool(options.calibration):
        raise DermalineError("--calibration: photographs are needed for --precision int8, and for it alone")
    params, selection = whole.read(), choose(options.model, options.decision, options.last_run)
    ensemble = load_chosen(selection, options, params)
    if options.calibration and any(one.network.fusion is not None for one in ensemble.members):
        raise DermalineError(
            "--precision int8: a network takes age, sex and place, which --calibration has not; use fp16"
        )
    shown = _shown(options.calibration, ensemble.prepared_sizes[0], params.prepare.max_megapixels)
    content = onnx_model.to_bytes(onnx_model.build(ensemble, changed(options.precision, shown)))
    with replacing(options.output) as partial:
        partial.write_bytes(content)
    return f"{options.output}: {len(content) / 1e6:.1f} MB, {options.precision}; {selection.description}"


def _shown(paths: Sequence[Path], size: Size, max_megapixels: float) -> dict[str, NDArray]:
    """The inputs of an exported model for photographs of which nothing is known; of none for no paths."""
    if not paths:
        return {}
    parts = []
    for block in photographs.decoded(photographs.find(paths), [size], max_megapixels):
        parts += [block.images[size]] if block.image_ids else []
        for name, reason in block.bad.items():
            print(f"skipped {name}: {reason}", file=sys.stderr)
    if not parts:
        raise DermalineError("--calibration: none of the images could be used")
    images = np.concatenate(parts)
    return {onnx_model.IMAGES: images, onnx_model.METADATA: np.tile(MISSING.numpy(), (len(images), 1))}
