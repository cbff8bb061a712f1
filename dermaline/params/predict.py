"""The section `predict`."""

from typing import Literal

from dermaline.params.base import Section


class Predict(Section):
    tta: Literal["none", "flips", "d4"]
