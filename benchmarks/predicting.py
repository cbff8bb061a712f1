"""From files to a table: `python -m benchmarks.predicting [--images N]`.

The command `predict` with the released models on a zip of JPEGs of 600x450 (its start, decoding and, for onnxruntime,
tracing included), beside the same networks on one batch that is decoded already; on that batch both backends, and the
networks as they were trained.
"""

import argparse
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.measure import Row, draw, in_turns, keep, row, seconds
from dermaline.base import errors
from dermaline.commands.chosen_models import BACKENDS, choose, in_backend
from dermaline.inference.ensemble import Ensemble, load_ensemble
from dermaline.models import model_io
from dermaline.params import whole
from dermaline.user_files import photographs

SIZE, ROUNDS = (450, 600), 5


def main() -> None:
    parser = argparse.ArgumentParser(description="From files to a table.")
    parser.add_argument("--images", type=int, default=1000)
    count = parser.parse_args().images
    command, selection = f"python -m benchmarks.predicting --images {count}", choose([], None, last_run=False)
    params = whole.read()
    ensemble = load_ensemble(selection.folders, selection.decision, "cpu", params.predict, params.prepare.size)
    of = {name: in_backend(ensemble, name) for name in BACKENDS}
    with TemporaryDirectory() as folder:
        draw(Path(folder, "raw"), count, SIZE)
        archive = Path(folder, "raw/images.zip")
        found = photographs.find([archive])
        block = photographs.block_of(found[: photographs.BLOCK], ensemble.prepared_sizes[:1], 50)
        tried = [*of.values(), as_trained(ensemble, selection.folders)]
        resident = in_turns([partial(apply, one, block) for one in tried], ROUNDS).T / len(block.image_ids)
        medians = dict(zip([*BACKENDS, "as_trained"], np.median(resident, axis=1), strict=True))
        claim = "seconds an image, released models on the CPU, one resident batch: "
        rows = [row(f"{claim}torch / onnxruntime", resident[0] / resident[1], "", command, **in_ms(medians))]
        rows += [row(f"{claim}as trained / with batch norm folded", resident[2] / resident[0], "", command)]
        for name in BACKENDS:
            whole_way = seconds(partial(of_files, archive, Path(folder, "out.csv"), name)) / count
            again = in_turns([partial(apply, of[name], block)], 2, warm_up=0)[:, 0] / len(block.image_ids)
            both = np.array([medians[name], *again])  # before and after: the machine may have become another
            rows.append(of_rate(name, count, both / whole_way, command, whole_way))
    keep(rows)


def as_trained(ensemble: Ensemble, folders: list[Path]) -> Ensemble:
    """The same with batch norm as a step of its own."""
    networks = [model_io.load(folder)[0] for folder in folders]
    pairs = zip(ensemble.members, networks, strict=True)
    return ensemble._replace(members=[member._replace(network=network) for member, network in pairs])


def apply(ensemble: Ensemble, block: photographs.Block) -> None:
    ensemble(block.images, None)


def of_files(archive: Path, output: Path, backend: str) -> None:
    """The command, in a process of its own."""
    words = ["predict", str(archive), "--device", "cpu", "--backend", backend, "--output", str(output)]
    subprocess.run([sys.executable, "-m", "dermaline", *words], check=True, capture_output=True)


def of_rate(name: str, count: int, ratios: np.ndarray, command: str, whole_way: float) -> Row:
    claim = f"images/s of `predict --backend {name}`, {count} files of 600x450 / of its networks on one resident batch"
    return row(claim, ratios, ">= 0.9", command, **in_ms({"an_image": whole_way}))


def in_ms(values: dict[str, float]) -> dict[str, float]:
    return {f"{name}_ms": value * 1000 for name, value in values.items()}


if __name__ == "__main__":
    errors.run(main)
