"""HAM10000 from a folder (or zip) that is already here, in any of the layouts of `layout`."""

from pathlib import Path

from dermaline.base.errors import DermalineError
from dermaline.base.files import from_root
from dermaline.params.data import Data
from dermaline.sources import layout


def fetch(data: Data, folder: Path) -> None:
    """Make the raw folder from `data.path`, which counts from the project's root, or begins with `~`, the home folder.

    Raises:
        DermalineError: `data.path` is empty or leads nowhere, or what is there is not HAM10000.
    """
    if not data.path:
        raise DermalineError("params.yaml: data.path is empty; name the folder that holds HAM10000")
    try:
        source = from_root(Path(data.path).expanduser())
    except RuntimeError:  # ~someone
        raise DermalineError(f"params.yaml: data.path: no home folder for {data.path}; write it out") from None
    if not source.exists():
        raise DermalineError(f"params.yaml: data.path: {source} does not exist; name the folder that holds HAM10000")
    layout.write([source], folder, official=False)
