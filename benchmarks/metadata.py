"""What age, sex and place add to the photograph: `python -m benchmarks.metadata RECIPE [RECIPE ...] --data ham10000`.

The mean of trained models decided by the photograph alone, against the same with one or all of them, on validation
images, by paired intervals over lesions; what a decision fits, it fits on one half of the lesions and is judged on the
other. Reads data/predictions/RECIPE.csv, data/prepared/index.csv and data/split.csv; writes results/DATA/metadata.csv.
"""

from pathlib import Path

from benchmarks.asked import asked, keep
from dermaline.base import errors
from dermaline.compute import setup_fabric
from dermaline.data.index import read_index, read_split
from dermaline.data.words import COLUMNS
from dermaline.inference.decided import cross_fitted, read_members
from dermaline.params.whole import read as read_params


def main() -> None:
    chosen = asked("What age, sex and place add to the photograph.", "names of data/predictions/, whose mean decides")
    options, train, index = read_params().evaluate, read_split("train"), read_index()
    known = read_members({name: Path(f"data/predictions/{name}.csv") for name in chosen.models}, index)
    found = {"the photograph alone": cross_fitted(known, train, options.model_copy(update={"metadata": False}))}
    options = options.model_copy(update={"metadata": True})
    for name in COLUMNS:
        others = [other for other in COLUMNS if other != name]
        one = {model: table.drop(columns=others) for model, table in known.items()}
        found[f"and {name}"] = cross_fitted(one, train, options)
    found["and all three"] = cross_fitted(known, train, options)
    table = keep("metadata", chosen, found, setup_fabric("cpu", "32-true"))
    print(table[["model", "accuracy", "balanced_accuracy", "macro_f1", "macro_auc"]].to_string(index=False))


if __name__ == "__main__":
    errors.run(main)
