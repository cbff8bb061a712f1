"""Models beside one another on the same images, and which differences are more than noise."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dermaline.evaluation import bootstrap, tables
from dermaline.evaluation.metrics import HEADLINE, OF_DECISIONS, OF_PROBABILITIES
from dermaline.evaluation.ranking import Floats
from dermaline.evaluation.summary import measured
from dermaline.params import Evaluate

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc", "ece")
COMPARED = ("balanced_accuracy", "macro_f1", "macro_auc", "accuracy")
REFERENCE, NOISE = "reference", "within noise"


def models_table(models: Mapping[str, pd.DataFrame], options: Evaluate) -> pd.DataFrame:
    """Score every model, and compare it with the first one, on the same draws of the bootstrap over lesions.

    Args:
        models: decided predictions of each model (see `tables`), of the same images in any order.
        options: how many draws, and their seed.

    Returns:
        One row a model, in order: `model`; each of `METRICS` as NAME, NAME_low, NAME_high (NaN for the ECE); each of
        `COMPARED` as NAME_difference (this model less the first), NAME_difference_low, NAME_difference_high, which are
        NaN for the first, and NAME_verdict: "better" or "worse" when the 95 % interval of the difference excludes 0,
        else "within noise", and "reference" for the first. Each pair is judged on its own: of twenty models like the
        first, one may be called better or worse by chance.

    Raises:
        DermalineError: the models' images are not the same.
    """
    aligned = tables.aligned(list(models.values()))
    return pd.DataFrame(
        {"model": name, **measured(table, METRICS, options), **_against(aligned[0], table, options)}
        for name, table in zip(models, aligned, strict=True)
    )


def _against(first: pd.DataFrame, table: pd.DataFrame, options: Evaluate) -> dict[str, float | str]:
    """The columns of a row of `models_table` that compare it with the first."""
    itself = table is first
    found = dict.fromkeys(COMPARED, (np.nan,) * 3) if itself else _differences(first, table, options)
    row: dict[str, float | str] = {}
    for name, (value, low, high) in found.items():
        column = f"{name}_difference"
        row |= {column: float(value), f"{column}_low": float(low), f"{column}_high": float(high)}
        row[f"{name}_verdict"] = REFERENCE if itself else "better" if low > 0 else "worse" if high < 0 else NOISE
    return row


def _differences(first: pd.DataFrame, second: pd.DataFrame, options: Evaluate) -> dict[str, tuple[Floats, ...]]:
    """`bootstrap.difference` of each of `COMPARED`; one seed gives decisions and probabilities the same draws."""
    truth, group, found = tables.truth(first), first["group"].to_numpy(), {}
    for view, names in ((tables.decisions, OF_DECISIONS), (tables.probabilities, OF_PROBABILITIES)):
        metrics = {name: HEADLINE[name] for name in COMPARED if name in names}
        found |= bootstrap.difference(metrics, truth, view(first), view(second), group, options.bootstrap, options.seed)
    return {name: found[name] for name in COMPARED}
