"""The exported file beside PyTorch: `python -m benchmarks.export [--released] [--images N]`.

Of the last run's models, or the released ones on the photographs of data/prepared: the files of every precision; how
far each is from PyTorch on the test (N images of it, or all), with what balanced accuracy it loses; and how long
predictions take, by rounds in which PyTorch, PyTorch compiled and the files take turns, at batches of 1 and 32.
Speeds enter benchmarks/summary.json; the rest is printed, and written to benchmarks/export.json.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import numpy as np
import torch

from benchmarks.measure import Row, in_turns, keep, machine, row
from dermaline.base import errors, files
from dermaline.commands.chosen_models import choose
from dermaline.data.batches import generated, packed_size
from dermaline.data.index import read_split
from dermaline.exporting import comparing, onnx_model
from dermaline.exporting.precision import changed
from dermaline.exporting.running import run, session
from dermaline.inference.ensemble import Ensemble, load_ensemble
from dermaline.params import whole
from dermaline.params.export import Precision
from stages.export import drawn, given

BATCHES, ROUNDS = (1, 32), 7
DETAILS = Path("benchmarks/export.json")


def main() -> None:
    parser = argparse.ArgumentParser(description="The exported file beside PyTorch.")
    parser.add_argument("--released", action="store_true", help="the released models; default: the last run's")
    parser.add_argument("--images", type=int, default=100_000, help="of the test; default: all")
    chosen, params = parser.parse_args(), whole.read()
    selection = choose([], None, last_run=not chosen.released)
    how = (selection.decision, "cpu", params.predict, params.prepare.size)
    ensemble, options = load_ensemble(selection.folders, *how), params.export
    if tuple(packed_size()) not in ensemble.prepared_sizes:
        wanted = " or ".join(map(str, ensemble.prepared_sizes))
        raise errors.DermalineError(f"data/prepared: not packed at {wanted}, which the models want; see prepare.size")
    rows = drawn(read_split("test"), chosen.images, options.seed)
    photographs, val = given(rows), given(drawn(read_split("val"), options.calibration_images, options.seed))
    ours = comparing.by_torch(comparing.in_fp32(ensemble), photographs)
    told, files_of = {}, {}
    with TemporaryDirectory() as folder:
        for precision in get_args(Precision):
            files_of[precision] = Path(folder, f"{precision}.onnx")
            content = onnx_model.to_bytes(onnx_model.build(ensemble, changed(precision, val)))
            files_of[precision].write_bytes(content)
            found = run(session(files_of[precision]), photographs)
            difference = np.abs(found["probabilities"] - ours.probabilities).max()
            compared = comparing.compared(rows, ours, found, options.seed)
            told[precision] = {"bytes": len(content), "largest_difference": float(difference), **compared}
            print(precision, told[precision], flush=True)
        what = f"{' and '.join(selection.decision.recipes)}, {'generated' if generated() else 'real'} images"
        files.write_json(DETAILS, {"models": what, "machine": machine(None), **told})
        keep([one for batch in BATCHES for one in speeds(ensemble, files_of, photographs, batch, what)])


def speeds(
    ensemble: Ensemble, paths: dict[str, Path], photographs: dict[str, np.ndarray], batch: int, what: str
) -> list[Row]:
    """Rows of the ratios at one batch size, with the medians in milliseconds an image."""
    some = {name: np.resize(values, (batch, *values.shape[1:])) for name, values in photographs.items()}
    in_fp32 = comparing.in_fp32(ensemble)
    of_torch = {"PyTorch": in_fp32, "PyTorch compiled": compiled(in_fp32), "PyTorch as the recipes say": ensemble}
    actions: dict[str, Callable[[], object]] = {
        name: partial(comparing.by_torch, one, some) for name, one in of_torch.items()
    }
    actions |= {name: partial(run, session(path), some, batch) for name, path in paths.items()}
    seconds = dict(zip(actions, in_turns(list(actions.values()), ROUNDS, warm_up=2).T, strict=True))
    median = {f"{name}_ms": float(np.median(each)) * 1000 / batch for name, each in seconds.items()}

    command = " ".join(["python -m benchmarks.export", *sys.argv[1:]])

    def compare(slow: str, fast: str, target: str = "") -> Row:
        claim = f"seconds of {slow} / of the exported {fast} ({what}, batch {batch})"
        return row(claim, seconds[slow] / seconds[fast], target, command, **median)

    return [
        compare("PyTorch", "fp32", ">= 1"),
        compare("PyTorch compiled", "fp32"),
        compare("PyTorch as the recipes say", "fp32"),
        compare("fp32", "int8", ">= 1.8"),
        compare("fp32", "fp16"),
    ]


def compiled(ensemble: Ensemble) -> Ensemble:
    members = [member._replace(network=torch.compile(member.network)) for member in ensemble.members]
    return ensemble._replace(members=members)


if __name__ == "__main__":
    errors.run(main)
