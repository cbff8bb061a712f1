"""The section `predict`."""

from typing import Annotated, Literal

from dermaline.base.parameters import Section, within

Number = Annotated[int, within(1, 20)]


class Predict(Section):
    tta: Literal["none", "flips", "d4"]
    grid: tuple[Number, Number]  # rows and columns of the windows of a photograph at its own scale
    scales: Number  # from the whole photograph to its own scale, for a recipe of the view `mixed`
