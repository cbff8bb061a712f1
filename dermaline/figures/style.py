"""How every figure looks: sizes, fonts, and a colour, a line and a marker for each class, so that grey will do."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from dermaline.base.classes import CLASSES, DIAGNOSES
from dermaline.base.errors import DermalineError
from dermaline.base.files import replacing

WIDTH = 3.5  # inches: half a page, or one column of two; fonts are given at this size
SETTINGS: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 0.9,
    "legend.borderpad": 0.1,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 5.5,
    "lines.markeredgecolor": "white",
    "lines.markeredgewidth": 0.3,
    "figure.constrained_layout.h_pad": 0.05,
    "figure.constrained_layout.w_pad": 0.04,
}
GRID: dict[str, Any] = {"color": "0.88", "linewidth": 0.6}
DASHES = (
    "-",
    (0, (5, 1.5)),
    (0, (1, 1)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (7, 1, 3, 1)),
    (0, (3, 2)),
    (0, (4, 1, 1, 1, 1, 1)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_CLASS_HUES = (1, 2, 4, 7, 3, 0, 9)  # of ten: the palest two are left out, melanoma gets the red of "colorblind"
_SERIES_HUES = (0, 3, 2, 1, 4, 7, 9)

Arguments = ParamSpec("Arguments")
Look = dict[str, Any]


@contextmanager
def settings() -> Iterator[None]:
    """The settings above and matplotlib's own defaults, whatever the process has set."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        yield


def figure(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Give a function that draws a figure these settings, and the figure a layout that no longer moves."""

    @wraps(draw)
    def styled(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        with settings():
            drawn = draw(*args, **kwargs)
            FigureCanvasAgg(drawn).draw()
            drawn.set_layout_engine("none")
            return drawn

    return styled


def canvas(height: float, width: float = WIDTH) -> Figure:
    """An empty figure, in inches, that makes room for its labels."""
    return Figure(figsize=(width, height), layout="constrained")


def looks(palette: str) -> dict[str, Look]:
    """Colour, dashes and marker of each class from a palette that seaborn knows."""
    return dict(zip(CLASSES, _combined(palette, _CLASS_HUES), strict=True))


def series(palette: str, count: int) -> list[Look]:
    """Colour, dashes and marker for `count` series, at most seven, that are not classes."""
    return _combined(palette, _SERIES_HUES)[:count]


def _combined(palette: str, hues: Sequence[int]) -> list[Look]:
    try:
        colours = sns.color_palette(palette, 10)
    except ValueError:
        raise DermalineError(f"plot.palette: seaborn has no palette '{palette}'; try colorblind") from None
    parts = zip(hues, DASHES, MARKERS, strict=True)
    return [{"color": colours[hue], "linestyle": dash, "marker": marker} for hue, dash, marker in parts]


def labels(counts: Sequence[int], names: Sequence[str] = CLASSES) -> list[str]:
    """Full names of the classes over their codes and numbers of cases."""
    return [f"{DIAGNOSES[name]}\n{name}, n = {count:,}" for name, count in zip(names, counts, strict=True)]


def legend_below(drawn: Figure, axes: Axes, columns: int = 2) -> None:
    """A legend under the axes, where it covers no data."""
    drawn.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns)


def plain_log_axis(axes: Axes, steps: Sequence[int] = (1, 2, 5)) -> None:
    """A logarithmic x axis whose ticks, at these steps of each power of ten, are written out."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=steps, numticks=6))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())


def unit_axis(axes: Axes, which: str = "xy") -> None:
    """Limits 0 to 1 with a little air, ticks each 0.2, and a grid."""
    for letter in which:
        axes.set(**{f"{letter}lim": (-0.015, 1.015), f"{letter}ticks": (0, 0.2, 0.4, 0.6, 0.8, 1)})
    axes.grid(**GRID)
    axes.set_axisbelow(True)


def save(drawn: Figure, path: Path, dpi: int) -> None:
    """Write a PNG that depends on nothing but the figure: no date, no version. It is there whole or not at all."""
    with settings(), replacing(path) as partial:
        drawn.savefig(partial, dpi=dpi, format="png", metadata={"Software": None})
