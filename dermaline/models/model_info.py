"""What is known of a trained model, from its `recipe.json`: what made it, and whether its scores are measurements."""

from pathlib import Path

from dermaline.base.errors import DermalineError
from dermaline.base.files import read_json


def read_model_info(folder: Path) -> dict:
    """What `recipe.json` of a model folder says.

    Raises:
        DermalineError: it is missing or no JSON, or names a split otherwise than by its digest.
    """
    try:
        found = dict(read_json(folder / "recipe.json"))
        if not isinstance(found.get("split"), str | None):
            raise ValueError("its split is no digest")
        return found
    except (OSError, ValueError, TypeError) as problem:
        raise DermalineError(f"{folder}: not a trained model ({problem}); run its train stage") from None


def clean(facts: dict) -> bool:
    """Whether what the model with these facts started and learned from is known not to have seen its val and test."""
    try:
        learned_from = [facts.get("start"), *facts.get("teachers", [])]
        return "start" in facts and all(one is None or one["same_split"] for one in learned_from)
    except (TypeError, KeyError):  # what is not said as `save` says it is not known
        return False


def machine(info: dict) -> str:
    """What a model was trained on, in words, from what `read_model_info` says."""
    return f"{info['device']}, {info['precision']}, torch {info['torch']}"


def check_clean(name: str, facts: dict) -> None:
    """Refuse to measure or to give away a model that has seen images of its val and test.

    Raises:
        DermalineError: it started from a model of another split.
    """
    if not clean(facts):
        others = [one["model"] for one in (facts.get("start"), *facts.get("teachers", [])) if one]
        what = f"model {name}: learned from {', '.join(others) or 'what is not known'}, not known to be of this split"
        raise DermalineError(f"{what}: its scores are no measurement; train that one on this split first")
