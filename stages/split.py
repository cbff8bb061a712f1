"""Deal the lesions out to train, val and test."""

from pathlib import Path

import pandas as pd

from dermaline import params
from dermaline.data.split import SPLITS, split_groups
from dermaline.errors import run
from dermaline.files import write_json, write_text


def main() -> None:
    options = params.load("split")
    index = pd.read_csv("data/prepared/index.csv", dtype={"image_id": str, "lesion_id": str, "group": str})
    index["split"] = split_groups(index, options.val, options.test, options.seed)
    write_text(Path("data/split.csv"), index[["image_id", "split"]].to_csv(index=False, lineterminator="\n"))
    summary = {}
    for name in SPLITS:
        part = index[index.split == name]
        summary[name] = {
            "images": len(part),
            "lesions": int(part.lesion_id.nunique()),
            "images_per_class": part.dx.value_counts().sort_index().to_dict(),
        }
    write_json(Path("metrics/split.json"), summary)


if __name__ == "__main__":
    run(main)
