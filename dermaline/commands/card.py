"""The card of the released model, in the Hugging Face form, from its recorded run and nothing else."""

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

from dermaline.base.errors import DermalineError
from dermaline.base.files import rounded
from dermaline.commands.markdown import COLUMNS, classes_table, markdown, with_ends, with_flat_ends
from dermaline.commands.release import DECISION, RELEASED
from dermaline.evaluation.slices import JUDGED
from dermaline.evaluation.summary import OPERATING_POINT, key_metrics
from dermaline.inference.decision import load
from dermaline.models.model_io import read_model_info

CARD, TEMPLATE = RELEASED / "README.md", Path(__file__).with_name("card.md")
HEADLINE = COLUMNS | {
    "expected calibration error": "ece",
    "melanoma sensitivity at 90 % specificity": "melanoma_sensitivity_at_specificity_90",
    "melanoma sensitivity at 95 % specificity": "melanoma_sensitivity_at_specificity_95",
}


def card(data: Path) -> str:
    """The text of the released model's card.

    Args:
        data: `results/DATA`, where `record` has put the run under the recipe's name, or under `ensemble`.

    Raises:
        DermalineError: there is no such run, or it is of another model than the released one.
    """
    decision = load(DECISION)
    known = {name: read_model_info(RELEASED / name) for name in decision.recipes}
    name = decision.recipes[0] if len(known) == 1 else "ensemble"
    folder = data / name
    try:
        details, made = (json.loads((folder / f"{part}.json").read_text("utf-8")) for part in ("details", "made"))
        slices, sets, risk = (pd.read_csv(folder / f"{part}.csv") for part in ("slices", "sets", "risk"))
        recorded = load(folder / "decision.json")
    except FileNotFoundError as problem:
        raise DermalineError(
            f"{problem.filename}: not found; run record {name} after the run that was released"
        ) from None
    for recipe, facts in known.items():
        if facts["test"] != rounded(key_metrics(details[recipe]["image_level"])):
            raise DermalineError(f"{folder}: not of the released {recipe}; run record and release after the same run")
    if recorded.model_copy(update={"models": decision.models}) != decision:
        raise DermalineError(f"{folder}: not of the released decision; run record and release after the same run")
    final = details[name]
    image_level, point = final["image_level"], final[OPERATING_POINT]
    height, width = known[decision.recipes[0]]["prepared_size"]
    digests = ", ".join(f"`{recipe}` {value}" for recipe, value in decision.models.items())
    words = {
        "name": name,
        "folder": folder.as_posix(),
        "what": ", ".join(facts["recipe"]["backbone"] for facts in known.values()),
        "prepared": f"{height}x{width}",
        "split": made["split"],
        "seeds": ", ".join(map(str, made["seeds"])),
        "machine": made["machine"],
        "minutes": f"{made['seconds'] / 60:.0f}",
        "scores": markdown(
            ["", "test images"], [[said, with_ends(image_level, key)] for said, key in HEADLINE.items()]
        ),
        "classes": classes_table(folder),
        "found": with_ends(point, "melanoma_sensitivity"),
        "called": f"{1 - point['melanoma_specificity']:.3f}",
        "selective": selective_table(final["selective"], risk),
        "sets": sets_table(sets),
        "class_sets": class_sets_table(sets),
        "slices": slices_table(slices),
        "scored": int(slices["note"].isna().sum()) - 1,
        "slice_count": len(slices) - 1,
        "command": made["command"],
        "commit": made["commit"],
        "digests": digests,
    }
    return f"---\n{head(name, image_level)}---\n\n{TEMPLATE.read_text('utf-8').format(**words)}"


def head(name: str, scores: dict[str, Any]) -> str:
    """The YAML head, with the results as a `model-index`."""
    metrics = [{"type": key, "value": scores[key], "name": said} for said, key in HEADLINE.items()]
    data = {"type": "ham10000", "name": "HAM10000, lesion-grouped split", "split": "test"}
    task = {"type": "image-classification", "name": "Image Classification"}
    facts = {
        "license": "cc-by-nc-4.0",
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": ["dermatoscopy", "skin-lesion", "ham10000", "safetensors"],
        "model-index": [{"name": name, "results": [{"task": task, "dataset": data, "metrics": metrics}]}],
    }
    stream, yaml = io.StringIO(), YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(facts, stream)
    return stream.getvalue()


def selective_table(found: dict[str, Any], risk: pd.DataFrame) -> str:
    """What `uncertainty.selective` told, a row a share of the images."""
    rows = []
    for key in (key for key in found if key.startswith("at_")):
        one = found[key]
        kept = (risk["coverage"] - float(key.removeprefix("at_").removesuffix("%")) / 100).abs().idxmin()
        melanomas = f"{risk['melanomas'][kept]:.3f}"
        rows.append(
            [
                key[3:],
                f"{one['images']:,}",
                with_flat_ends(one, "accuracy"),
                f"{one['balanced_accuracy']:.3f}",
                melanomas,
            ]
        )
    return markdown(["surest", "images", "accuracy", "balanced accuracy", "of all melanomas"], rows)


def sets_table(sets: pd.DataFrame) -> str:
    """The table of sets, of all images and of melanomas."""
    rows = []
    for (kind, promised), own in sets.groupby(["kind", "promised"], sort=False):
        one = own.set_index("value")
        held = [with_flat_ends(one.loc[value], "coverage") for value in ("all", "mel")]
        rows.append([kind, f"{promised:.0%}", *held, f"{one.loc['all', 'size']:.2f}"])
    return markdown(["sets", "promised", "hold the truth", "of melanomas", "diagnoses a set"], rows)


def class_sets_table(sets: pd.DataFrame) -> str:
    """The sets by class at 90 %, of each diagnosis."""
    own = sets[(sets["kind"] == "by class") & (sets["promised"] == 0.9) & (sets["variable"] == "dx")]
    rows = []
    for _, row in own.iterrows():
        held = with_flat_ends(row, "coverage")
        verdict = "short of 90 %" if row["coverage_high"] < row["promised"] else ""
        rows.append([row["value"], f"{row['lesions']:,}", held, f"{row['size']:.2f}", f"{row['single']:.0%}", verdict])
    return markdown(["diagnosis", "lesions", "hold the truth", "diagnoses a set", "sets of one", ""], rows)


def slices_table(slices: pd.DataFrame) -> str:
    """The slices that are shown to differ from the rest; a sentence where there is none."""
    rows = []
    for _, row in slices.iterrows():
        for name in JUDGED:
            if row[f"{name}_verdict"] in ("better", "worse"):
                low, high = row[f"{name}_difference_low"], row[f"{name}_difference_high"]
                difference = f"{row[f'{name}_difference']:+.3f} ({low:+.3f} to {high:+.3f})"
                what = [f"{row['variable']}: {row['value']}", f"{row['images']:,}", name.replace("_", " ")]
                rows.append([*what, difference, row[f"{name}_verdict"]])
    heads = ["group", "images", "score", "difference from the rest", ""]
    return markdown(heads, rows) if rows else "No group is shown to differ."
