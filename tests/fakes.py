"""A small project as the stages leave it, with predictions as unequal, clustered and fallible as real ones."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from closure import ROOT
from parameters import put_parameters

from dermaline.base.classes import CLASSES
from dermaline.params.recipe import read_recipe

SHARES = (327, 514, 1099, 115, 1113, 6705, 142)  # the images of HAM10000 by class
SITES = ("back", "face", "trunk")


def index(lesions: int = 1100, seed: int = 0) -> pd.DataFrame:
    """A prepared table: lesions of one to three photographs, a few joined to one group, all three splits."""
    random = np.random.default_rng(seed)
    dx = random.choice(CLASSES, lesions, p=np.array(SHARES) / sum(SHARES))
    dx[: len(CLASSES) * 8] = np.repeat(CLASSES, 8)
    photographs = random.choice([1, 2, 3], lesions, p=[0.75, 0.17, 0.08])
    number = np.repeat(np.arange(lesions), photographs)
    split = np.where(np.arange(lesions) % 8 < 4, "train", np.where(np.arange(lesions) % 8 < 6, "val", "test"))
    table = pd.DataFrame({"row": np.arange(len(number)), "image_id": [f"ISIC_{i:07d}" for i in range(len(number))]})
    twin = np.where((number % 8 == 7) & (number % 5 == 0), number - 1, number)  # both of test
    age = random.integers(1, 17, len(number)) * 5.0
    return table.assign(
        lesion_id=[f"HAM_{i:07d}" for i in number],
        group=[f"HAM_{i:07d}" for i in twin],
        dx=dx[number],
        age=np.where(dx[number] == "nv", np.minimum(age, 60), age),  # so that it tells something
        sex=random.choice(["male", "female"], len(number)),
        localization=random.choice(SITES, len(number)),
        split=split[number],
    )


def predictions(table: pd.DataFrame, skill: float = 2.2, seed: int = 0) -> pd.DataFrame:
    """Probabilities for its val and test images; photographs of one lesion err together."""
    table = table[table["split"] != "train"].reset_index(drop=True)
    random = np.random.default_rng(seed)
    of_lesion, lesion = np.unique(table["lesion_id"], return_inverse=True)
    logits = random.normal(size=(len(of_lesion), len(CLASSES)))[lesion] + random.normal(
        0, 0.7, (len(table), len(CLASSES))
    )
    truth = table["dx"].map(list(CLASSES).index).to_numpy()
    logits[np.arange(len(table)), truth] += skill
    logits += np.log(np.array(SHARES) / sum(SHARES)) / 3
    shares = np.exp(1.5 * logits)
    shares = pd.DataFrame(shares / shares.sum(axis=1, keepdims=True), columns=list(CLASSES))
    identity = table[["image_id", "lesion_id", "group", "split", "dx"]].assign(model=digest(seed))
    return pd.concat([identity, shares.round(7)], axis=1)


def digest(seed: int) -> str:
    """That of a model, one that a table's reader could take for a number."""
    return f"{seed:013}e10"


def history(epochs: int = 12) -> pd.DataFrame:
    """A training history of two phases."""
    epoch = np.arange(1, epochs + 1)
    learnt = 1 - np.exp(-epoch / 4)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "phase": np.where(epoch <= 2, "head", "all"),
            "lr": 1e-3 * np.cos(epoch / epochs * 1.5),
            "train_loss": 1.9 - 1.4 * learnt,
            "val_loss": 1.9 - 1.2 * learnt + 0.02 * (epoch % 3),
            "val_accuracy": 0.6 + 0.25 * learnt,
            "val_balanced_accuracy": 0.2 + 0.55 * learnt - 0.01 * (epoch % 3),
            "val_macro_auc": 0.6 + 0.36 * learnt,
            "kept": (epoch == max(1, epochs - 2)).astype(int),
            "seconds": 10.0,
        }
    )


def images(table: pd.DataFrame, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A brownish disc on skin for each row."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[: size[0], : size[1]]
    radius = random.uniform(0.15, 0.4, len(table))[:, None, None] * size[0]
    inside = ((y - size[0] / 2) ** 2 + (x - size[1] / 2) ** 2) < radius**2
    lesion = random.integers(40, 150, (len(table), 1, 1, 3))
    skin = np.array([225, 180, 165])
    noise = random.integers(-8, 8, (len(table), *size, 1))
    return (np.where(inside[..., None], lesion, skin) + noise).clip(0, 255).astype(np.uint8)


def project(folder: Path, recipes: tuple[str, ...] = ("lite0", "lite0_ham"), lesions: int = 1100) -> pd.DataFrame:
    """Write what `evaluate` and `plot` read; returns the index with its split."""
    table = index(lesions)
    for name in ("data/predictions", "data/prepared", "plots/training"):
        (folder / name).mkdir(parents=True)
    put_parameters(folder, {"ensemble": list(recipes), "evaluate.bootstrap": 60})
    table.drop(columns="split").to_csv(folder / "data/prepared/index.csv", index=False)
    table[["image_id", "split"]].to_csv(folder / "data/split.csv", index=False)
    np.save(folder / "data/prepared/images.npy", images(table))
    for seed, name in enumerate(recipes):
        predictions(table, seed=seed).to_csv(folder / f"data/predictions/{name}.csv", index=False)
        history().to_csv(folder / f"plots/training/{name}.csv", index=False)
        (folder / f"models/{name}").mkdir(parents=True)
        recipe = read_recipe("lite0", ROOT).model_dump(mode="json") | {"size": [36, 48]}
        (folder / f"models/{name}/recipe.json").write_text(
            json.dumps({"recipe": recipe, "size": recipe["size"]}), encoding="utf-8"
        )
    return table
