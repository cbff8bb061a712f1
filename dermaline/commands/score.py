"""The command `score`: predictions against the truth, by the same code as the evaluate stage."""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from dermaline.base.classes import CLASSES, DIAGNOSES
from dermaline.base.errors import DermalineError
from dermaline.base.files import require_file, write_json
from dermaline.evaluation import summary, tables
from dermaline.evaluation.bootstrap import CONFIDENCE
from dermaline.evaluation.metrics import HEADLINE, OF_CHANCES, PER_CLASS
from dermaline.params import whole
from dermaline.user_files.answers import joined, read_predictions, read_truth

REPLICATES = (10, 100_000)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("predictions", type=Path, help="what predict wrote, in either format")
    parser.add_argument("truth", type=Path, help="image_id, dx and maybe lesion_id; or ISIC's image, MEL, NV, ...")
    parser.add_argument(
        "--output", type=Path, default=Path("scores.json"), metavar="FILE.json", help="default: %(default)s"
    )
    parser.add_argument("--bootstrap", type=int, default=1000, metavar="N", help="replicates for the intervals")


def main(options: argparse.Namespace) -> str:
    return score(options.predictions, options.truth, options.output, options.bootstrap)


def score(predictions: Path, truth: Path, output: Path, replicates: int) -> str:
    """Measure predictions, write all of it as JSON, and say the main things.

    Args:
        predictions: what `predict` wrote: `image_id`, `predicted`, seven probabilities, maybe `melanoma_suspected`;
            or ISIC's form, where the largest confidence is the prediction. Confidences that do not sum to 1 are no
            chances: what needs those, `OF_CHANCES`, is left out.
        truth: `image_id`, `dx`, or ISIC's form with a 1 for the diagnosis; with `lesion_id` intervals are drawn by
            lesion, else by image. Images whose `score_weight` is 0 are left out, as in the challenge.
        output: the JSON file to write: the files, `interval_by`, `unscored_images`, `left_out` (metrics), `image_level`
            and, where a melanoma threshold was applied, `melanoma_operating_point`, both as in `metrics/details.json`.
        replicates: of the bootstrap; its seed and the calibration's bins are those of `params.yaml`.

    Raises:
        DermalineError: a file is wrong, or the two are not about the same images.
    """
    if not REPLICATES[0] <= replicates <= REPLICATES[1]:
        raise DermalineError(f"score: --bootstrap {replicates} is outside {REPLICATES[0]} to {REPLICATES[1]}")
    require_file(output)
    options = whole.read().evaluate.model_copy(update={"bootstrap": replicates})
    known = read_truth(truth)
    answers = read_predictions(predictions, known.unscored)
    table, left_out = joined(predictions, answers, truth, known), frozenset() if answers.chances else OF_CHANCES
    unit = "lesion" if "lesion_id" in table else "image"
    table = table.assign(group=table[f"{unit}_id"])
    found: dict[str, Any] = {"predictions": predictions.as_posix(), "truth": truth.as_posix(), "interval_by": unit}
    found |= {"unscored_images": known.unscored, "left_out": sorted(left_out)}
    found["image_level"] = summary.scores(table, options, left_out)
    if tables.SUSPECTED in table:
        found[summary.OPERATING_POINT] = summary.operating_point(table)
    write_json(output, found)
    return f"{in_words(found)}\n\n{note(table, unit, replicates)}; details: {output}"


def in_words(found: dict[str, Any]) -> str:
    """The headline with its intervals, and a row for each class."""
    scores = found["image_level"]
    lines = [_line(name, scores) for name in HEADLINE if name in scores]
    point = found.get(summary.OPERATING_POINT, {})
    lines += [_line(name, point, " at threshold") for name in point if name != "intervals"]
    head = f"{'':22}{'support':>9}" + "".join(f"{name.replace('average_precision', 'AP'):>13}" for name in PER_CLASS)
    lines += ["", head]
    for name, values in scores["per_class"].items():
        cells = "".join(f"{values[metric]:13.3f}" if metric in values else f"{'-':>13}" for metric in PER_CLASS)
        lines.append(f"{DIAGNOSES[name]:22}{values['support']:9,}{cells}")
    absent = scores["absent_classes"]
    if absent:
        present = len(CLASSES) - len(absent)
        lines.append(f"No image of {', '.join(absent)}: a mean over the classes is over the other {present}.")
    return "\n".join(lines)


def _line(name: str, scores: dict[str, Any], more: str = "") -> str:
    ends = scores["intervals"].get(name)
    between = f"  ({ends['low']:.3f} to {ends['high']:.3f})" if ends else ""
    return f"{name.replace('_', ' ') + more:42}{scores[name]:.3f}{between}"


def note(table: pd.DataFrame, unit: str, replicates: int) -> str:
    """What the numbers are of, and how the intervals were drawn."""
    how = f"{CONFIDENCE:.0%} intervals by {unit}, Wilson's for shares and else from {replicates:,} draws"
    if unit == "lesion":
        return f"{len(table):,} images of {table['lesion_id'].nunique():,} lesions; {how}"
    return f"{len(table):,} images; {how}: no lesion_id, so they are too narrow if a lesion has several images"
