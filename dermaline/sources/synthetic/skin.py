"""A patch of skin to draw on: its pigments, the noise and the strokes that every structure is made of, its colour.

Nothing is painted as a colour. Structures add pigment (melanin, blood, melanin deep in the dermis, white scar or
keratin), and `tint` lets light pass through it, so colours mix as they do in skin. Lengths are in units of half the
patch's side: the patch reaches from -1 to 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Map = np.ndarray  # (side, side) float32

# How strongly one unit of melanin, blood and deep melanin absorbs red, green and blue. Deep melanin looks blue-grey:
# the blue light is scattered back before it gets there (Tyndall).
ABSORPTION = ((0.50, 0.98, 1.42), (0.13, 1.00, 0.74), (1.20, 0.90, 0.60))
DERMIS = (0.95, 0.87, 0.82)
KERATIN = (0.97, 0.92, 0.84)


@dataclass
class Patch:
    """A square of skin; all maps are (side, side) float32. The lesion's outline is filled in by `lesions`."""

    rng: np.random.Generator
    x: Map  # -1 to 1, to the right
    y: Map  # -1 to 1, downwards
    melanin: Map  # not negative
    blood: Map
    deep: Map
    white: Map  # 0 to 1: the share of keratin's colour
    depth: Map  # of the lesion: 1 at its centre, 0 on its outline, negative outside
    inside: Map  # of the lesion: 0 outside to 1 inside, soft over the border

    @property
    def side(self) -> int:
        return len(self.x)

    def noise(self, cells: int) -> Map:
        """Smooth noise of mean 0 and deviation about 0.8; features are about 1/cells of the side wide."""
        grid = self.rng.standard_normal((cells, cells), dtype=np.float32)
        return np.asarray(Image.fromarray(grid).resize((self.side, self.side), Image.Resampling.BICUBIC))

    def places(self, count: int, low: float, high: float = 1.0) -> np.ndarray:
        """Random points where the lesion's depth is between `low` and `high`: (count, 2) x and y, or (0, 2)."""
        candidates = np.flatnonzero((self.depth > low) & (self.depth < high))
        chosen = self.rng.choice(candidates, count if candidates.size else 0)
        return np.stack([self.x.flat[chosen], self.y.flat[chosen]], axis=1)

    def drawn(self, strokes: Callable[[ImageDraw.ImageDraw, Callable], None], blur: float = 0.0) -> Map:
        """What `strokes(pen, pixels)` draws in 0-255 grey, as 0 to 1; `pixels` turns units into the pen's pixels."""
        image = Image.new("L", (2 * self.side, 2 * self.side))  # twice as fine, for smooth edges
        strokes(ImageDraw.Draw(image), lambda units: (np.asarray(units) + 1) * self.side)
        image = image.reduce(2)
        if blur:
            image = image.filter(ImageFilter.GaussianBlur(blur * self.side / 2))
        return np.asarray(image, np.float32) / 255

    def blobs(self, points: np.ndarray, radii: np.ndarray, septum: float = 0.0, blur: float = 0.004) -> Map:
        """Roundish spots at `points` (n, 2) with `radii` (n,); `septum` is the width of a gap cut around each."""
        count = len(points)
        radii = radii[:count, None]
        angles = np.linspace(0, 2 * np.pi, 18, endpoint=False) + self.rng.uniform(0, 2 * np.pi, (count, 1))
        for bumps in (2, 3):
            phase, height = self.rng.uniform(0, 6.3, (count, 1)), self.rng.uniform(0, 0.36 / bumps, (count, 1))
            radii = radii * (1 + height * np.cos(bumps * angles + phase))
        ring = np.stack([np.cos(angles), np.sin(angles)], axis=2) * radii[..., None]
        width = round(septum * self.side)

        def strokes(pen: ImageDraw.ImageDraw, pixels: Callable) -> None:
            for outline in pixels(points[:, None] + ring).reshape(count, -1).tolist():
                pen.polygon(outline, fill=255, outline=0 if width else 255, width=max(width, 1))

        return self.drawn(strokes, blur)

    def lines(self, paths: list[np.ndarray], widths: list[float], blur: float = 0.0) -> Map:
        """Strokes along `paths`, each (points, 2), with `widths` in units."""

        def strokes(pen: ImageDraw.ImageDraw, pixels: Callable) -> None:
            for path, width in zip(paths, widths, strict=True):
                pen.line(pixels(path).ravel().tolist(), fill=255, width=max(1, round(width * self.side)), joint="curve")

        return self.drawn(strokes, blur)

    def walk(self, start: np.ndarray, heading: float, length: float, bend: float) -> np.ndarray:
        """A wavering path of 10 steps from `start` (2,): (11, 2)."""
        turns = heading + np.cumsum(self.rng.normal(0, bend, 10))
        steps = np.stack([np.cos(turns), np.sin(turns)], axis=1) * (length / 10)
        return np.concatenate([start[None], start + np.cumsum(steps, axis=0)])


def background(rng: np.random.Generator, side: int, sun: float) -> Patch:
    """Bare skin of a random tone; `sun` (0 to 1) adds the freckles and fine vessels of sun-damaged skin."""
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    x, y = (np.ascontiguousarray(part) for part in np.meshgrid(axis, axis))
    blank = np.zeros_like(x)
    patch = Patch(rng, x, y, blank, blank.copy(), blank.copy(), blank.copy(), blank - 1, blank)
    tone, flush = rng.gamma(2.0, 0.04), rng.uniform(0.04, 0.22)
    grain = 0.5 * patch.noise(side // 3) + patch.noise(side // 9)
    patch.melanin = tone + 0.03 * np.clip(patch.noise(9) + patch.noise(30), 0, 3) + 0.012 * grain
    patch.blood = flush + 0.025 * patch.noise(5) + 0.022 * patch.noise(18) + 0.016 * grain
    if rng.random() < 0.5:
        furrows(patch, rng.uniform(0.02, 0.09))
    if sun:
        patch.melanin += sun * 0.30 * np.clip(patch.noise(16) + patch.noise(7) - 0.9, 0, 1.5)
        patch.blood += sun * 0.25 * np.clip(1 - np.abs(patch.noise(14)) / 0.10, 0, 1) * np.clip(patch.noise(5), 0, 1)
    return patch


def furrows(patch: Patch, strength: float) -> None:
    """The skin's lines: two slanted sets of pale creases."""
    tilt = patch.rng.uniform(0, math.pi)
    for angle in (tilt, tilt + patch.rng.uniform(0.7, 1.6)):
        across = patch.x * (70 * math.cos(angle)) + patch.y * (70 * math.sin(angle)) + 1.5 * patch.noise(14)
        patch.white += np.clip(np.cos(across) * 4 - 3, 0, 1) * (strength * np.clip(patch.noise(5) + 0.6, 0, 1))


def tint(patch: Patch) -> np.ndarray:
    """The colour of the patch under white light: (side, side, 3) uint8."""
    pigments = [np.maximum(pigment, 0) for pigment in (patch.melanin, patch.blood, patch.deep)]
    white = np.clip(patch.white, 0, 1)
    colour = np.empty((*white.shape, 3), np.uint8)
    for channel in range(3):
        density = sum(pigment * ABSORPTION[number][channel] for number, pigment in enumerate(pigments))
        light = DERMIS[channel] * np.exp(-density)
        colour[..., channel] = (light + white * (KERATIN[channel] - light)) * 255 + 0.5
    return colour
