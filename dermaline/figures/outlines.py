"""How well the lesion's outline is found."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from dermaline.base.classes import CLASSES
from dermaline.figures import style

COLUMNS = 4
KNOWN, FOUND = "white", "#ff9900"


class Outlined(NamedTuple):
    """A photograph with its outlines, all of one height and width."""

    image: NDArray[np.uint8]  # [H, W, 3]
    known: NDArray[np.bool_]  # [H, W], True inside the lesion
    found: NDArray[np.bool_]
    dx: str
    jaccard: float


@style.figure
def outlined(table: pd.DataFrame, worst: Sequence[Outlined]) -> Figure:
    """How the Jaccard index is spread over the test images of each diagnosis, and the photographs where it is least.

    Args:
        table: `dx` and `jaccard`, a row an image; nothing where no outline is known.
        worst: the photographs to show.
    """
    rows = -(-len(worst) // COLUMNS)
    drawn = style.canvas(2.2 + 1.5 * rows, 2 * style.WIDTH)
    if table.empty:
        drawn.suptitle("No outline of a test photograph is known: none is measured")
        return drawn
    upper, lower = drawn.subfigures(2, 1, height_ratios=[2.2, 1.5 * rows])
    _spread(upper.subplots(), table)
    panels = lower.subplots(rows, COLUMNS, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for axes, one in zip(panels.flat, worst, strict=False):
        _photograph(axes, one)
    lower.suptitle("The worst of the test", fontsize=9)
    lines = [Line2D([], [], color=colour, markeredgecolor="black") for colour in ("0.6", FOUND)]
    lower.legend(lines, ["known outline (white)", "found"], loc="outside lower center", ncols=2)
    return drawn


def _spread(axes: Axes, table: pd.DataFrame) -> None:
    order = [dx for dx in CLASSES if (table["dx"] == dx).any()]
    each = [table.loc[table["dx"] == dx, "jaccard"] for dx in order]
    names = [f"{dx}\nn = {len(values):,}" for dx, values in zip(order, each, strict=True)]
    axes.boxplot(each, tick_labels=names, widths=0.6, flierprops={"markersize": 2}, medianprops={"color": FOUND})
    axes.set(title="Jaccard index of the found outline, test images", xlabel="", ylabel="Jaccard index")
    style.unit_axis(axes, "y")


def _photograph(axes: Axes, one: Outlined) -> None:
    axes.imshow(one.image)
    for mask, colour in ((one.known, KNOWN), (one.found, FOUND)):
        if mask.any() and not mask.all():
            axes.contour(mask, levels=[0.5], colors=colour, linewidths=0.9)
    axes.set_title(f"{one.dx}, {one.jaccard:.2f}", fontsize=7, pad=2)
