"""Images that show no lesion, drawn by a seed.

Only sums, products, and what Pillow computes in whole numbers: an image has the same bytes on every CPU.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dermaline.base.parameters import Size

Pixels = NDArray[np.uint8]
Generator = np.random.Generator

LETTERS = "abcdefghijklmnopqrstuvwxyz    ABCDEFGHIJ0123456789.,"


def _colour(random: Generator) -> NDArray[np.float64]:
    """Any colour, or, half of the time, one that skin might have."""
    return random.uniform(0, 255, 3) if random.random() < 0.5 else random.uniform((150, 90, 70), (255, 210, 200))


def _mixed(share: np.ndarray, random: Generator) -> Pixels:
    """Two colours, mixed at each pixel by a share [height, width] in 0..1."""
    first, second = _colour(random), _colour(random)
    return (first + (second - first) * share[..., None] + 0.5).clip(0, 255).astype(np.uint8)


def _along(random: Generator, size: Size) -> NDArray[np.float64]:
    """How far each pixel lies along a random direction, [height, width], in pixels or a little more."""
    down, across = random.integers(-8, 9, 2)
    rows, columns = np.indices(size)
    return (down * rows + across * columns) / max(abs(down), abs(across), 1)


def blank(random: Generator, size: Size) -> Pixels:
    """One colour."""
    return _mixed(np.zeros(size), random)


def noise(random: Generator, size: Size) -> Pixels:
    """Each pixel, or each square of a few pixels, of any colour."""
    side = int(random.integers(1, 9))
    cells = random.integers(0, 256, (-(-size[0] // side), -(-size[1] // side), 3), np.uint8)
    return cells.repeat(side, 0).repeat(side, 1)[: size[0], : size[1]]


def clouds(random: Generator, size: Size) -> Pixels:
    """Two colours, mixed by smooth noise of several scales: anything out of focus."""
    share, weight = np.zeros(size), 1.0
    for cells in (3, 6, 12, 24)[: random.integers(1, 5)]:
        coarse = Image.fromarray(random.integers(0, 256, (cells, cells), np.uint8))
        share += weight * np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC))
        weight /= 2
    return _mixed((share - share.min()) / max(np.ptp(share), 1), random)


def gradient(random: Generator, size: Size) -> Pixels:
    """From one colour to another, in any direction."""
    along = _along(random, size)
    return _mixed((along - along.min()) / max(np.ptp(along), 1), random)


def stripes(random: Generator, size: Size) -> Pixels:
    """Stripes of two colours, in any direction."""
    return _mixed(_along(random, size) // random.integers(3, 33) % 2, random)


def checkerboard(random: Generator, size: Size) -> Pixels:
    """Squares of two colours."""
    rows, columns = np.indices(size) // random.integers(3, 33)
    return _mixed((rows + columns) % 2, random)


def shapes(random: Generator, size: Size) -> Pixels:
    """Rectangles and ellipses of any colours on a ground of one."""
    image = Image.fromarray(blank(random, size))
    draw = ImageDraw.Draw(image)
    for number in range(int(random.integers(4, 25))):
        left, top = random.integers(-20, size[1]), random.integers(-20, size[0])
        width, height = random.integers(8, max(size[1] // 2, 9)), random.integers(8, max(size[0] // 2, 9))
        how = draw.ellipse if number % 2 else draw.rectangle
        how((left, top, left + width, top + height), fill=tuple(_colour(random).astype(int).tolist()))
    return np.asarray(image)


def text(random: Generator, size: Size) -> Pixels:
    """A part of a page of letters, dark on light, in some size."""
    scale = random.uniform(1, 3)
    width, height = round(size[1] / scale) + 1, round(size[0] / scale) + 1
    page, font = Image.new("L", (width, height), 255), ImageFont.load_default_imagefont()
    draw, letters = ImageDraw.Draw(page), np.array(list(LETTERS))
    for top in range(-int(random.integers(0, 11)), height, 11):
        draw.text((2, top), "".join(random.choice(letters, width // 6)), fill=0, font=font)
    share = np.asarray(page.resize(size[::-1], Image.Resampling.BICUBIC)) / 255
    ink, paper = random.uniform(0, 90, 3), random.uniform(190, 255, 3)
    return (ink + (paper - ink) * share[..., None] + 0.5).clip(0, 255).astype(np.uint8)


DRAWN: dict[str, Callable[[Generator, Size], Pixels]] = {
    "blank": blank,
    "noise": noise,
    "clouds": clouds,
    "gradient": gradient,
    "stripes": stripes,
    "checkerboard": checkerboard,
    "shapes": shapes,
    "text": text,
}


def drawn(kind: str, count: int, size: Size, seed: int) -> Pixels:
    """`count` images of a kind of `DRAWN`, [count, height, width, 3]; the first ones are the same for any count."""
    number = list(DRAWN).index(kind)
    return np.stack([DRAWN[kind](np.random.default_rng((seed, number, image)), size) for image in range(count)])


def shuffled(images: Pixels, seed: int, tiles: int = 4) -> Pixels:
    """Photographs [N, height, width, 3] cut into `tiles` x `tiles`, put together in an order of each one's own.

    They have the colours and the texture of skin, and nothing else of a lesion: the hardest that can be made here. What
    no tile holds is cut off.
    """
    random, (count, height, width, _) = np.random.default_rng(seed), images.shape
    down, across = height // tiles, width // tiles
    parts = images[:, : down * tiles, : across * tiles].reshape(count, tiles, down, tiles, across, 3).swapaxes(2, 3)
    parts = parts.reshape(count, tiles * tiles, down, across, 3)
    order = random.permuted(np.tile(np.arange(tiles * tiles), (count, 1)), axis=1)
    parts = np.stack([some[own] for some, own in zip(parts, order, strict=True)])
    parts = parts.reshape(count, tiles, tiles, down, across, 3).swapaxes(2, 3)
    return parts.reshape(count, down * tiles, across * tiles, 3)
