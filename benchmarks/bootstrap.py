"""How long the intervals take: `python -m benchmarks.bootstrap`, on one core.

1,000 replicates, drawn by lesion, of all headline metrics on 10,000 predictions; and against a plain loop that builds
each replicate's rows and scores them, whose numbers must be the same.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is there

import numpy as np

from benchmarks.measure import in_turns, keep, row
from dermaline.base import errors
from dermaline.base.classes import CLASSES
from dermaline.evaluation.bootstrap import bootstrap_distribution, resample_counts
from dermaline.evaluation.metrics import HEADLINE

CASES, LESIONS, REPLICATES, PLAIN, ROUNDS = 10_000, 7_500, 1_000, 20, 3
COMMAND = "python -m benchmarks.bootstrap"


def main() -> None:
    random = np.random.default_rng(0)
    truth = random.choice(len(CLASSES), CASES, p=[0.03, 0.05, 0.11, 0.01, 0.11, 0.67, 0.02])
    probabilities = random.dirichlet(np.ones(len(CLASSES)), CASES) + np.eye(len(CLASSES))[truth] * 0.7
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    lesion = random.integers(LESIONS, size=CASES)

    def ours(count: int = REPLICATES) -> dict[str, np.ndarray]:
        return bootstrap_distribution(HEADLINE, truth, probabilities, lesion, count, seed=0)

    def plain() -> dict[str, np.ndarray]:
        drawn = np.concatenate(list(resample_counts(lesion, truth, PLAIN, seed=0))).astype(int)
        rows = [np.repeat(np.arange(CASES), times) for times in drawn]
        return {
            name: np.array([metric(truth[chosen], probabilities[chosen], None) for chosen in rows])
            for name, metric in HEADLINE.items()
        }

    found = in_turns([ours, plain], ROUNDS)
    quick, slow = ours(PLAIN), plain()
    apart = max(np.abs(quick[name] - slow[name]).max() for name in HEADLINE)
    if apart > 1e-9:
        raise errors.DermalineError(f"benchmarks: the bootstrap and a plain loop differ by {apart:g}")
    metrics = f"{len(HEADLINE)} metrics, {CASES:,} predictions, one core"
    times = found[:, 1] / PLAIN * REPLICATES / found[:, 0]
    keep(
        [
            row(f"seconds for {REPLICATES:,} bootstrap replicates ({metrics})", found[:, 0], "<= 5", COMMAND),
            row(f"a plain loop over replicates / ours ({metrics})", times, "", COMMAND, largest_difference=apart),
        ]
    )


if __name__ == "__main__":
    errors.run(main)
