"""The section `plot`."""

from typing import Annotated

from dermaline.base.parameters import Section, within


class Plot(Section):
    palette: str
    dpi: Annotated[int, within(50, 600)]
