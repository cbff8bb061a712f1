"""How a recipe learned."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dermaline.figures import style

SCORES = {"val_balanced_accuracy": "balanced accuracy", "val_accuracy": "accuracy", "val_macro_auc": "macro AUC"}


@style.figure
def history(epochs: pd.DataFrame, name: str, palette: str) -> Figure:
    """Losses over validation scores, epoch by epoch; phases are parted by dots, what is kept is a line.

    Args:
        epochs: `epoch`, `phase`, `train_loss`, `val_loss`, the columns of `SCORES`, and `kept`, 1 for one or several.
        name: of the recipe.
        palette: one that seaborn knows.
    """
    drawn = style.canvas(4.6)
    top, bottom = drawn.subplots(2, 1, sharex=True)
    losses = {"train_loss": "training (weighted, augmented)", "val_loss": "validation (plain)"}
    for axes, columns in ((top, losses), (bottom, SCORES)):
        for (column, label), look in zip(columns.items(), style.series(palette, len(columns)), strict=True):
            axes.plot(epochs["epoch"], epochs[column], label=label, **look | {"markersize": 4})
        axes.grid(**style.GRID)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(columns))
    kept = epochs.loc[epochs["kept"] == 1, "epoch"]
    starts = epochs.drop_duplicates("phase")
    for axes in (top, bottom):
        for epoch in kept:
            axes.axvline(epoch, color="0.4", linewidth=0.8, zorder=0)
        for start in starts["epoch"][1:]:
            axes.axvline(start - 0.5, color="0.4", linewidth=0.8, linestyle=":")
    top.set(ylabel="Loss")
    bottom.set(ylabel="Validation score", xlabel=f"Epoch (kept: {', '.join(map(str, kept))})")
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    drawn.suptitle(f"{name}, phases: {' | '.join(starts['phase'])}", fontsize=9)
    return drawn
