"""Where a recipe's model looked, and whether its maps can be believed: `python -m stages.explain RECIPE`.

Reads the model, data/predictions/RECIPE.csv, the test's photographs and the outlines of their lesions. Draws examples
of each diagnosis, and writes what the checks of the maps say to metrics/explain/RECIPE.json.
"""

import sys
from pathlib import Path

import pandas as pd
import torch
from torchvision.transforms.v2.functional import resize

from dermaline.base import errors, files
from dermaline.base.classes import CLASSES, INDEX
from dermaline.base.parameters import load
from dermaline.data import metadata
from dermaline.data.batches import load_images, packed_size
from dermaline.data.index import read_split
from dermaline.data.masks import load_masks
from dermaline.data.photographs import resized
from dermaline.evaluation.tables import read_predictions
from dermaline.explaining import checks
from dermaline.explaining.grad_cam import NoMaps
from dermaline.figures import style
from dermaline.figures.explanations import Example, explanations
from dermaline.inference.member import Member, load_member
from dermaline.params.explain import Explain
from dermaline.params.predict import Predict
from stages import argument

CPU, DPI = torch.device("cpu"), 200


def main() -> None:
    name, options = argument("RECIPE"), load(Explain, "explain")
    views = load(Predict, "predict").model_copy(update={"tta": "none"})  # the map of a flipped image is a flipped map
    member = load_member(Path(f"models/{name}"), load(str, "compute.device"), views)
    found = read_predictions(Path(f"data/predictions/{name}.csv"))[["image_id", *CLASSES]]
    rows = read_split("test").merge(found, on="image_id")
    rows["predicted"] = rows[list(CLASSES)].idxmax(axis=1)
    sample = rows.sample(min(options.images, len(rows)), random_state=options.seed).reset_index(drop=True)
    told, shown = {}, {}
    try:
        shown = examples(member, pick(rows))
        untaught = checks.untaught(member.recipe, options.seed, member.fabric.device)
        predicted = torch.tensor(sample["predicted"].map(INDEX).to_numpy())
        seen = (load_images(sample, member.size, CPU), predicted, metadata.encode(sample), load_masks(sample))
        told = checks.summary(checks.measure(member, untaught, *seen, sample["group"].to_numpy()))
    except NoMaps as problem:
        print(f"note: {problem}", file=sys.stderr)
    counts = {"images": len(sample), "lesions": sample["group"].nunique()}
    files.write_json(Path(f"metrics/explain/{name}.json"), {**counts, "checks": told})
    style.save(explanations(shown, name, told), Path(f"plots/explanations/{name}.png"), DPI)


def pick(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each diagnosis an image that is predicted right and one that is not: those of the median probability."""
    sure = rows.assign(right=rows["dx"] == rows["predicted"], sure=rows[list(CLASSES)].max(axis=1))
    kinds = sure.sort_values("sure", kind="stable").groupby(["dx", "right"])
    return pd.concat([some.iloc[[len(some) // 2]] for _, some in kinds]).reset_index(drop=True)


def examples(member: Member, rows: pd.DataFrame) -> dict[tuple[str, bool], Example]:
    """These rows with their maps, by diagnosis and whether it was predicted."""
    images, known, found = load_images(rows, packed_size(), CPU), metadata.encode(rows), {}
    seen = resized(images, member.size)
    for column, some in (("predicted", rows), ("dx", rows[rows["dx"] != rows["predicted"]])):
        if len(some):
            numbers, classes = list(some.index), torch.tensor(some[column].map(INDEX).to_numpy())
            maps = checks.in_parts(member, seen[numbers], classes, known[numbers])
            size, found = maps.shape[1:], found | dict(zip(zip(numbers, some[column], strict=True), maps, strict=True))
    shown = resized(images, size).permute(0, 2, 3, 1).numpy()
    masks = resize(torch.from_numpy(load_masks(rows)), list(size)).numpy() > 0
    return {
        (row["dx"], row["right"]): Example(
            shown[number],
            masks[number],
            row["dx"],
            row["predicted"],
            row[list(CLASSES)].to_dict(),
            {dx: found[number, dx] for dx in (row["predicted"], row["dx"])},
        )
        for number, row in rows.iterrows()
    }


if __name__ == "__main__":
    errors.run(main)
