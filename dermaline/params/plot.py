"""The section `plot`."""

from typing import Annotated, Literal

from dermaline.base.parameters import Section, within


class Plot(Section):
    palette: Literal[
        "colorblind", "deep", "muted", "bright", "pastel", "dark", "tab10", "husl", "hls"
    ]  # seaborn's, of ten
    dpi: Annotated[int, within(50, 600)]
