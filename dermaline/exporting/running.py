"""An exported model in onnxruntime."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession, SessionOptions

from dermaline.blocks import blocks

AT_ONCE = 16  # photographs


def session(model: Path | bytes) -> InferenceSession:
    """A file, or its content, ready to run on the CPU."""
    options = SessionOptions()
    options.log_severity_level = 3  # errors alone
    content = model if isinstance(model, bytes) else str(model)
    return InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run(model: InferenceSession, given: Mapping[str, NDArray], at_once: int = AT_ONCE) -> dict[str, NDArray]:
    """All outputs by name, for inputs by name with N rows each; inputs that the model has not are passed over."""
    names = [one.name for one in model.get_outputs()]
    taken = {one.name: given[one.name] for one in model.get_inputs()}
    total = len(next(iter(taken.values())))
    parts = [model.run(names, {name: rows[part] for name, rows in taken.items()}) for part in blocks(total, at_once)]
    return dict(zip(names, map(np.concatenate, zip(*parts, strict=True)), strict=True))
