"""Models beside one another on the same images, and which differences are shown."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dermaline.base.errors import DermalineError
from dermaline.base.parameters import nearest
from dermaline.evaluation import bootstrap, tables
from dermaline.evaluation.metrics import HEADLINE
from dermaline.evaluation.scores import Floats
from dermaline.evaluation.summary import metrics_with_ci, redrawn
from dermaline.params.evaluate import Evaluate

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc", "ece")
COMPARED = ("balanced_accuracy", "macro_f1", "macro_auc", "accuracy")
REFERENCE, NOT_SHOWN = "reference", "not shown to differ"


def models_table(models: Mapping[str, pd.DataFrame], options: Evaluate, reference: str | None = None) -> pd.DataFrame:
    """Score every model, and compare it with one of them, on the same draws of the bootstrap over lesions.

    Args:
        models: decided predictions of each model (see `tables`), of the same images in any order.
        options: how many draws, and their seed.
        reference: the model that the others are compared with; None is the first.

    Returns:
        One row a model, in order: `model`; each of `METRICS` as NAME, NAME_low, NAME_high (NaN for the ECE); each of
        `COMPARED` as NAME_difference (this model less the reference), NAME_difference_low, NAME_difference_high, which
        are NaN for the reference, the interval also where all draws have one difference other than 0; and
        NAME_verdict: "better" or "worse" when the 95 % interval of the difference excludes 0, else "not shown to
        differ", and "reference" for the reference. Each pair is judged on its own: of
        twenty models like the reference, one may be called better or worse by chance, and more where a class has a few
        lesions only, of which redrawing is too sure.

    Raises:
        DermalineError: the models' images are not the same, or none has the reference's name.
    """
    reference = reference or next(iter(models))
    if reference not in models:
        raise DermalineError(f"evaluate.reference: no model '{reference}'; {nearest(reference, list(models))}")
    aligned = dict(zip(models, tables.aligned(list(models.values())), strict=True))
    draws = {name: redrawn(table, {key: HEADLINE[key] for key in COMPARED}, options) for name, table in aligned.items()}
    scores = {name: metrics_with_ci(table, METRICS, options, draws[name]) for name, table in aligned.items()}
    return pd.DataFrame({"model": name, **scores[name], **_against(reference, name, scores, draws)} for name in models)


def _against(
    reference: str, name: str, scores: Mapping[str, dict[str, float]], draws: Mapping[str, dict[str, Floats]]
) -> dict[str, float | str]:
    """The columns of a row of `models_table` that compare it with the reference."""
    itself, row = name == reference, {}
    for metric in COMPARED:
        low, high = bootstrap.interval(draws[name][metric] - draws[reference][metric])
        if low == high != 0:  # of images that every draw holds, such as a diagnosis' only lesion: this shows nothing
            low = high = np.nan
        value = scores[name][metric] - scores[reference][metric]
        for end, number in (("", value), ("_low", low), ("_high", high)):
            row[f"{metric}_difference{end}"] = np.nan if itself else float(number)
        row[f"{metric}_verdict"] = REFERENCE if itself else verdict(low, high)
    return row


def verdict(low: float, high: float) -> str:
    """What the ends of a difference's interval show: "better", "worse", or `NOT_SHOWN`, if 0 is between them."""
    return "better" if low > 0 else "worse" if high < 0 else NOT_SHOWN
