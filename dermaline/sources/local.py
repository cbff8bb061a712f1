"""HAM10000 from a folder (or zip) that is already here, in the Kaggle or the Dataverse layout."""

from pathlib import Path

from dermaline.errors import DermalineError
from dermaline.files import project_root
from dermaline.params import Data
from dermaline.sources import layout


def fetch(data: Data, folder: Path) -> None:
    """Make the raw folder from `data.path`, which counts from the project's root when relative."""
    if not data.path:
        raise DermalineError("params.yaml: data.path is empty; name the folder that holds HAM10000")
    source = project_root() / Path(data.path).expanduser()
    if not source.exists():
        raise DermalineError(f"params.yaml: data.path: {source} does not exist; name the folder that holds HAM10000")
    layout.write([source], folder, official=False)
