"""Deal the lesions out to train, val and test."""

from pathlib import Path

from dermaline.base.errors import run
from dermaline.base.files import write_json, write_text
from dermaline.base.parameters import load
from dermaline.data.index import read_index
from dermaline.data.split import SPLITS, leaked, split_images
from dermaline.params.split import Split


def main() -> None:
    options = load(Split, "split")
    index = read_index()
    index["split"] = split_images(index, options)
    write_text(Path("data/split.csv"), index[["image_id", "split"]].to_csv(index=False, lineterminator="\n"))
    summary = {}
    for name in SPLITS:
        part = index[index.split == name]
        summary[name] = {
            "images": len(part),
            "lesions": int(part.lesion_id.nunique()),
            "images_per_class": part.dx.value_counts().sort_index().to_dict(),
        }
    share = leaked(index, index.split)
    write_json(Path("metrics/split.json"), summary | {"leaked_test_images": share})
    if options.unit == "image":
        print(f"warning: split.unit is image: {share:.0%} of the test images show a lesion that is trained on")


if __name__ == "__main__":
    run(main)
