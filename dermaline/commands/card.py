"""The card of the released model, in the Hugging Face form, from its recorded run and nothing else."""

import io
import re
from itertools import starmap
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from ruamel.yaml import YAML

from dermaline.base.errors import DermalineError
from dermaline.base.files import read_json, rounded
from dermaline.commands.markdown import classes_table, markdown
from dermaline.commands.release import DECISION, RELEASED
from dermaline.evaluation.summary import OPERATING_POINT, key_metrics
from dermaline.inference.conformal import percent
from dermaline.inference.decision import Decision, load
from dermaline.models.model_info import read_model_info
from dermaline.reporting import tables as reporting
from dermaline.reporting.checklist import checklist
from dermaline.reporting.results import map_verdict
from dermaline.reporting.tables import HEADLINE, with_ends

PAGE = re.compile(r"docs/([\w-]+)\.md")
CARD, TEMPLATE = RELEASED / "README.md", Path(__file__).with_name("card.md")


class Recorded(NamedTuple):
    """The recorded run of the released models."""

    name: str
    folder: Path
    decision: Decision
    known: dict[str, dict[str, Any]]  # what is known of each model
    made: dict[str, Any]
    split: dict[str, Any]  # what the stage `split` counted
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
        details, made, split = (read_json(folder / f"{part}.json") for part in ("details", "made", "split"))
        slices, sets = (pd.read_csv(folder / f"{part}.csv") for part in ("slices", "sets"))
        recorded = load(folder / "decision.json")
        explained = {recipe: read_json(folder / f"explain/{recipe}.json") for recipe in known}
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
    return Recorded(name, folder, decision, known, made, split, final, slices, sets, explained)


def facts(run: Recorded) -> dict[str, Any]:
    """What the template says in words and single numbers, by its names."""
    height, width = run.known[run.decision.recipes[0]]["prepared_size"]
    backbones = [told["recipe"]["backbone"] for told in run.known.values()]
    point, rule, scores = run.final[OPERATING_POINT], run.decision.set_rule, run.final["image_level"]
    share = scores["per_class"]["mel"]["support"] / scores["cases"]
    flagged, called = point["melanoma_sensitivity"], 1 - point["melanoma_specificity"]
    return {
        "name": run.name,
        "folder": run.folder.as_posix(),
        "what": f"A network, {backbones[0]},"
        if len(backbones) == 1
        else f"The mean of the networks {' and '.join(backbones)}",
        "beside": "and what is known of age, sex and place, " if run.decision.likelihood_ratios else "",
        "without": ", and without age, sex and place" if run.decision.likelihood_ratios else "",
        "prepared": f"{height}x{width}",
        **{key: run.made[key] for key in ("split", "machine", "command", "commit")},
        "seeds": ", ".join(map(str, run.made["seeds"])),
        "minutes": f"{run.made['seconds'] / 60:.0f}",
        "found": with_ends(point, "melanoma_sensitivity"),
        "val_found": f"{run.final['val']['melanoma_sensitivity_at_threshold']:.0%}",
        "missed": round(10 * (1 - flagged)),
        "failed_maps": "".join(f" {said.words}" for said in starmap(map_verdict, run.explained.items()) if said.loud),
        "spared": with_ends(point, "melanoma_specificity"),
        "alone": _without_metadata(run.final.get(f"{OPERATING_POINT}_without_metadata")),
        "melanomas": f"{share:.0%}",
        "precision": f"{flagged * share / (flagged * share + called * (1 - share)):.0%}",
        "promised": f"{percent(rule.coverage)} of the lesions{' of each diagnosis' if rule.by_class else ''}",
        "single": reporting.single_sets(run.sets, rule),
        "bare": f"{bare}. " if (bare := reporting.bare_sets(run.final.get("sets_without_metadata"))) else "",
        "explained_images": f"{run.explained[run.decision.recipes[0]]['images']:,}",
        "scored": int(run.slices["melanoma_sensitivity"].notna().sum()) - 1,
        "slice_count": len(run.slices) - 1,
        "more_nevi": reporting.MORE_NEVI,
        "digests": ", ".join(f"`{recipe}` {value}" for recipe, value in run.decision.models.items()),
    }


def _without_metadata(point: dict[str, Any] | None) -> str:
    """What the threshold does where age, sex and place are not known, if they are looked at."""
    if point is None:
        return ""
    ends = (with_ends(point, f"melanoma_{name}") for name in ("sensitivity", "specificity"))
    return f" (without age, sex and place {' and '.join(ends)})"


def tables(run: Recorded) -> dict[str, str]:
    """The template's tables, by its names."""
    scores = [[said, with_ends(run.final["image_level"], key)] for said, key in HEADLINE.items()]
    return {
        "scores": markdown(["", "test images"], scores),
        "protocols": markdown(*reporting.protocols(pd.read_csv(run.folder / "protocols.csv"))),
        "parts": markdown(*reporting.parts(run.split)),
        "patients": markdown(*reporting.patients(run.split)),
        "classes": classes_table(run.folder),
        "selective": markdown(*reporting.selective(run.final["selective"])),
        "sets": markdown(*reporting.all_sets(run.sets)),
        "chosen_sets": markdown(*reporting.chosen_sets(run.sets, run.decision.set_rule)),
        "explained": markdown(*reporting.explained(run.explained)),
        "slices": slices_table(run.slices),
        "checklist": PAGE.sub(r"[\1](../docs/\1.md)", markdown(*checklist())),
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


def slices_table(slices: pd.DataFrame) -> str:
    """The slices that are shown to differ from the rest; a sentence where there is none."""
    table = reporting.differing_slices(slices)
    return markdown(*table) if table.rows else "No group is shown to differ."
