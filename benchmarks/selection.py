"""Which validation score is to choose the epoch that is kept: `python -m benchmarks.selection`.

Reads the histories in results/. For each score over a recipe's last phase it shows the `jitter` (root mean square of
its distance from the mean of the epochs beside it, in parts of its range; a score that jumps is at its best where
chance was kind), its `best` epoch, whether that is one of the `plain` ones without mixing with which the phase ends,
and what accuracies the epoch has.
"""

from pathlib import Path

import pandas as pd

from dermaline.params.recipe import read_recipe
from dermaline.training.loop import VAL_METRICS


def main() -> None:
    for path in sorted(Path("results").glob("*/*/*.csv")):
        history = pd.read_csv(path)
        if "epoch" in history:  # else it is another table of the run
            print(f"{path}\n{judged(history, read_recipe(path.stem).no_mix_epochs).round(3).to_string()}\n")


def judged(history: pd.DataFrame, plain: int) -> pd.DataFrame:
    """What is shown, one row a score."""
    last = history[history.phase == history.phase.iloc[-1]].set_index("epoch")
    scores = last[[f"val_{name}" for name in VAL_METRICS]].assign(val_loss=-last.val_loss)
    off = scores - (scores.shift(1) + scores.shift(-1)) / 2
    best = scores.idxmax()
    found = {"jitter": off.pow(2).mean().pow(0.5) / (scores.max() - scores.min()), "best": best}
    found["plain"] = best > last.index.max() - plain
    for name in ("val_accuracy", "val_balanced_accuracy"):
        found[name] = best.map(last[name])
    return pd.DataFrame(found)


if __name__ == "__main__":
    main()
