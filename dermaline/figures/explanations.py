"""Where a model looked."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dermaline.base.classes import CLASSES, DIAGNOSES
from dermaline.explaining.words import WORDS, passed
from dermaline.figures import style

NOTE = (
    "White: the lesion's outline. Each map is drawn to its own maximum; grey: nothing speaks for the diagnosis.\n"
    "Predictions and probabilities are of this recipe alone, before calibration and decision.\n"
    "Another's: with the map of another image in the place of its own."
)


class Example(NamedTuple):
    """A photograph with the maps for its predicted and its true diagnosis, all of one height and width."""

    image: NDArray[np.uint8]  # [H, W, 3]
    mask: NDArray[np.bool_]  # [H, W], of the lesion; none where it is not known
    actual: str
    predicted: str
    probabilities: Mapping[str, float]
    maps: Mapping[str, NDArray[np.float32]]  # by diagnosis, [H, W]; what is over 0 is drawn


@style.figure
def explanations(
    examples: Mapping[tuple[str, bool], Example], name: str, checks: Mapping[str, Mapping[str, float]]
) -> Figure:
    """A row for each diagnosis: an image that is predicted right with its map, one that is not with both of its maps.

    Args:
        examples: by true diagnosis and whether the prediction is right; a row may lack one.
        name: of the model.
        checks: what `explaining.checks.summary` told of the maps; what has failed is said at the top.
    """
    shown = [dx for dx in CLASSES if (dx, True) in examples or (dx, False) in examples]
    drawn = style.canvas(1.0 * len(shown) + 1 + 0.16 * len(checks), 2 * style.WIDTH)
    drawn.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    panels = drawn.subplots(max(len(shown), 1), 5, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for row, dx in zip(panels, shown, strict=False):
        row[0].annotate(f"{DIAGNOSES[dx]}\n{dx}", (-0.08, 0.5), xycoords="axes fraction", ha="right", va="center")
        if right := examples.get((dx, True)):
            _photograph(row[0], right, "right")
            _map(row[1], right, dx)
        if wrong := examples.get((dx, False)):
            _photograph(row[2], wrong, f"taken for {wrong.predicted}")
            _map(row[3], wrong, wrong.predicted)
            _map(row[4], wrong, dx)
    failed = [check for check, one in checks.items() if not one["passed"]]
    verdict = f"NOT to be trusted: {', '.join(failed)} failed" if failed else passed(checks)
    verdict = verdict if checks else "no check was made"
    drawn.suptitle(f"{name}: what speaks for a diagnosis (Grad-CAM)\n{verdict}", fontsize=9)
    lines = [NOTE, *(_line(check, one) for check, one in checks.items())]
    drawn.supxlabel("\n".join(lines), fontsize=7)
    return drawn


def _line(check: str, one: Mapping[str, float]) -> str:
    said = "passed" if one["passed"] else "FAILED"
    interval = f"{one['value']:.2f} ({one['low']:.2f} to {one['high']:.2f})"
    if "other" in one:
        interval = f"{one['own']:.2f}, another's {one['other']:.2f}, better by {interval}"
    return f"{WORDS[check]}: {interval}, {said}"


def _photograph(axes: Axes, example: Example, said: str) -> None:
    axes.imshow(example.image)
    _outline(axes, example)
    axes.set_title(said, fontsize=7, pad=2)


def _map(axes: Axes, example: Example, dx: str) -> None:
    axes.imshow(example.image.mean(axis=2), cmap="gray", vmin=0, vmax=255)
    heat = example.maps[dx].clip(0)
    strength = heat / max(float(heat.max()), 1e-12)
    axes.imshow(strength, cmap="inferno", vmin=0, vmax=1, alpha=0.75 * np.sqrt(strength))
    _outline(axes, example)
    axes.set_title(f"for {dx}, {example.probabilities[dx]:.2f}", fontsize=7, pad=2)


def _outline(axes: Axes, example: Example) -> None:
    if example.mask.any() and not example.mask.all():
        axes.contour(example.mask, levels=[0.5], colors="white", linewidths=0.7)
