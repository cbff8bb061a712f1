"""The section `plot`."""

from typing import Annotated

from dermaline.params.base import Section, within


class Plot(Section):
    palette: str
    dpi: Annotated[int, within(50, 600)]
