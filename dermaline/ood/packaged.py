"""Photographs of anything but lesions, which packages that are installed anyway bring along for their examples."""

from importlib.metadata import distribution
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermaline.base.errors import DermalineError
from dermaline.base.parameters import Size
from dermaline.data.decode import decode

Pixels = NDArray[np.uint8]
MOST_MEGAPIXELS = 50

# By name, the package and the file in it.
PHOTOGRAPHS: dict[str, tuple[str, str]] = {
    **{
        Path(name).stem: ("scikit-image", f"skimage/data/{name}")
        for name in (
            *("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "clock_motion.png"),  # people, a
            *("motorcycle_left.png", "rocket.jpg", "moon.png", "hubble_deep_field.jpg"),  # cat, things, sky
            *("brick.png", "grass.png", "gravel.png", "page.png", "text.png"),  # surfaces, print
            *("retina.jpg", "microaneurysms.png", "ihc.png", "cell.png"),  # other organs, and cells
        )
    },
    **{name: ("scikit-learn", f"sklearn/datasets/images/{name}.jpg") for name in ("china", "flower")},
    "grace_hopper": ("matplotlib", "matplotlib/mpl-data/sample_data/grace_hopper.jpg"),
}
FACES = ("scikit-image", "skimage/data/lfw_subset.npy")  # 100 of them, then 100 other patches


def views(name: str, size: Size) -> Pixels:
    """Five views of a photograph of `PHOTOGRAPHS`, [5, height, width, 3]: the whole, and each quarter.

    Raises:
        DermalineError: its package is not installed as it is published.
    """
    content, (height, width) = _file(*PHOTOGRAPHS[name]).read_bytes(), size
    large = decode(content, (2 * height, 2 * width), MOST_MEGAPIXELS)
    quarters = large.reshape(2, height, 2, width, 3).swapaxes(1, 2).reshape(4, height, width, 3)
    return np.concatenate([decode(content, size, MOST_MEGAPIXELS)[None], quarters])


def faces(size: Size) -> Pixels:
    """A hundred grey faces of 25 x 25 pixels (of Labeled Faces in the Wild), enlarged, [100, height, width, 3].

    Raises as `views`.
    """
    small = (np.load(_file(*FACES))[:100] * 255).round().astype(np.uint8)
    large = [Image.fromarray(one).convert("RGB").resize(size[::-1], Image.Resampling.BICUBIC) for one in small]
    return np.stack([np.asarray(one) for one in large])


def _file(package: str, name: str) -> Path:
    path = Path(str(distribution(package).locate_file(name)))
    if not path.is_file():
        raise DermalineError(f"{path}: not there; reinstall {package} as requirements.txt pins it")
    return path
