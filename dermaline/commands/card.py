"""The card of the released model, in the Hugging Face form, from its recorded run and nothing else."""

import io
import json
from pathlib import Path
from typing import Any, NamedTuple

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
from dermaline.inference.conformal import SetRule, percent
from dermaline.inference.decision import Decision, load
from dermaline.models.model_io import read_model_info

CARD, TEMPLATE = RELEASED / "README.md", Path(__file__).with_name("card.md")
HEADLINE = COLUMNS | {
    "expected calibration error": "ece",
    "melanoma sensitivity at 90 % specificity": "melanoma_sensitivity_at_specificity_90",
    "melanoma sensitivity at 95 % specificity": "melanoma_sensitivity_at_specificity_95",
}


class Recorded(NamedTuple):
    """The recorded run of the released models."""

    name: str
    folder: Path
    decision: Decision
    known: dict[str, dict[str, Any]]  # what is known of each model
    made: dict[str, Any]
    final: dict[str, Any]  # the details of the model that decides
    slices: pd.DataFrame
    sets: pd.DataFrame
    explained: dict[str, dict[str, Any]]  # what the checks of each model's maps told


def card(data: Path) -> str:
    """The text of the released model's card.

    Args:
        data: `results/DATA`, where `record` has put the run under the recipe's name, or under `ensemble`.

    Raises:
        DermalineError: there is no such run, it is of another model than the released one, or lacks what a card tells.
    """
    run = read(data)
    text = TEMPLATE.read_text("utf-8").format(**facts(run), **tables(run))
    return f"---\n{head(run.name, run.final['image_level'])}---\n\n{text}"


def read(data: Path) -> Recorded:
    """The recorded run of what is in `released/`; raises as `card`."""
    decision = load(DECISION)
    known = {name: read_model_info(RELEASED / name) for name in decision.recipes}
    name = decision.recipes[0] if len(known) == 1 else "ensemble"
    folder = data / name
    try:
        details, made = (json.loads((folder / f"{part}.json").read_text("utf-8")) for part in ("details", "made"))
        slices, sets = (pd.read_csv(folder / f"{part}.csv") for part in ("slices", "sets"))
        recorded = load(folder / "decision.json")
        explained = {recipe: json.loads((folder / f"explain/{recipe}.json").read_text("utf-8")) for recipe in known}
    except FileNotFoundError as problem:
        said = f"{problem.filename}: not found; run record {name} after the run that was released"
        raise DermalineError(said) from None
    for recipe, told in known.items():
        if told["test"] != rounded(key_metrics(details[recipe]["image_level"])):
            raise DermalineError(f"{folder}: not of the released {recipe}; run record and release after the same run")
    if recorded.model_copy(update={"models": decision.models}) != decision:
        raise DermalineError(f"{folder}: not of the released decision; run record and release after the same run")
    final = details[name]
    whole = not final["image_level"]["absent_classes"] and {OPERATING_POINT, "selective"} <= final.keys()
    if not whole or decision.set_rule is None:
        wanted = "every diagnosis on the test, a melanoma threshold and sets"
        raise DermalineError(f"{folder}: the card wants {wanted}; run dvc repro and record anew")
    return Recorded(name, folder, decision, known, made, final, slices, sets, explained)


def facts(run: Recorded) -> dict[str, Any]:
    """What the template says in words and single numbers, by its names."""
    height, width = run.known[run.decision.recipes[0]]["prepared_size"]
    backbones = [told["recipe"]["backbone"] for told in run.known.values()]
    point, rule = run.final[OPERATING_POINT], run.decision.set_rule
    return {
        "name": run.name,
        "folder": run.folder.as_posix(),
        "what": f"A network, {backbones[0]},"
        if len(backbones) == 1
        else f"The mean of the networks {' and '.join(backbones)}",
        "prepared": f"{height}x{width}",
        **{key: run.made[key] for key in ("split", "machine", "command", "commit")},
        "seeds": ", ".join(map(str, run.made["seeds"])),
        "minutes": f"{run.made['seconds'] / 60:.0f}",
        "found": with_ends(point, "melanoma_sensitivity"),
        "called": f"{1 - point['melanoma_specificity']:.3f}",
        "promised": f"{percent(rule.coverage)} of the lesions{' of each diagnosis' if rule.by_class else ''}",
        "single": single_sets(run.sets, rule),
        "explained_images": f"{run.explained[run.decision.recipes[0]]['images']:,}",
        "scored": int(run.slices["note"].isna().sum()) - 1,
        "slice_count": len(run.slices) - 1,
        "digests": ", ".join(f"`{recipe}` {value}" for recipe, value in run.decision.models.items()),
    }


def tables(run: Recorded) -> dict[str, str]:
    """The template's tables, by its names."""
    scores = [[said, with_ends(run.final["image_level"], key)] for said, key in HEADLINE.items()]
    return {
        "scores": markdown(["", "test images"], scores),
        "classes": classes_table(run.folder),
        "selective": selective_table(run.final["selective"]),
        "sets": sets_table(run.sets),
        "chosen_sets": chosen_sets_table(run.sets, run.decision.set_rule),
        "explained": explained_table(run.explained),
        "slices": slices_table(run.slices),
    }


def head(name: str, scores: dict[str, Any]) -> str:
    """The YAML head, with the results as a `model-index`."""
    metrics = [{"type": key, "value": scores[key], "name": said} for said, key in HEADLINE.items()]
    data = {"type": "ham10000", "name": "HAM10000, lesion-grouped split", "split": "test"}
    task = {"type": "image-classification", "name": "Image Classification"}
    found = {
        "license": "cc-by-nc-4.0",
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": ["dermatoscopy", "skin-lesion", "ham10000", "safetensors"],
        "model-index": [{"name": name, "results": [{"task": task, "dataset": data, "metrics": metrics}]}],
    }
    stream, yaml = io.StringIO(), YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(found, stream)
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
        rows.append([kind, percent(promised), *held, f"{one.loc['all', 'size']:.2f}"])
    return markdown(["sets", "promised", "hold the truth", "of melanomas", "diagnoses a set"], rows)


def of_rule(sets: pd.DataFrame, rule: SetRule) -> pd.DataFrame:
    """Those rows of the table of sets that are of a rule."""
    return sets[(sets["kind"] == rule.kind) & np.isclose(sets["promised"], rule.coverage)]


def chosen_sets_table(sets: pd.DataFrame, rule: SetRule) -> str:
    """The sets that `predict` gives, of each diagnosis."""
    own, rows = of_rule(sets, rule).query("variable == 'dx'"), []
    for _, row in own.iterrows():
        held = with_flat_ends(row, "coverage")
        short = rule.by_class and row["coverage_high"] < rule.coverage  # for all together, no diagnosis is promised any
        verdict = f"short of {percent(rule.coverage)}" if short else ""
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
            means = [f"{one[which]:.3f}" if which in one else "–" for which in ("own", "other", "area")]
            value = f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})"
            rows.append([name, WORDS[key], *means, value, "passed" if one["passed"] else "**failed**"])
    heads = ["model", "check", "own map", "another's", "lesion's area", "better by (of the last, itself)", ""]
    return markdown(heads, rows)
