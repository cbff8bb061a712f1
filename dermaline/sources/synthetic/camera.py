"""Photographs of a patch of skin: the view, hairs and other artefacts, the light, the lens, the files."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

MARGIN = 1.1  # how much larger the patch is than a photograph's diagonal, so that every view lies within it


@dataclass(frozen=True)
class Camera:
    """One of the instruments that a collection from several clinics comes from."""

    share: float
    gain: tuple[float, float, float]  # of red, green and blue
    vignette: float  # how much darker the corners are, 0 to 1
    tube: float  # the chance that the round rim of the dermatoscope is in view
    ruler: float  # the chance of ruler ticks in a corner
    ink: float  # the chance of a pen mark


CAMERAS: tuple[Camera, ...] = (
    Camera(0.40, (1.04, 0.84, 0.86), 0.05, 0.00, 0.00, 0.00),  # pink
    Camera(0.25, (1.02, 0.97, 0.94), 0.15, 0.25, 0.25, 0.04),  # neutral
    Camera(0.15, (0.93, 0.84, 0.97), 0.20, 0.10, 0.05, 0.04),  # purple
    Camera(0.12, (1.05, 0.90, 0.78), 0.10, 0.00, 0.05, 0.02),  # orange
    Camera(0.08, (0.82, 0.80, 0.86), 0.30, 0.60, 0.00, 0.02),  # grey
)


def patch_side(size: tuple[int, int]) -> int:
    """The side in pixels of the square patch that photographs of `size` (height, width) are taken from."""
    return int(np.ceil(MARGIN * np.hypot(*size)))


def choose(rng: np.random.Generator) -> Camera:
    """A camera, by its share."""
    return CAMERAS[int(rng.choice(len(CAMERAS), p=[camera.share for camera in CAMERAS]))]


def photograph(
    colour: np.ndarray,
    mask: np.ndarray,
    camera: Camera,
    rng: np.random.Generator,
    size: tuple[int, int],
    copy: bool = False,
) -> tuple[bytes, bytes]:
    """Take one photograph.

    Args:
        colour, mask: the patch, (side, side, 3) and (side, side) uint8.
        rng: decides everything about the photograph.
        size: its height and width.
        copy: give a near-duplicate of the photograph: shifted by a pixel, brighter, compressed harder.

    Returns:
        The JPEG's and the PNG mask's bytes.
    """
    affine = view(rng, len(mask), size, nudge=size[1] / 400 if copy else 0.0)
    shape, method = (size[1], size[0]), Image.Transform.AFFINE
    picture = Image.fromarray(colour).transform(shape, method, affine, Image.Resampling.BILINEAR)
    outline = Image.fromarray(mask).transform(shape, method, affine, Image.Resampling.NEAREST)
    focus = rng.gamma(1.5, 0.35) * size[1] / 256
    light = np.asarray(picture.filter(ImageFilter.GaussianBlur(focus)), np.float32) / 255
    light = artefacts(light, camera, rng)
    light = exposed(light, camera, rng)
    if copy:
        light *= np.float32(1.03)
    pixels = (np.clip(light, 0, 1) * 255 + 0.5).astype(np.uint8)
    return encoded(Image.fromarray(pixels), "JPEG", quality=80 if copy else 90), encoded(outline, "PNG")


def view(rng: np.random.Generator, side: int, size: tuple[int, int], nudge: float) -> tuple[float, ...]:
    """The affine map from a photograph's pixels to the patch's: some turn, zoom and shift."""
    angle, zoom = rng.normal(0, 0.5), rng.uniform(1.0, 1.35)
    across, down = rng.uniform(-0.04, 0.04, 2) * side + side / 2 + nudge
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    half_height, half_width = size[0] / 2, size[1] / 2
    return (
        cos, -sin, across - cos * half_width + sin * half_height,
        sin, cos, down - sin * half_width - cos * half_height,
    )  # fmt: skip


def artefacts(light: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Add hairs, ruler ticks, a pen mark and bright spots of the gel to `light` (height, width, 3), 0 to 1."""
    if rng.random() < 0.45:
        light = cover(light, hairs(light.shape[:2], rng), np.array([0.16, 0.10, 0.08]) * rng.uniform(0.8, 3.0))
    if rng.random() < camera.ruler:
        light = cover(light, ruler(light.shape[:2], rng), np.array([0.08, 0.08, 0.10]))
    if rng.random() < camera.ink:
        light = cover(light, 0.6 * ink(light.shape[:2], rng), np.array([0.25, 0.15, 0.55]))
    if rng.random() < 0.15:
        light = cover(light, 0.6 * gel(light.shape[:2], rng), np.array([1.0, 1.0, 1.0]))
    return light


