"""What the model's own doubt is worth on the test split."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dermaline.base.classes import CLASSES
from dermaline.figures import style


@style.figure
def risk_coverage(rows: pd.DataFrame, area: float, palette: str) -> Figure:
    """Accuracy and balanced accuracy of the surest share of the images, and which share of the melanomas is in it.

    Args:
        rows: `coverage`, `accuracy`, `balanced_accuracy`, `melanomas`, by coverage.
        area: under the risk-coverage curve, for the title.
        palette: one that seaborn knows.
    """
    drawn = style.canvas(3.6)
    axes = drawn.add_subplot()
    lines = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "melanomas": "melanomas among them"}
    for (column, label), look in zip(lines.items(), style.series(palette, 3), strict=True):
        axes.plot(rows["coverage"], rows[column], label=label, markevery=(9, 10), **look)
    style.unit_axis(axes)
    axes.set(xlabel="Share of test images, from the surest on", ylabel="Share right, or of all melanomas")
    axes.set_title(f"Area under risk and coverage {area:.3f}")
    style.legend_below(drawn, axes)
    return drawn


@style.figure
def set_coverage(rows: pd.DataFrame, palette: str) -> Figure:
    """How often the sets of diagnoses hold the true one, of all lesions of the test and of each diagnosis.

    Args:
        rows: the table of sets: `kind`, `promised`, `variable`, `value`, `lesions`, `coverage` with `_low` and `_high`,
            `size`.
        palette: one that seaborn knows.
    """
    rows = rows[rows["variable"].isin(["all", "dx"])]
    names = ["all", *(name for name in CLASSES if (rows["value"] == name).any())]
    lesions = rows.drop_duplicates("value").set_index("value")["lesions"]
    sizes = rows[rows["variable"] == "all"].groupby("kind", sort=False)["size"]
    labels = {
        kind: f"{kind}: {' and '.join(f'{size:.1f}' for size in some)} diagnoses a set, 95 % interval"
        for kind, some in sizes
    }
    promises = rows["promised"].nunique()
    drawn = style.canvas(4.6, style.WIDTH * max(promises, 2) / 2)
    panels = drawn.subplots(1, promises, sharey=True, squeeze=False)[0]
    for axes, (promised, some) in zip(panels, rows.groupby("promised"), strict=True):
        _set_panel(axes, some, names, labels, palette)
        axes.axvline(promised, color="0.6", linewidth=0.8, zorder=1)
        axes.set(title=f"{100 * promised:g} % promised", xlabel="Coverage of lesions")
    classes = style.labels(lesions[names[1:]].tolist(), names[1:])
    panels[0].set_yticks(range(len(names)), [f"all\nn = {lesions['all']:,}", *classes])
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    style.legend_below(drawn, panels[0], columns=1)
    return drawn


def _set_panel(axes: Axes, rows: pd.DataFrame, names: Sequence[str], labels: Mapping[str, str], palette: str) -> None:
    """A mark and the 95 % interval of each kind of set that has a label."""
    looks, offsets = style.series(palette, len(labels)), np.linspace(-0.15, 0.15, len(labels))
    for (kind, label), look, offset in zip(labels.items(), looks, offsets, strict=True):
        own = rows[rows["kind"] == kind].set_index("value").loc[names]
        at = np.arange(len(names)) + offset
        axes.hlines(at, own["coverage_low"], own["coverage_high"], color=look["color"], linewidth=1.6)
        axes.plot(own["coverage"], at, label=label, **look | {"linestyle": "", "clip_on": False, "markersize": 4.5})
    style.unit_axis(axes, "x")
    axes.grid(visible=False, axis="y")
    axes.set_xticks([0, 0.5, 1])
    axes.tick_params(axis="y", length=0)
