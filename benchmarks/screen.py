"""What the daily loop shows: `python -m benchmarks.screen`, four minutes on two cores.

A grid of three learning rates with another seed, with trainings of one epoch: how wide `dvc exp show` is, how long
`dvc metrics diff` is, and how many lines of the parameters one changed value touches. Needs a clean checkout; works on
a clone of it.
"""

import re
import subprocess
import tempfile
from pathlib import Path

from benchmarks.measure import keep, row
from benchmarks.pipeline import commit, run
from dermaline.base import errors

COMMAND = "python -m benchmarks.screen"
SHOW = "dvc exp show --only-changed --drop test|.*/|State|Executor --no-pager"
SCREEN = 160, 40  # characters, lines


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "clone")
        subprocess.run(["git", "clone", "-q", ".", str(folder)], check=True)
        params = folder / "params.yaml"
        text = params.read_text(encoding="utf-8")  # changed as text: the lines that an experiment touches are counted
        params.write_text(re.sub(r"(name: all\n    epochs: )\d+", r"\g<1>1", text), encoding="utf-8")
        run(folder, "dvc repro")
        commit(folder)
        run(folder, "dvc exp run --queue -S train.lr=5e-4,1e-3,2e-3 -S train.seed=1")
        run(folder, "dvc exp run --run-all")
        shown, plain = (run(folder, command).splitlines() for command in (SHOW, "dvc exp show --csv"))
        name = run(folder, "dvc exp list --name-only").split()[0]
        differences = run(folder, f"dvc metrics diff HEAD {name}").splitlines()
        run(folder, "dvc exp run -S train.lr=4e-4")
        changed = run(folder, "git diff --numstat -- params.yaml recipes").split()
    figures = {
        f"characters: the width of `{SHOW}` for three experiments": (max(map(len, shown)), f"<= {SCREEN[0]}"),
        "columns of `dvc exp show` without any option": (len(plain[0].split(",")), ""),
        "lines of `dvc metrics diff`": (len(differences), f"<= {SCREEN[1]}"),
        "lines of params.yaml and recipes/ that an experiment of one value changes": (int(changed[0]), "<= 1"),
    }
    keep([row(claim, [value], target, COMMAND) for claim, (value, target) in figures.items()])
    print("\n".join([f"\n$ {SHOW}", *shown, "\n$ dvc metrics diff", *differences]))


if __name__ == "__main__":
    errors.run(main)
