"""Score the final model on photographs of elsewhere: `python -m stages.external NAME`.

With the decision that was fitted on val, as it is: nothing is chosen or fitted here, and nothing reads what is written.
metrics/external/NAME.json has the key metrics, NAME.details.json all of them, data/external/NAME.csv the predictions.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from dermaline.base import errors, files
from dermaline.base.parameters import Size, load
from dermaline.data.duplicates import VIEWED, reduced
from dermaline.data.index import read_with_split
from dermaline.evaluation import summary
from dermaline.evaluation.tables import SUSPECTED
from dermaline.inference import decision
from dermaline.inference.ensemble import load_ensemble
from dermaline.params.evaluate import Evaluate
from dermaline.params.external import External
from dermaline.params.predict import Predict
from dermaline.user_files import photographs
from dermaline.user_files.answers import read_truth
from dermaline.user_files.external import seen_in_training, with_truth
from dermaline.user_files.metadata_table import has_metadata, read_metadata
from stages import argument


def main() -> None:
    name = argument("NAME")
    external = load(External, f"external.{name}")
    truth = Path(external.truth)
    known = read_truth(truth)
    table, thumbnails = predicted(truth, known.table, with_truth(Path(external.photographs), truth, known))
    learned = read_with_split().query("split != 'test'")
    seen = seen_in_training(table, thumbnails, learned, load(float, "prepare.duplicate_similarity"))
    if seen:
        what = f"{len(seen)} images of external.{name} were seen in training, {seen[0]} for one"
        print(f"warning: {what}", file=sys.stderr)
    unit = "lesion_id" if "lesion_id" in table else "image_id"
    grouped = table.assign(group=table[unit])
    scores = summary.scores(grouped, load(Evaluate, "evaluate"))
    has_threshold = grouped[SUSPECTED].notna().all()
    point = {summary.OPERATING_POINT: summary.operating_point(grouped)} if has_threshold else {}
    found = {**external.model_dump(), "interval_by": unit.removesuffix("_id"), "seen_in_training": seen}
    folder = Path("metrics/external")
    files.write_json(folder / f"{name}.json", {name: summary.key_metrics(scores)})
    files.write_json(folder / f"{name}.details.json", found | {"image_level": scores} | point)
    text = table.to_csv(index=False, float_format="%.7f", lineterminator="\n")
    files.write_text(Path(f"data/external/{name}.csv"), text)


def predicted(path: Path, truth: pd.DataFrame, found: list[photographs.Photograph]) -> tuple[pd.DataFrame, np.ndarray]:
    """The truth with what the final model says of each image, and thumbnails of them.

    Age, sex and localization, where they are taken into account, are those of the truth's file.

    Raises:
        DermalineError: an image can't be used.
    """
    fitted = decision.load(Path("metrics/decision.json"))
    folders = [Path("models", recipe) for recipe in fitted.recipes]
    fitted.require(folders)
    how = (load(str, "compute.device"), load(Predict, "predict"), load(Size, "prepare.size"))
    ensemble, parts, thumbnails = load_ensemble(folders, fitted, *how), [], []
    told = ensemble.takes_metadata and has_metadata(path)
    if ensemble.takes_metadata and not told:
        print(f"note: age, sex and localization count too; {path} has none of them", file=sys.stderr)
    metadata = read_metadata(path if told else None, list(truth["image_id"]))
    sizes = sorted({*ensemble.prepared_sizes, VIEWED})
    for block in photographs.decoded(found, sizes, load(float, "prepare.max_megapixels")):
        for photograph, reason in block.bad.items():
            raise errors.DermalineError(f"{photograph}: {reason}; replace it, or take it out of the truth")
        parts.append(ensemble(block.images, metadata(block.image_ids)).table(block.image_ids))
        thumbnails.append(reduced(block.images[VIEWED]))
    return truth.merge(pd.concat(parts), on="image_id"), np.concatenate(thumbnails)


if __name__ == "__main__":
    errors.run(main)
