"""The section `predict`."""

from typing import Literal

from dermaline.base.parameters import Section


class Predict(Section):
    tta: Literal["none", "flips", "d4"]
