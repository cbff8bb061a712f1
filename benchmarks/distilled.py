"""Whether a network says what its teachers say: `python -m benchmarks.distilled STUDENT TEACHER [...] --data ham10000`.

The mean of the teachers, against the student alone and against all together, on validation images, by paired intervals
over lesions; what a decision fits, it fits on one half of the lesions and is judged on the other.
Reads data/predictions/RECIPE.csv, data/prepared/index.csv and data/split.csv; writes results/DATA/distilled.csv.
"""

from pathlib import Path

from benchmarks.asked import asked, keep
from dermaline.base import errors
from dermaline.compute import setup_fabric
from dermaline.data.index import read_index, read_split
from dermaline.inference.decided import cross_fitted, read_members
from dermaline.params.whole import read as read_params


def main() -> None:
    chosen = asked(
        "Whether a network says what its teachers say.", "names of data/predictions/; the student, then they"
    )
    options, train, index = read_params().evaluate, read_split("train"), read_index()
    members = read_members({name: Path(f"data/predictions/{name}.csv") for name in chosen.models}, index)
    student, *teachers = members
    rows = {" and ".join(teachers): teachers, student: [student], "all together": [*teachers, student]}
    found = {row: cross_fitted({name: members[name] for name in names}, train, options) for row, names in rows.items()}
    table = keep("distilled", chosen, found, setup_fabric("cpu", "32-true"))
    print(table[["model", "accuracy", "balanced_accuracy", "macro_f1", "macro_auc"]].to_string(index=False))


if __name__ == "__main__":
    errors.run(main)
