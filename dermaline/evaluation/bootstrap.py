"""How sure a number is: a cluster bootstrap that redraws whole groups of related images."""

from collections.abc import Iterator, Mapping

import numpy as np

from dermaline.data import groups
from dermaline.evaluation.metrics import Metric
from dermaline.evaluation.scores import Floats, Ints

CONFIDENCE = 0.95
_CHUNK = 400_000  # weights held at once: about 3 MB, which stays in the cache


def resample_counts(group: np.ndarray, stratum: np.ndarray, replicates: int, seed: int) -> Iterator[Floats]:
    """Draw groups with replacement, in each stratum as many as it has (Davison & Hinkley 1997, 3.2 and 3.8).

    With the diagnosis as stratum, as in the split, every replicate holds every class; else a macro mean would be over
    seven classes in one replicate and over six in the next.

    Args:
        group: [N] labels of any kind; rows of one group are always drawn together.
        stratum: [N] labels; a group belongs to the stratum of most of its rows, as in the split.
        replicates: how many draws.
        seed: the same seed gives the same draws, however they are chunked.

    Yields:
        Chunks [R, N] of how often each row was drawn, `replicates` rows in all.
    """
    names, member = np.unique(np.asarray(group), return_inverse=True)
    _, own, sizes = np.unique(groups.stratum(group, stratum), return_inverse=True, return_counts=True)
    ordered, starts = np.argsort(own, kind="stable"), np.cumsum(sizes) - sizes
    random = np.random.default_rng(seed)
    rows = max(1, _CHUNK // max(1, len(member)))
    for start in range(0, replicates, rows):
        shape = (min(rows, replicates - start), len(names))
        within = starts[own] + (random.random(shape) * sizes[own]).astype(int)
        drawn = ordered[within] + len(names) * np.arange(shape[0])[:, None]
        times = np.bincount(drawn.ravel(), minlength=shape[0] * shape[1]).reshape(shape)
        yield times.astype(float).take(member, axis=1)


def bootstrap_distribution(
    metrics: Mapping[str, Metric], truth: Ints, probabilities: Floats, group: np.ndarray, replicates: int, seed: int
) -> dict[str, Floats]:
    """Every metric on every replicate: [replicates] for a headline metric, [replicates, C] for one of each class.

    Arguments as for `resample_counts`, with the truth as stratum, and `dermaline.evaluation.metrics`.
    """
    chunks = [
        {name: metric(truth, probabilities, weights) for name, metric in metrics.items()}
        for weights in resample_counts(group, truth, replicates, seed)
    ]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in metrics}


def interval(values: Floats) -> tuple[Floats, Floats]:
    """The percentile interval over the first axis (Efron 1979): its low and its high end, without that axis.

    Replicates in which the metric has no value are left out; NaN when it has none in any.
    """
    ends = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    known = ~np.isnan(values).all(axis=0)
    low, high = np.nanquantile(np.where(known, values, 0), ends, axis=0)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)
