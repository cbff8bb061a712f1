"""Deal the lesions out to train, val and test."""

from pathlib import Path
from typing import Any

import pandas as pd

from dermaline.base.errors import run
from dermaline.base.files import write_json, write_text
from dermaline.base.parameters import load
from dermaline.data import words
from dermaline.data.index import read_index
from dermaline.data.split import SPLITS, leaked, split_images
from dermaline.params.split import Split


def main() -> None:
    options = load(Split, "split")
    index = read_index()
    index["split"] = split_images(index, options)
    write_text(Path("data/split.csv"), index[["image_id", "split"]].to_csv(index=False, lineterminator="\n"))
    share = leaked(index, index.split)
    parts = {name: described(index[index.split == name]) for name in SPLITS}
    write_json(Path("metrics/split.json"), parts | {"leaked_test_images": share})
    if options.unit == "image":
        print(f"warning: split.unit is image: {share:.0%} of the test images show a lesion that is trained on")


def described(part: pd.DataFrame) -> dict[str, Any]:
    """What a part has, by image: a patient with more of them counts as often."""
    known = words.known(part)
    counts = {name: known[name].fillna("unknown").value_counts().sort_index().to_dict() for name in words.WORDS}
    return {
        "images": len(part),
        "lesions": int(part.lesion_id.nunique()),
        "images_per_class": part.dx.value_counts().sort_index().to_dict(),
        "age_quartiles": known["age"].quantile([0.25, 0.5, 0.75]).dropna().tolist(),
        "images_without_age": int(known["age"].isna().sum()),
        **{f"images_per_{name}": found for name, found in counts.items()},
    }


if __name__ == "__main__":
    run(main)
