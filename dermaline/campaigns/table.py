"""The table of a campaign: each row decided on its own validation images, and all compared with the first."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import pandas as pd

from dermaline.campaigns.plan import Campaign, Run, TrainingJob, runs
from dermaline.data.index import SPLIT, read_with_split
from dermaline.evaluation.compare import COMPARED, models_table
from dermaline.evaluation.summary import headline
from dermaline.inference.decided import cross_fitted, decide, read_members
from dermaline.models.model_info import check_clean, machine, read_model_info


def results_table(campaign: Campaign, done: dict[str, list[list[TrainingJob]]]) -> pd.DataFrame:
    """Decide for each run on its own validation images, pool the runs, and compare with the first row.

    Rows are compared on validation, whatever is scored: those columns of a table of the test begin with `val_`.

    Args:
        campaign: as its file says.
        done: by the row's name, for each run the trainings of its ensemble.
    """
    every_run, (first, *_) = runs(campaign), chain.from_iterable(chain.from_iterable(done.values()))
    options = first.settings.evaluate  # what of it is asked for here is the same in every row
    for job in chain.from_iterable(chain.from_iterable(done.values())):
        check_clean(job.recipe, _model_info(job))

    def on(split: str) -> dict[str, list[pd.DataFrame]]:
        return {name: [scored(split, *one) for one in zip(every_run, made, strict=True)] for name, made in done.items()}

    def pooled(each: dict[str, list[pd.DataFrame]]) -> pd.DataFrame:
        return models_table({name: pd.concat(tables) for name, tables in each.items()}, options)

    each = on(campaign.split)
    table = pooled(each)
    if campaign.split == "test":
        compared = [column for column in table if "_difference" in column or column.endswith("_verdict")]
        table = table.drop(columns=compared).join(pooled(on("val"))[compared].add_prefix("val_"))
    claims = {row.name: row.claim for row in campaign.rows}
    table.insert(1, "claim", table["model"].map(claims))
    table.insert(2, "seeds", len(campaign.seeds))
    table.insert(3, "folds", len(every_run) // len(campaign.seeds) if campaign.folds else 0)
    spread = [pd.DataFrame(headline(one, options) for one in tables).std() for tables in each.values()]
    for name in COMPARED:
        table.insert(table.columns.get_loc(name) + 1, f"{name}_sd", [one[name] for one in spread])
    return table.assign(machine=[machine(_model_info(ensembles[0][0])) for ensembles in done.values()])


def _model_info(job: TrainingJob) -> dict[str, Any]:
    return read_model_info(job.folder / "models" / job.recipe)


def scored(split: str, run: Run, ensemble: Sequence[TrainingJob]) -> pd.DataFrame:
    """The decided predictions of one row and run on test, or on val, each half by what was fitted on the other."""
    first = ensemble[0]
    index = read_with_split(first.folder / SPLIT)
    train = index[index["split"] == "train"]
    options = first.settings.evaluate
    members = read_members({job.recipe: job.predictions for job in ensemble}, index)
    decided = decide(members, train, options).test if split == "test" else cross_fitted(members, train, options)
    return decided.assign(image_id=decided["image_id"] + f" of {run}")
