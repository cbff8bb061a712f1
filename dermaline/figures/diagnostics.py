"""What the model gets right and wrong on the test split."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dermaline.base.classes import CLASSES, DIAGNOSES
from dermaline.figures import style

BESIDE = 1.12  # times as far along an axis of logarithms: a marker's width


@style.figure
def confusion_matrix(rows: pd.DataFrame, share: bool) -> Figure:
    """The confusion matrix, as counts or as a share of each true class.

    Args:
        rows: `actual` and `predicted` of each case.
        share: whether every row sums to 1; the colours always show the share.
    """
    counts = pd.crosstab(rows["actual"], rows["predicted"]).reindex(index=CLASSES, columns=CLASSES, fill_value=0)
    support = counts.sum(axis=1)
    shares = counts.div(support.clip(lower=1), axis=0)
    text = shares.map("{:.2f}".format) if share else counts.map(str)
    drawn = style.canvas(3.5)
    axes = drawn.add_subplot()
    sns.heatmap(shares, annot=text, fmt="", vmin=0, vmax=1, cmap="Blues", cbar=False, linewidths=0.5, ax=axes)
    axes.set_yticks(np.arange(len(CLASSES)) + 0.5, style.labels(support), rotation=0)
    axes.set_xticks(np.arange(len(CLASSES)) + 0.5, CLASSES, rotation=45)
    axes.set(xlabel="Predicted", ylabel="True class")
    axes.tick_params(length=0)
    axes.set_title("Share of the true class" if share else f"{len(rows):,} test images")
    return drawn


@style.figure
def roc(curves: Mapping[str, pd.DataFrame], classes: pd.DataFrame, macro: float, palette: str) -> Figure:
    """ROC curves of every class against the rest.

    Args:
        curves: of each class `fpr` and `tpr`; an empty one is left out.
        classes: the table of classes, for `auc` and `support`.
        macro: the macro AUC, for the title.
        palette: one that seaborn knows.
    """
    drawn, axes = _class_curves(curves, ("fpr", "tpr"), classes.set_index("class")["auc"], palette)
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, zorder=1)
    axes.set(xlabel="1 − specificity", ylabel="Sensitivity")
    axes.set_title(f"ROC, macro AUC {macro:.3f} (n = {classes['support'].sum():,})")
    return drawn


@style.figure
def precision_recall(curves: Mapping[str, pd.DataFrame], classes: pd.DataFrame, macro: float, palette: str) -> Figure:
    """Precision-recall curves of every class, as the steps whose area is the average precision.

    Args:
        curves: of each class `recall` and `precision`; an empty one is left out.
        classes: the table of classes, for `average_precision` and `support`.
        macro: the macro average precision, for the title.
        palette: one that seaborn knows.
    """
    values = classes.set_index("class")["average_precision"]
    drawn, axes = _class_curves(curves, ("recall", "precision"), values, palette, drawstyle="steps-pre")
    axes.set(xlabel="Recall", ylabel="Precision")
    axes.set_title(f"Macro average precision {macro:.3f} (n = {classes['support'].sum():,})")
    return drawn


def _class_curves(
    curves: Mapping[str, pd.DataFrame], columns: tuple[str, str], areas: pd.Series, palette: str, **look: str
) -> tuple[Figure, Axes]:
    """A square of 0..1 by 0..1 with a curve of each class that has one, and a legend that gives its area."""
    drawn = style.canvas(4.5)
    axes = drawn.add_subplot(aspect="equal")
    x, y = columns
    for name, curve in curves.items():
        if len(curve):
            own = style.looks(palette)[name] | {"marker": ""} | look
            axes.plot(curve[x], curve[y], label=f"{DIAGNOSES[name]} {areas[name]:.2f}", **own)
    style.unit_axis(axes)
    style.legend_below(drawn, axes)
    return drawn, axes


@style.figure
def reliability(bins: pd.DataFrame, error: float, palette: str) -> Figure:
    """Accuracy against confidence, over how many cases each bin holds.

    Args:
        bins: `low`, `high`, `confidence`, `accuracy`, `count` of each bin that is not empty.
        error: the expected calibration error, for the title.
        palette: one that seaborn knows.
    """
    drawn = style.canvas(4.4)
    top, bottom = drawn.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    (look,) = style.series(palette, 1)
    top.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, label="perfectly calibrated")
    top.vlines(bins["confidence"], bins["confidence"], bins["accuracy"], color=look["color"], linewidth=0.8)
    top.plot(bins["confidence"], bins["accuracy"], label="model", **look)
    style.unit_axis(top)
    top.set(ylabel="Accuracy")
    top.set_title(f"Expected calibration error {error:.3f} (n = {bins['count'].sum():,})")
    bottom.bar(bins["low"], bins["count"], 0.95 * (bins["high"] - bins["low"]), align="edge", color=look["color"])
    bottom.set(xlabel="Confidence (largest probability)", ylabel="Images")
    style.legend_below(drawn, top)
    return drawn


@style.figure
def f1_by_class(classes: pd.DataFrame, palette: str) -> Figure:
    """F1 of each class with its 95 % interval, precision and recall beside it.

    Args:
        classes: the table of classes: `class`, `support`, `f1`, `f1_low`, `f1_high`, `precision`, `recall`.
        palette: one that seaborn knows.
    """
    drawn = style.canvas(3.6)
    axes = drawn.add_subplot()
    main, precision, recall = style.series(palette, 3)
    rows = np.arange(len(classes))
    axes.hlines(rows, classes["f1_low"], classes["f1_high"], color=main["color"], linewidth=1.6)
    marks = (
        ("f1", "F1 (line: 95 % interval)", main, 0),
        ("precision", "precision", precision, -0.22),
        ("recall", "recall", recall, 0.22),
    )
    for column, label, look, offset in marks:
        axes.plot(classes[column], rows + offset, label=label, **look | {"linestyle": "", "clip_on": False})
    style.unit_axis(axes, "x")
    axes.set_yticks(rows, style.labels(classes["support"], classes["class"]))
    axes.set(xlabel=f"Score on {classes['support'].sum():,} test images", ylim=(len(rows) - 0.5, -0.5))
    axes.tick_params(axis="y", length=0)
    style.legend_below(drawn, axes, columns=3)
    return drawn


@style.figure
def f1_by_train_images(classes: pd.DataFrame, palette: str) -> Figure:
    """F1 of each class, with its 95 % interval, against how many images of it were trained on.

    Args:
        classes: the table of classes: `class`, `train_images`, `f1`, `f1_low`, `f1_high`.
        palette: one that seaborn knows.
    """
    drawn = style.canvas(4.0)
    axes = drawn.add_subplot()
    style.plain_log_axis(axes)
    looks = style.looks(palette)
    shown = classes[(classes["train_images"] > 0) & np.isfinite(classes["f1"])].set_index("class")
    across = apart(shown["train_images"])
    for name, row in shown.iterrows():
        axes.vlines(across[name], row["f1_low"], row["f1_high"], color=looks[name]["color"])
        label = f"{DIAGNOSES[name]} {row['train_images']:,.0f}"
        axes.plot(
            across[name], row["f1"], label=label, **looks[name] | {"linestyle": "", "clip_on": False, "markersize": 7}
        )
    style.unit_axis(axes, "y")
    axes.set(
        xlabel="Training images",
        ylabel=f"F1 on {classes['support'].sum():,} test images (line: 95 % interval)",
    )
    style.legend_below(drawn, axes)
    return drawn


def apart(counts: pd.Series) -> pd.Series:
    """Where counts are drawn on an axis of logarithms: one that would hide the one before is moved to its right."""
    ascending = counts.sort_values(kind="stable").astype(float)
    for place in range(1, len(ascending)):
        ascending.iloc[place] = max(ascending.iloc[place], ascending.iloc[place - 1] * BESIDE)
    return ascending


@style.figure
def by_slice(slices: pd.DataFrame, palette: str) -> Figure:
    """Balanced accuracy, over how many classes is said, accuracy and melanoma sensitivity of each kind of patient.

    Args:
        slices: the table of slices: `variable`, `value`, `images`, `classes` of the balanced accuracy; `NAME`,
            `NAME_low`, `NAME_high` of the three scores, and `NAME_verdict`, of the slice against all other images; its
            first row is of all images, and one without scores has only a label.
        palette: one that seaborn knows.
    """
    rows = np.arange(len(slices)) + 0.7 * (slices["variable"] != slices["variable"].shift()).cumsum().to_numpy()
    drawn = style.canvas(0.9 + 0.21 * rows[-1])
    axes = drawn.add_subplot()
    scores = ("balanced_accuracy", "accuracy", "melanoma_sensitivity")
    main, other, _, third = style.series(palette, 4)  # a triangle is a verdict here
    for name, look, offset in zip(scores, (main, other, third), (-0.25, 0, 0.25), strict=True):
        low, high = (slices[f"{name}_{end}"] for end in ("low", "high"))
        axes.hlines(rows + offset, low, high, color=look["color"], linewidth=1.6)
        look = look | {"linestyle": "", "markersize": 4}
        axes.plot(slices[name], rows + offset, label=name.replace("_", " "), **look)
        for verdict, marker in (("worse", "v"), ("better", "^")):
            shown = rows[slices[f"{name}_verdict"] == verdict] + offset
            axes.plot(np.full(len(shown), 0.02), shown, **look | {"marker": marker, "markersize": 5})
    for row in rows[slices["accuracy"].isna()]:
        axes.text(0, row, "too few to score", va="center", color="0.45")
    style.unit_axis(axes, "x")
    axes.grid(visible=False, axis="y")
    names = slices["value"].where(slices["variable"] != "all", "all test images")
    names = names.where(names != "unknown", slices["variable"] + " unknown")
    names += slices["images"].map(", n = {:,}".format)
    classes = slices["classes"].where(slices["balanced_accuracy"].notna(), "").str.split().str.len()
    axes.set_yticks(rows, names + classes.map(lambda count: f", {count} classes" if count else ""))
    axes.set(xlabel="Score, 95 % interval\n▼ worse, ▲ better", ylim=(rows[-1] + 0.6, rows[0] - 0.6))
    axes.tick_params(axis="y", length=0)
    style.legend_below(drawn, axes)
    return drawn