def cover(light: np.ndarray, where: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Lay `colour` (3,) over `light` where `where` (height, width) is 1."""
    return light + where[..., None] * (colour.astype(np.float32) - light)


def hairs(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Curved strokes that mostly run one way: (height, width), 0 to 1."""
    lie, paths = rng.uniform(0, 2 * np.pi), []
    for _ in range(int(min(40, 1 + rng.exponential(7)))):
        turns = lie + rng.normal(0, 0.5) + np.linspace(0, rng.normal(0, 0.5), 12)
        steps = np.stack([np.cos(turns), np.sin(turns)], axis=1) * rng.uniform(0.01, 0.09)
        paths.append(rng.uniform(0, 1.3, 2) - 0.3 * steps[0] + np.cumsum(steps, axis=0))
    return strokes(shape, paths, rng.uniform(0.003, 0.009))


def ruler(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Ticks along a line near one corner."""
    step, slope = rng.uniform(0.05, 0.09), rng.uniform(0.6, 1.0)
    paths = []
    for tick in range(7):
        start = np.array([1.30 - 0.42 + tick * step, slope * tick * step - 0.02])
        length = 0.08 if tick % 5 == 0 else 0.05
        paths.append(np.stack([start, start + length * np.array([slope, -1.0])]))
    where = strokes(shape, paths, 0.011)
    return np.flip(where, [axis for axis in (0, 1) if rng.random() < 0.5])


def ink(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A broad pen stroke near the edge."""
    height = rng.choice([0.05, 0.95]) + rng.normal(0, 0.03)
    across = np.linspace(rng.uniform(-0.1, 0.3), rng.uniform(0.8, 1.4), 12)
    return strokes(shape, [np.stack([across, height + 0.06 * np.sin(across * rng.uniform(1, 5))], axis=1)], 0.06)


def gel(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Bright rims of bubbles and specks of reflected light."""
    angles, paths = np.linspace(0, 2 * np.pi, 18), []
    for _ in range(int(rng.integers(1, 9))):
        radius = rng.gamma(1.2, 0.02) + 0.006
        rim = angles[: int(rng.integers(7, 19))] + rng.uniform(0, 6.3)
        paths.append(rng.uniform(0, 1.3, 2) + radius * np.stack([np.cos(rim), np.sin(rim)], axis=1))
    return strokes(shape, paths, 0.008)


def strokes(shape: tuple[int, int], paths: list[np.ndarray], width: float) -> np.ndarray:
    """Lines along `paths`, each (points, 2) of x and y in picture heights: (height, width), 0 to 1."""
    image = Image.new("L", (2 * shape[1], 2 * shape[0]))
    pen = ImageDraw.Draw(image)
    for path in paths:
        pen.line((path * 2 * shape[0]).ravel().tolist(), fill=255, width=max(1, round(2 * width * shape[0])))
    return np.asarray(image.reduce(2), np.float32) / 255


def exposed(light: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """White balance, exposure, vignette, the tube's rim and the sensor's noise."""
    height, width = light.shape[:2]
    gain = np.array(camera.gain, np.float32) * rng.normal(1, 0.03, 3) * rng.normal(1.02, 0.06)
    x, y = (np.linspace(-1, 1, count, dtype=np.float32) for count in (width, height))
    distance = np.hypot(x * (width / height), y[:, None])
    shade = 1 - camera.vignette * rng.uniform(0.5, 1.5) * np.clip(distance / 1.67, 0, 1) ** 3
    if rng.random() < camera.tube:
        shade = shade * np.clip((rng.uniform(1.0, 1.4) - distance) / 0.05, 0.02, 1)
    grain = rng.standard_normal((height, width, 1), dtype=np.float32) * np.float32(0.008)
    return ((light + grain) * (shade[..., None] * gain)).astype(np.float32)


def encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    """The file's bytes."""
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()
