"""Draw every figure of the final model, the recipes and the data into plots/figures/.

Reads plots/evaluation/, metrics/details.json, plots/training/, the first recipe's recipe.json, and data/.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch.nn.functional import interpolate

from dermaline.base import errors, files
from dermaline.base.classes import CLASSES
from dermaline.base.parameters import load
from dermaline.data.index import PREPARED, read_with_split
from dermaline.data.photographs import channels_first, in_memory, sizes_for
from dermaline.figures import dataset, diagnostics, style, training, uncertainty
from dermaline.models.model_info import read_model_info
from dermaline.params.plot import Plot
from dermaline.params.recipe import Recipe
from dermaline.portable import pin
from dermaline.training.augment import augment

PLOTS, TABLES = Path("plots"), Path("plots/evaluation")
PER_CLASS, AUGMENTED, VARIANTS = 4, ("mel", "nv", "bkl", "bcc"), 4


def main() -> None:
    pin()
    options, recipes = load(Plot, "plot"), load(list[str], "ensemble")
    files.keep_only(PLOTS / "training", [f"{name}.csv" for name in recipes])
    index = read_with_split()
    learned = {name: pd.read_csv(PLOTS / f"training/{name}.csv") for name in recipes}
    images = np.load(PREPARED / "images.npy", mmap_mode="r")
    with files.replacing(PLOTS / "figures") as folder:
        folder.mkdir()
        for name, drawn in (
            *evaluation_figures(options.palette),
            *((f"training_{name}", training.history(learned[name], name, options.palette)) for name in recipes),
            *dataset_figures(index, images, recipes[0], options.palette),
        ):
            style.save(drawn, folder / f"{name}.png", options.dpi)


def evaluation_figures(palette: str) -> Iterator[tuple[str, Figure]]:
    """The final model on the test split."""
    final = list(files.read_json(Path("metrics/details.json")).values())[-1]
    scores, area = final["image_level"], final["selective"]["risk_area"]

    def table(name: str) -> pd.DataFrame:
        return pd.read_csv(TABLES / f"{name}.csv")

    confusion, classes, risk = table("confusion"), table("per_class"), table("risk")
    roc, pr = ({name: table(f"{kind}/{name}") for name in CLASSES} for kind in ("roc", "pr"))
    yield "confusion_counts", diagnostics.confusion_matrix(confusion, share=False)
    yield "confusion_shares", diagnostics.confusion_matrix(confusion, share=True)
    yield "roc", diagnostics.roc(roc, classes, scores["macro_auc"], palette)
    yield "precision_recall", diagnostics.precision_recall(pr, classes, scores["macro_average_precision"], palette)
    yield "reliability", diagnostics.reliability(table("reliability"), scores["ece"], palette)
    yield "f1_by_class", diagnostics.f1_by_class(classes, palette)
    yield "f1_by_train_images", diagnostics.f1_by_train_images(classes, palette)
    yield "slices", diagnostics.by_slice(table("slices"), palette)
    yield "risk_coverage", uncertainty.risk_coverage(risk, area, palette)
    yield "set_coverage", uncertainty.set_coverage(table("sets"), palette)


def dataset_figures(index: pd.DataFrame, images: np.ndarray, recipe: str, palette: str) -> Iterator[tuple[str, Figure]]:
    """The data, and what the first recipe makes of them."""
    train = index[index["split"] == "train"]
    picked = {name: pick(rows) for name, rows in train.groupby("dx")}
    samples = {name: [images[row] for row in rows] for name, rows in picked.items()}
    chosen = np.stack([samples[name][0] for name in AUGMENTED if name in samples])
    yield "class_distribution", dataset.class_distribution(index, palette)
    yield "samples", dataset.sample_grid(samples, train["dx"].value_counts())
    yield "augmentation", dataset.augmentation(chosen, variants(chosen, recipe))


def pick(rows: pd.DataFrame) -> list[int]:
    """Rows of a few images, of different lesions and spread evenly over the table."""
    firsts = rows.drop_duplicates("lesion_id")["row"].to_numpy()
    return firsts[np.linspace(0, len(firsts) - 1, min(PER_CLASS, len(firsts))).astype(int)].tolist()


def variants(images: np.ndarray, recipe: str) -> np.ndarray:
    """Augmented variants [images, VARIANTS, h, w, 3], as the recipe was trained with."""
    stored = read_model_info(Path(f"models/{recipe}"))
    batch = channels_first(images)
    options, generator = Recipe.model_validate(stored["recipe"]), torch.Generator().manual_seed(0)
    sizes = sizes_for(stored["size"], options.view, options.crop_from, images.shape[1:3])
    levels = [in_memory(interpolate(batch, size, mode="bilinear", antialias=True)) for size in sizes]
    chosen = torch.arange(len(batch)).repeat_interleave(VARIANTS)
    made = augment(levels, chosen, stored["size"], options, generator, batch.device).permute(0, 2, 3, 1)
    return made.numpy().reshape(len(images), VARIANTS, *made.shape[1:])


if __name__ == "__main__":
    errors.run(main)
