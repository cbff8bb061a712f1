"""How much a split by image flatters: `python -m benchmarks.leak --data ham10000`, minutes on a laptop.

Nothing is trained. Each test image gets the diagnosis of the most similar training image (1-nearest neighbour, cosine
similarity of a pretrained network's features), with the lesions kept apart and with the images dealt out one by one.
What the second gains, it gains by finding another photograph of the same lesion. Reads data/prepared, writes
results/DATA/leak.json.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from tqdm import tqdm

from benchmarks.asked import asked
from dermaline.base import errors, files
from dermaline.blocks import blocks
from dermaline.compute import in_words, setup_fabric
from dermaline.data.batches import load_images
from dermaline.data.index import read_index
from dermaline.data.split import leaked, split_images
from dermaline.models.network import Network, input_size
from dermaline.params import whole
from dermaline.params.recipe import Recipe, read_recipe
from dermaline.params.split import Split

RECIPE, SEEDS = "lite0_ham", range(10)


def main() -> None:
    data = asked("How much a split by image flatters.").data
    index = read_index()
    recipe, device = read_recipe(RECIPE), setup_fabric("auto", "auto")
    known = features(index, recipe, device)
    options = whole.read().split
    found = {
        unit: summary([score(index, known, options.model_copy(update={"unit": unit, "seed": seed})) for seed in SEEDS])
        for unit in ("lesion", "image")
    }
    made = {"command": f"python -m benchmarks.leak --data {data}", "machine": in_words(device), "seeds": len(SEEDS)}
    files.write_json(Path("results", data, "leak.json"), {**made, "backbone": recipe.backbone, **found})
    print(pd.DataFrame(found).to_string())


@torch.inference_mode()
def features(index: pd.DataFrame, recipe: Recipe, device: Fabric) -> np.ndarray:
    """Pooled features of every image, [N, width], each of length 1."""
    network = Network(recipe, pretrained=True).eval().to(device.device)
    found = []
    for part in tqdm(list(blocks(len(index), 256)), unit="block"):
        pixels = load_images(index.iloc[part], input_size(recipe), device.device).float().div_(255)
        with device.autocast():
            maps = network.body.forward_features(network.normalise(pixels))
            found.append(network.body.forward_head(maps, pre_logits=True).float().cpu())
    joined = torch.cat(found).numpy()
    return joined / np.linalg.norm(joined, axis=1, keepdims=True)


def score(index: pd.DataFrame, known: np.ndarray, options: Split) -> dict[str, float]:
    """The nearest neighbour's diagnosis against the true one, on the test of one split."""
    side = split_images(index, options)
    train, test = (side == name for name in ("train", "test"))
    nearest = (known[test] @ known[train].T).argmax(axis=1)
    truth, predicted = index.dx[test], index.dx[train].to_numpy()[nearest]
    return {
        "leaked_test_images": leaked(index, side),
        "accuracy": accuracy_score(truth, predicted),
        "balanced_accuracy": balanced_accuracy_score(truth, predicted),
        "melanoma_sensitivity": float((predicted[truth == "mel"] == "mel").mean()),
    }


def summary(scores: list[dict[str, float]]) -> dict[str, float]:
    """Mean and standard deviation over the split's seeds."""
    table = pd.DataFrame(scores)
    return table.mean().to_dict() | table.std().add_suffix("_sd").to_dict()


if __name__ == "__main__":
    errors.run(main)
