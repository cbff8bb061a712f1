"""The card of the released model, in the Hugging Face form, from its recorded run and nothing else."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from dermaline.base.errors import DermalineError
from dermaline.base.files import rounded
from dermaline.commands.markdown import COLUMNS, classes_table, markdown, with_ends, with_flat_ends
from dermaline.commands.release import DECISION, RELEASED
from dermaline.evaluation.slices import JUDGED
from dermaline.evaluation.summary import OPERATING_POINT, key_metrics
from dermaline.evaluation.uncertainty import SELECTIVE
from dermaline.figures.explanations import WORDS
from dermaline.inference.conformal import SetRule
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
        slices, sets = (pd.read_csv(folder / f"{part}.csv") for part in ("slices", "sets"))
        recorded = load(folder / "decision.json")
        explained = {name: json.loads((folder / f"explain/{name}.json").read_text("utf-8")) for name in known}
    except FileNotFoundError as problem:
        raise DermalineError(
            f"{problem.filename}: not found; run record {name} after the run that was released"
        ) from None
    for recipe, facts in known.items():
        if facts["test"] != rounded(key_metrics(details[recipe]["image_level"])):
            raise DermalineError(f"{folder}: not of the released {recipe}; run record and release after the same run")
    if recorded.model_copy(update={"models": decision.models}) != decision:
        raise DermalineError(f"{folder}: not of the released decision; run record and release after the same run")
    final, rule = details[name], decision.set_rule
    image_level = final["image_level"]
    if image_level["absent_classes"] or rule is None or not {OPERATING_POINT, "selective"} <= final.keys():
        raise DermalineError(
            f"{folder}: the card wants every diagnosis on the test, a melanoma threshold and sets; run dvc repro anew"
        )
    point = final[OPERATING_POINT]
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
        "selective": selective_table(final["selective"]),
        "sets": sets_table(sets),
        "promised": f"{rule.coverage:.0%} of the lesions{' of each diagnosis' if rule.by_class else ''}",
        "chosen_sets": chosen_sets_table(sets, rule),
        "single": single_sets(sets, rule),
        "explained": explained_table(explained),
        "explained_images": f"{next(iter(explained.values()))['images']:,}",
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


def selective_table(found: dict[str, Any]) -> str:
    """What `uncertainty.selective` told, a row a share of the images."""
    rows = []
    for key, one in found.items():
        if key.startswith("at_"):
            scored = [with_flat_ends(one, name) for name in SELECTIVE]
            rows.append([key.removeprefix("at_"), f"{one['images']:,}", *scored, f"{one['melanomas']:.3f}"])
    names = [name.replace("_", " ") for name in SELECTIVE]
    return markdown(["surest", "images", *names, "of all melanomas"], rows)


def sets_table(sets: pd.DataFrame) -> str:
    """The table of sets, of all images and of melanomas."""
    rows = []
    for (kind, promised), own in sets.groupby(["kind", "promised"], sort=False):
        one = own.set_index("value")
        held = [with_flat_ends(one.loc[value], "coverage") for value in ("all", "mel")]
        rows.append([kind, f"{promised:.0%}", *held, f"{one.loc['all', 'size']:.2f}"])
    return markdown(["sets", "promised", "hold the truth", "of melanomas", "diagnoses a set"], rows)


def of_rule(sets: pd.DataFrame, rule: SetRule) -> pd.DataFrame:
    """Those rows of the table of sets that are of a rule."""
    kind = "by class" if rule.by_class else "marginal"
    return sets[(sets["kind"] == kind) & np.isclose(sets["promised"], rule.coverage)]


def chosen_sets_table(sets: pd.DataFrame, rule: SetRule) -> str:
    """The sets that `predict` gives, of each diagnosis."""
    own, rows = of_rule(sets, rule).query("variable == 'dx'"), []
    for _, row in own.iterrows():
        held = with_flat_ends(row, "coverage")
        verdict = f"short of {rule.coverage:.0%}" if row["coverage_high"] < rule.coverage else ""
        of_one = [f"{row['single']:.0%}", f"{row['single_coverage']:.3f}" if row["single"] else "–"]
        rows.append([row["value"], f"{row['lesions']:,}", held, f"{row['size']:.2f}", *of_one, verdict])
    heads = ["diagnosis", "lesions", "hold the truth", "diagnoses a set", "sets of one", "which hold it", ""]
    return markdown(heads, rows)


def single_sets(sets: pd.DataFrame, rule: SetRule) -> str:
    """How many of the sets that `predict` gives are of one diagnosis, and how many of those are right."""
    own = of_rule(sets, rule).set_index("value").loc["all"]
    return f"{own['single']:.0%} of the sets are of one diagnosis, of which {own['single_coverage']:.0%} hold the truth"


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


def explained_table(explained: dict[str, Any]) -> str:
    """What the checks of each model's maps told."""
    rows = []
    for name, told in explained.items():
        for key, one in told["checks"].items():
            value = f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})"
            rows.append([name, WORDS[key], value, "passed" if one["passed"] else "**failed**"])
    return markdown(["model", "check", "mean over lesions", ""], rows)
