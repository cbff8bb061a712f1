"""Which of several trained models go together: `python -m benchmarks.members RECIPE [RECIPE ...] --data ham10000`.

Greedy forward selection on validation images (Caruana et al. 2004, each model once): the best one, then again and again
the one with which the mean of the calibrated probabilities has the lowest negative log-likelihood, while that falls by
`LEAST_GAIN`. What is chosen on one half of the validation lesions is judged on the other: so it is seen what choosing
itself is worth.
Reads data/predictions/RECIPE.csv and data/split.csv; writes results/DATA/members.csv.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.asked import asked, keep
from dermaline.base import errors
from dermaline.compute import setup_fabric
from dermaline.data.index import read_index, read_split
from dermaline.evaluation import scores, tables
from dermaline.inference.calibration import apply_temperature, fit_temperature
from dermaline.inference.decided import cross_fitted, read_members
from dermaline.params.whole import read as read_params

LEAST_GAIN = 0.005  # nats an image: what a member must bring, since it costs its time with every photograph


def main() -> None:
    about = "names of data/predictions/; the first is the reference"
    chosen = asked("Which of several trained models go together.", about)
    options, train, index = read_params().evaluate, read_split("train"), read_index()
    members = read_members({name: Path(f"data/predictions/{name}.csv") for name in chosen.models}, index)
    found = {name: cross_fitted({name: members[name]}, train, options) for name in members}
    found["the best of them, chosen"] = cross_fitted(members, train, options, lambda seen: greedy(seen)[:1])
    found["greedy selection"] = cross_fitted(members, train, options, greedy)
    found["all together"] = cross_fitted(members, train, options)
    table = keep("members", chosen, found, setup_fabric("cpu", "32-true"))
    shown = ["accuracy", "balanced_accuracy", "macro_f1", "macro_auc"]
    print(table[["model", *shown]].to_string(index=False, float_format="%.4f"))
    print("chosen on all of val:", ", ".join(greedy({name: of[of["split"] == "val"] for name, of in members.items()})))


def greedy(members: Mapping[str, pd.DataFrame]) -> list[str]:
    """Names of the members that go together best on these rows, in the order in which they were chosen."""
    truth = tables.truth(next(iter(members.values())))
    raw = {name: tables.probabilities(table) for name, table in members.items()}
    each = {name: apply_temperature(one, fit_temperature(truth, one)) for name, one in raw.items()}
    chosen: list[str] = []
    least = np.inf
    while len(chosen) < len(each):
        left = [name for name in each if name not in chosen]
        tried = {name: _nll(truth, [each[one] for one in (*chosen, name)]) for name in left}
        best = min(tried, key=tried.__getitem__)
        if tried[best] > least - LEAST_GAIN:
            break
        chosen, least = [*chosen, best], tried[best]
    return chosen


def _nll(truth: np.ndarray, members: list[np.ndarray]) -> float:
    mean = np.mean(members, axis=0)
    return float(scores.nll(truth, apply_temperature(mean, fit_temperature(truth, mean))))


if __name__ == "__main__":
    errors.run(main)
