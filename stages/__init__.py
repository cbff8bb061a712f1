"""The scripts that DVC runs. All compute in one way, whatever the CPU: NumPy's kernels for newer ones round otherwise.

The switch is read when NumPy is first imported, which is after this. A feature that the CPU lacks is no error.
"""

import gc
import multiprocessing
import os
import signal
import sys
from pathlib import Path

from dermaline.base.errors import DermalineError
from dermaline.base.stopping import end_in_one_line, end_with_parent
from dermaline.base.versions import installed, warnings

os.environ["NPY_DISABLE_CPU_FEATURES"] = "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"  # what is left is SSE4.2

if sys.argv[0] == "-m":  # of `python -m stages.NAME`, before what it imports, which takes seconds
    end_in_one_line()
    gc.disable()  # until `errors.run`: most of what is made in an import stays; to look through it takes a second
    if "DVC_STAGE" in os.environ:  # or it would write its outputs beside those of the next `dvc repro`
        end_with_parent(signal.SIGTERM)
    if installed()["torch"] == "none":  # dvc was called by its path, and `python` is another's
        sys.exit(f"error: {sys.executable} has no torch; run `source .venv/bin/activate` first, or `make`")


def argument(what: str) -> str:
    """The word that a script is called with; raises a `DermalineError` that names `what` is missing."""
    if len(sys.argv) < 2:
        raise DermalineError(f"{what} is missing; give it: python -m stages.{Path(sys.argv[0]).stem} {what}")
    return sys.argv[1]


if multiprocessing.parent_process() is None:  # once, not in every worker
    for line in warnings():
        print(line, file=sys.stderr)
