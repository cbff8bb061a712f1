"""What preparing images costs, and how it grows: `python -m benchmarks.preparing`, twenty minutes on two cores.

Against PIL alone (one process, decoded whole), at the originals' 600x450; then the whole prepare stage at small images,
1,000 to 100,000 of them, with the memory it takes (Linux; file-backed pages, which the system may drop, left out).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from ruamel.yaml import YAML

from benchmarks.measure import draw, in_turns, keep, row
from dermaline.base import errors
from dermaline.data.decode import decode
from dermaline.data.pack import pack
from dermaline.sources.archive import RawZip

PHOTOGRAPHS, SIZE, PACKED, ROUNDS = 1000, (450, 600), (192, 256), 5
COUNTS, SMALL = (1_000, 10_000, 100_000), (48, 64)
COMMAND = "python -m benchmarks.preparing"


def main() -> None:
    keep([against_pil()])
    found = {count: stage(count) for count in COUNTS}
    rows = []
    for fewer, more in pairwise(COUNTS):
        (quick, little), (slow, much) = found[fewer], found[more]
        claim = f"prepare: seconds an image at {more:,} images / at {fewer:,} (of {SMALL[1]}x{SMALL[0]})"
        detail = {"seconds": [round(quick, 1), round(slow, 1)], "megabytes": [round(little), round(much)]}
        rows.append(row(claim, [slow / more / (quick / fewer)], "<= 1.1", COMMAND, **detail))
    keep(rows)


def against_pil() -> dict:
    """Packing on all cores / PIL in one process, in images a second."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder / "data/raw", PHOTOGRAPHS, SIZE)
        archive = folder / "data/raw/images.zip"
        source = RawZip(archive)
        ids = sorted(source.names)
        decoder = partial(decode, size=PACKED, max_megapixels=50)
        ours = partial(pack, source, ids, folder / "images.npy", (*PACKED, 3), decoder)
        found = in_turns([ours, partial(plain, archive, folder / "plain.npy")], ROUNDS)
    speeds = {"images_per_second": [round(PHOTOGRAPHS / value) for value in np.median(found, axis=0)]}
    claim = f"PIL in one process / packing on all cores ({SIZE[1]}x{SIZE[0]} to {PACKED[1]}x{PACKED[0]})"
    return row(claim, found[:, 1] / found[:, 0], "", COMMAND, **speeds)


def plain(archive: Path, target: Path) -> None:
    with zipfile.ZipFile(archive) as images:
        names = [name for name in images.namelist() if name.endswith(".jpg")]
        packed = np.empty((len(names), *PACKED, 3), np.uint8)
        for number, name in enumerate(names):
            with images.open(name) as file, Image.open(file) as image:
                packed[number] = ImageOps.fit(image.convert("RGB"), PACKED[::-1], Image.Resampling.BICUBIC)
    np.save(target, packed)


def stage(images: int) -> tuple[float, float]:
    """Seconds of the prepare stage on generated images, and the most megabytes it had in use."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder / "data/raw", images, SMALL)
        settings = YAML(typ="safe").load(Path("params.yaml"))
        settings["prepare"]["size"] = list(SMALL)
        (folder / "params.yaml").write_text(json.dumps(settings), encoding="utf-8")
        environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
        command = [sys.executable, "-m", "stages.prepare"]
        begun, most = time.perf_counter(), 0
        running = subprocess.Popen(command, cwd=folder, env=environment)
        while running.poll() is None:
            most = max(most, memory(running.pid))
            time.sleep(0.1)
        if running.returncode:
            raise errors.DermalineError(f"benchmarks: prepare of {images} images failed, see above")
        return time.perf_counter() - begun, most / 1024


def memory(process: int) -> int:
    """Kilobytes that a process and those it started have of their own; 0 for one that has just ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return 0
    own = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")), 0)
    return own + sum(memory(int(child)) for child in children)


if __name__ == "__main__":
    errors.run(main)
