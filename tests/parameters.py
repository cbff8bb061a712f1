"""The project's parameters for a test: `params.yaml` with some values changed, and the recipes beside it."""

import json
import shutil
from pathlib import Path
from typing import Any

from closure import ROOT
from ruamel.yaml import YAML


def put_parameters(folder: Path, changes: dict[str, Any] | None = None, recipe: dict[str, Any] | None = None) -> None:
    """Write the parameters to `folder`: those that ship, or what is there already, with dotted keys changed.

    Args:
        folder: where `params.yaml` (as JSON, which is YAML) and `recipes/` go.
        changes: dotted keys of `params.yaml` and their new values.
        recipe: keys that `recipes/lite0.yaml` is to state.
    """
    if not (folder / "params.yaml").exists():
        shutil.copy(ROOT / "params.yaml", folder)
        shutil.copytree(ROOT / "recipes", folder / "recipes")
    for path, edits in ((folder / "params.yaml", changes), (folder / "recipes/lite0.yaml", recipe)):
        tree = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
        for key, value in (edits or {}).items():
            *parts, last = key.split(".")
            holder = tree
            for part in parts:
                holder = holder[int(part) if isinstance(holder, list) else part]
            assert path.parent.name == "recipes" or last in holder, key
            holder[last] = value
        path.write_text(json.dumps(tree), encoding="utf-8")
