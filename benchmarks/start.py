"""How soon each stage script starts to work: `python -m benchmarks.start`.

Importing a stage against importing torch, where the stage needs torch, and in seconds where it does not.
"""

import subprocess
import sys

from benchmarks.measure import in_turns, keep, row
from dermaline.base import errors

WITHOUT, WITH, ROUNDS = ("download", "prepare", "split", "evaluate"), ("train", "predict", "plot"), 7
COMMAND = "python -m benchmarks.start"
LIBRARIES = {  # what a stage can't do without: torch and, of its own, the heaviest
    "train": "timm, lightning_fabric, pandas",
    "predict": "timm, lightning_fabric, pandas",
    "plot": "torch, seaborn, pandas",
}


def main() -> None:
    def start(modules: str) -> None:
        code = f"import sys, {modules}; print('torch' in sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)

    modules = ["torch", *LIBRARIES.values(), *(f"stages.{name}" for name in (*WITH, *WITHOUT))]
    found = in_turns([lambda modules=modules: start(modules) for modules in modules], ROUNDS)
    taken = dict(zip(modules, found.T, strict=True))
    rows = []
    for name in WITH:
        stage, libraries = taken[f"stages.{name}"], taken[LIBRARIES[name]]
        rows.append(row(f"start of {name} / import torch", stage / taken["torch"], "<= 1.3", COMMAND))
        rows.append(row(f"start of {name} / import {LIBRARIES[name]}", stage / libraries, "<= 1.3", COMMAND))
    rows += [row(f"seconds to start {name}", taken[f"stages.{name}"], "<= 1", COMMAND) for name in WITHOUT]
    keep(rows)


if __name__ == "__main__":
    errors.run(main)
