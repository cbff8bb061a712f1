"""What the data look like, before and after augmentation."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dermaline.base.classes import CLASSES, DIAGNOSES
from dermaline.figures import style

SPLITS = {"train": "training", "val": "validation", "test": "test"}


@style.figure
def class_distribution(index: pd.DataFrame, palette: str) -> Figure:
    """How many images and lesions of each class every split has, on a logarithmic axis.

    Args:
        index: `lesion_id`, `dx` and `split` of each image.
        palette: one that seaborn knows.
    """
    drawn = style.canvas(3.4)
    panels = drawn.subplots(1, 2, sharey=True)
    lesions = index.drop_duplicates(["lesion_id", "split"])  # a split by image has some in several parts
    titles = (f"{len(index):,} images", f"{index['lesion_id'].nunique():,} lesions")
    for axes, title, cases in zip(panels, titles, (index, lesions), strict=True):
        counts = cases.groupby(["split", "dx"]).size().unstack(fill_value=0).reindex(columns=CLASSES, fill_value=0)
        parts = zip(SPLITS.items(), style.series(palette, len(SPLITS)), (-0.2, 0, 0.2), strict=True)
        for (split, label), look, offset in parts:
            values = counts.loc[split].replace(0, np.nan) if split in counts.index else [np.nan] * len(CLASSES)
            axes.plot(values, np.arange(len(CLASSES)) + offset, label=label, **look | {"linestyle": ""})
        style.plain_log_axis(axes, steps=(1,))
        axes.set(title=title, ylim=(len(CLASSES) - 0.5, -0.5))
        axes.set_yticks(np.arange(len(CLASSES)), DIAGNOSES.values())
        axes.tick_params(axis="y", length=0)
        axes.grid(**style.GRID)
        axes.set_axisbelow(True)
    style.legend_below(drawn, panels[0], columns=3)
    return drawn


@style.figure
def sample_grid(samples: Mapping[str, Sequence[NDArray[np.uint8]]], counts: Mapping[str, int]) -> Figure:
    """A row of training images for each class.

    Args:
        samples: of each class the images [H, W, 3] to show; a class may have fewer than another.
        counts: how many training images each class has.
    """
    shown = [name for name in CLASSES if samples.get(name)]
    texts = style.labels([counts[name] for name in shown], shown)
    drawn = _grid([samples[name] for name in shown], texts)
    drawn.suptitle("Training images", fontsize=9)
    return drawn


@style.figure
def augmentation(originals: Sequence[NDArray], augmented: Sequence[Sequence[NDArray]]) -> Figure:
    """Each image as it is, in the first column, and as the network may see it.

    Args:
        originals: images [H, W, 3], uint8 or 0..1.
        augmented: of each image its variants, as images too.
    """
    drawn = _grid([[image, *variants] for image, variants in zip(originals, augmented, strict=True)], None)
    drawn.axes[0].set_title("original")
    drawn.axes[1].set_title("augmented", loc="left")
    return drawn


def _grid(rows: Sequence[Sequence[NDArray]], texts: Sequence[str] | None) -> Figure:
    columns = max(len(row) for row in rows)
    height, width = rows[0][0].shape[:2]
    room = style.WIDTH - (1.25 if texts else 0)
    drawn = style.canvas(len(rows) * room / columns * height / width + 0.25)
    drawn.get_layout_engine().set(w_pad=0.015, h_pad=0.03, wspace=0, hspace=0)
    panels = drawn.subplots(len(rows), columns, squeeze=False)
    for number, (axes_row, images) in enumerate(zip(panels, rows, strict=True)):
        for axes in axes_row:
            axes.set_axis_off()
        for axes, image in zip(axes_row, images, strict=False):
            axes.imshow(image)
        if texts:
            place = {"xy": (-0.08, 0.5), "xycoords": "axes fraction", "ha": "right", "va": "center"}
            axes_row[0].annotate(texts[number], **place)
    return drawn
