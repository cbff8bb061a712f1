"""The last run, as the stages before the report left it on disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from dermaline.base.errors import DermalineError
from dermaline.base.files import read_json
from dermaline.inference.decision import Decision, load
from dermaline.models.model_info import read_model_info
from dermaline.params.evaluate import Evaluate
from dermaline.params.split import Split

FIGURES, MAPS, OUTLINES = Path("plots/figures"), Path("plots/explanations"), Path("plots/outlines.png")
TABLES = ("confusion", "models", "protocols", "reliability", "sets", "slices")


class Run(NamedTuple):
    """What the page tells of."""

    split_options: Split
    options: Evaluate
    split: dict[str, Any]  # what the stage `split` counted
    details: dict[str, dict[str, Any]]  # the scores of each model; the last one decides
    decision: Decision
    models: dict[str, dict[str, Any]]  # of each recipe, what its recipe.json tells
    explained: dict[str, dict[str, Any]]  # of each recipe, what the checks of its maps told
    segmentation: dict[str, Any]  # what is told of the outlines; nothing where the source has none
    ood: dict[str, Any]  # ... of what shows no lesion
    tables: dict[str, pd.DataFrame]  # of the final model on the test, and `models`, of all on val

    @property
    def name(self) -> str:
        """Of the final model: `ensemble`, or the only recipe's."""
        return list(self.details)[-1]

    @property
    def final(self) -> dict[str, Any]:
        return self.details[self.name]

    @property
    def test(self) -> dict[str, Any]:
        """The final model's scores on the test images."""
        return self.final["image_level"]

    @property
    def generated(self) -> bool:
        """Whether a model learned from images that were drawn by our own generator."""
        return any(known.get("generated") for known in self.models.values())


def read(recipes: Sequence[str], split_options: Split, options: Evaluate) -> Run:
    """Read the last run of some recipes.

    Raises:
        DermalineError: a file is missing or no JSON; the message names it.
    """
    try:
        return Run(
            split_options,
            options,
            _json(Path("metrics/split.json")),
            _json(Path("metrics/details.json")),
            load(Path("metrics/decision.json")),
            {name: read_model_info(Path("models", name)) for name in recipes},
            {name: _json(Path(f"metrics/explain/{name}.json")) for name in recipes},
            _json(Path("metrics/segmentation.json")),
            _json(Path("metrics/ood.json")),
            {name: pd.read_csv(f"plots/evaluation/{name}.csv") for name in TABLES},
        )
    except FileNotFoundError as problem:
        raise DermalineError(f"{problem.filename}: not found; run dvc repro") from None


def _json(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except ValueError as problem:
        raise DermalineError(f"{path}: not JSON ({problem}); run dvc repro") from None
