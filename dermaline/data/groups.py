"""Groups of lesions that are one or of one patient, and the diagnosis that each counts as: for split and bootstrap."""

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def groups(lesion_ids: pd.Series, pairs: pd.DataFrame, patients: pd.Series | None = None) -> pd.Series:
    """Join lesions that share a near-duplicate or a patient: an image's group is the first lesion_id of those joined.

    Args:
        lesion_ids: one an image, in row order.
        pairs: columns a and b, rows that show the same lesion.
        patients: one an image, or NaN where it is not known; None: of none it is.
    """
    codes, names = pd.factorize(lesion_ids, sort=True)
    a, b = pairs.a.to_numpy(), pairs.b.to_numpy()
    if patients is not None:
        rows = patients.reset_index(drop=True).dropna()
        first = rows.index.to_series().groupby(rows).transform("first")
        a, b = np.concatenate([a, first]), np.concatenate([b, rows.index])
    links = coo_array((np.ones(len(a)), (codes[a], codes[b])), shape=(len(names), len(names)))
    _, component = connected_components(links, directed=False)
    first = pd.Series(names).groupby(component).transform("first")
    return pd.Series(first.to_numpy()[codes], index=lesion_ids.index)


def stratum(group: np.ndarray, label: np.ndarray) -> pd.Series:
    """The label that most rows of each group have; of several such, the first in sorted order.

    Args:
        group, label: [N] of any kind.

    Returns:
        Group -> label, sorted by group.
    """
    names, member = np.unique(np.asarray(group), return_inverse=True)
    labels, number = np.unique(np.asarray(label), return_inverse=True)
    rows = np.bincount(member * len(labels) + number, minlength=len(names) * len(labels))
    return pd.Series(labels[rows.reshape(len(names), len(labels)).argmax(axis=1)], index=names)
