"""The dermoscopic criteria: each function draws one structure into a lesion, at a strength of about 0 to 1.

They are drawn in the order of `STRUCTURES`; the widths are such that the structures survive halving 192 x 256 pixels.
"""

import math
from collections.abc import Callable

import numpy as np

from dermaline.sources.synthetic.skin import Map, Patch

MESH = 0.058  # the distance between the holes of a pigment network


def pigment(patch: Patch, strength: float) -> None:
    """Brown all over, a little blotchy, darker or lighter towards the middle."""
    uneven = 0.75 + patch.rng.uniform(-0.2, 0.6) * patch.depth + 0.22 * patch.noise(11) + 0.16 * patch.noise(34)
    patch.melanin += strength * patch.inside * np.clip(uneven, 0.2, 2)


def redness(patch: Patch, strength: float) -> None:
    """Blood all over: the pink of a lesion."""
    patch.blood += strength * patch.inside * np.clip(0.9 + 0.2 * patch.noise(8), 0, 2)


def erythema(patch: Patch, strength: float) -> None:
    """Red that spreads beyond the outline."""
    spread = np.clip(patch.depth * 0.9 + 0.75 + 0.25 * patch.noise(7), 0, 1)
    patch.blood += 0.5 * strength * spread


def pallor(patch: Patch, strength: float) -> None:
    """Pink, translucent, pearly: pigment is veiled."""
    patch.white += 0.35 * strength * patch.inside * np.clip(0.8 + 0.3 * patch.noise(7), 0, 1.5)


def variegation(patch: Patch, strength: float) -> None:
    """Several browns to black, unevenly, darker towards one side."""
    angle = patch.rng.uniform(0, 2 * np.pi)
    slope = (patch.x * np.cos(angle) + patch.y * np.sin(angle)) * 2.0
    uneven = np.clip(0.9 * patch.noise(7) + 0.5 * patch.noise(14) + slope, -0.85, 1.8)
    patch.melanin += strength * patch.inside * uneven * np.maximum(patch.melanin, 0.35)


def honeycomb(patch: Patch, mesh: float, warp: float) -> Map:
    """Lines (1) around round holes (0), `mesh` apart; `warp` 0 is regular, 1 is torn."""
    scale = 4 * math.pi / math.sqrt(3) / mesh
    x, y = (axis * scale + (0.9 + 1.2 * warp) * patch.noise(12) for axis in (patch.x, patch.y))
    tilt = patch.rng.uniform(0, math.pi)
    waves = np.zeros_like(x)
    for angle in (tilt, tilt + math.pi / 3, tilt + 2 * math.pi / 3):
        waves += np.cos(x * math.cos(angle) + y * math.sin(angle))
    return np.clip((0.2 + (0.35 + 0.4 * warp) * patch.noise(20) - waves) / 1.4, 0, 1)


def network(patch: Patch, strength: float) -> None:
    """A regular pigment network that fades towards the border."""
    lines = honeycomb(patch, MESH * patch.rng.uniform(0.9, 1.25), 0.0)
    patchy = np.clip(0.8 + 0.5 * patch.noise(6), 0.1, 1.2) * np.clip(patch.depth * 3 + 0.4, 0, 1)
    patch.melanin += (0.95 * lines - 0.3) * strength * patch.inside * patchy


def atypical_network(patch: Patch, strength: float) -> None:
    """Broad, torn, dark network in a part of the lesion, up to the border."""
    lines = honeycomb(patch, MESH * patch.rng.uniform(1.1, 1.45), 1.0)
    patch.melanin += (1.5 * lines - 0.35) * strength * patch.inside * np.clip(patch.noise(5) + 0.5, 0, 1)


def fringe(patch: Patch, strength: float) -> None:
    """A delicate network at the periphery only."""
    ring = np.clip(1 - np.abs(patch.depth - 0.12) / 0.38, 0, 1)
    patch.melanin += (
        (0.75 * honeycomb(patch, MESH, 0.5) + 0.1) * strength * ring * np.clip(0.8 + 0.5 * patch.noise(7), 0, 1)
    )


def globules(patch: Patch, strength: float) -> None:
    """Round brown globules, alike and evenly spread."""
    count = int(patch.rng.integers(25, 70))
    spots = patch.blobs(patch.places(count, 0.08), patch.rng.uniform(0.018, 0.026, count))
    patch.melanin += 0.9 * strength * spots


def dots(patch: Patch, strength: float) -> None:
    """Irregular black dots and clods, crowded in one part."""
    count = int(patch.rng.integers(10, 35))
    centre, points = patch.places(1, 0.1), patch.places(4 * count, 0.0)
    nearest = np.argsort(np.hypot(*(points - centre).T))[:count]
    patch.melanin += 1.8 * strength * patch.blobs(points[nearest], patch.rng.uniform(0.012, 0.032, len(nearest)))


def streaks(patch: Patch, strength: float) -> None:
    """Dark fingers that run out over the border, in some sectors."""
    points = patch.places(30, 0.02, 0.14)
    middle = points.mean(axis=0) if len(points) else np.zeros(2)
    sector = patch.rng.uniform(0, 2 * np.pi)
    paths = []
    for point in points:
        heading = np.arctan2(*(point - middle)[::-1])
        if np.cos(heading - sector) > -0.2:
            paths.append(patch.walk(point, heading, patch.rng.uniform(0.06, 0.14), 0.15))
    patch.melanin += 1.3 * strength * patch.lines(paths, [0.020] * len(paths), blur=0.007)


def area(patch: Patch, low: float, reach: float) -> Map:
    """A soft, ragged region of the lesion around a random place deeper than `low`: 0 to 1."""
    centre = patch.places(1, low).sum(axis=0)
    distance = np.hypot(patch.x - np.float32(centre[0]), patch.y - np.float32(centre[1]))
    return np.clip(1.6 * (1 - distance / reach) + 0.35 * patch.noise(12), 0, 1) * patch.inside


def veil(patch: Patch, strength: float) -> None:
    """A blue-white veil: a structureless blue area under a ground-glass haze."""
    region = area(patch, 0.25, patch.rng.uniform(0.18, 0.32))
    patch.melanin *= 1 - 0.7 * strength * region
    patch.deep += 1.1 * strength * region
    patch.white += 0.18 * strength * region


def regression(patch: Patch, strength: float) -> None:
    """A scar-like white area, with blue-grey pepper."""
    region = area(patch, 0.1, patch.rng.uniform(0.14, 0.28))
    patch.melanin *= 1 - 0.85 * strength * region
    patch.white += 0.45 * strength * region
    count = 25
    pepper = patch.blobs(patch.places(count, 0.05), patch.rng.uniform(0.010, 0.016, count))
    patch.deep += 0.9 * strength * pepper * region


def ridges(patch: Patch, strength: float) -> None:
    """Gyri and sulci: a fingerprint to cerebriform surface."""
    folds = np.cos(patch.noise(13) * 4 + patch.noise(26) * 1.2)
    patch.melanin += 0.45 * strength * patch.inside * folds
    patch.white += 0.12 * strength * patch.inside * np.clip(-folds, 0, 1)


def cysts(patch: Patch, strength: float) -> None:
    """Milia-like cysts: white to yellow, round, bright."""
    count = int(patch.rng.integers(7, 22))
    patch.white += 0.75 * strength * patch.blobs(patch.places(count, 0.08), patch.rng.uniform(0.014, 0.026, count))


def openings(patch: Patch, strength: float) -> None:
    """Comedo-like openings: brown-black plugs with a sharp edge."""
    count = int(patch.rng.integers(5, 16))
    plugs = patch.blobs(patch.places(count, 0.1), patch.rng.uniform(0.020, 0.034, count))
    patch.melanin += 1.5 * strength * plugs
    patch.blood += 0.5 * strength * plugs


def wax(patch: Patch, strength: float) -> None:
    """A dull, yellowish-grey, stuck-on surface."""
    grain = np.clip(0.6 + 0.5 * patch.noise(40), 0, 1.5)
    patch.white += 0.22 * strength * patch.inside * grain
    patch.deep += 0.18 * strength * patch.inside


def vessels(patch: Patch, strength: float) -> None:
    """Arborising vessels: sharp red trunks that branch to fine twigs."""
    paths: list[np.ndarray] = []
    widths: list[float] = []
    for start in patch.places(int(patch.rng.integers(2, 5)), -0.1, 0.3):
        inward = np.arctan2(-start[1], -start[0])
        branches = [(start, inward + patch.rng.normal(0, 0.5), 0.26, 0.019)]
        while branches:
            point, heading, length, width = branches.pop()
            path = patch.walk(point, heading, length, 0.4)
            paths.append(path)
            widths.append(width)
            if width > 0.010:
                for fork in patch.rng.choice([4, 6, 8, 10], 3, replace=False):
                    turn = heading + patch.rng.choice([-1, 1]) * patch.rng.uniform(0.5, 1.1)
                    branches.append((path[fork], turn, length * 0.6, width * 0.68))
    patch.blood += 1.25 * strength * patch.lines(paths, widths, blur=0.003)


def nests(patch: Patch, strength: float) -> None:
    """Blue-grey ovoid nests and leaf-like areas towards the periphery."""
    count = int(patch.rng.integers(3, 9))
    clods = patch.blobs(patch.places(count, 0.05, 0.6), patch.rng.uniform(0.04, 0.085, count), blur=0.014)
    patch.deep += 1.0 * strength * clods
    patch.melanin += 0.35 * strength * clods


def ulcer(patch: Patch, strength: float) -> None:
    """An erosion: raw red with a brown-orange crust."""
    region = area(patch, 0.2, patch.rng.uniform(0.10, 0.20))
    patch.blood += 1.5 * strength * region
    patch.melanin += 1.1 * strength * region * np.clip(patch.noise(24) + 0.2, 0, 1)


def strawberry(patch: Patch, strength: float) -> None:
    """A red pseudo-network between pale follicles."""
    lines = honeycomb(patch, MESH * patch.rng.uniform(1.2, 1.7), 0.8)
    where = np.clip(patch.depth * 2 + 0.5 + 0.4 * patch.noise(7), 0, 1)
    patch.blood += 0.55 * strength * where * lines
    patch.white += 0.30 * strength * where * np.clip(0.35 - lines, 0, 0.35) / 0.35


def scale(patch: Patch, strength: float) -> None:
    """White to yellow flakes of keratin, ragged."""
    flakes = np.clip(3.0 * (patch.noise(15) + 0.7 * patch.noise(36) - 0.75), 0, 1)
    patch.white += 0.85 * strength * flakes * patch.inside
    patch.melanin += 0.12 * strength * flakes * patch.inside


def scar(patch: Patch, strength: float) -> None:
    """The central white patch of a dermatofibroma, with short white cords."""
    core = np.clip(2.2 * (patch.depth - 0.42) + 0.20 * patch.noise(14), 0, 1)
    paths = [patch.walk(point, patch.rng.uniform(0, 6.3), 0.2, 0.25) for point in patch.places(9, 0.45)]
    cords = patch.lines(paths, [0.018] * len(paths), blur=0.004)
    patch.melanin *= 1 - 0.75 * strength * core
    patch.white += strength * (0.60 * core + 0.30 * cords)


def lacunae(patch: Patch, strength: float) -> None:
    """Red to purple lagoons in a cluster, parted by pale septa."""
    count = int(patch.rng.integers(25, 60))
    lagoons = patch.blobs(patch.places(count, 0.04), patch.rng.uniform(0.04, 0.09, count), septum=0.012)
    purple = patch.rng.uniform(0.0, 0.8)
    patch.blood += strength * (1.5 * lagoons + 0.5 * patch.inside)
    patch.deep += strength * purple * lagoons * np.clip(0.6 + 0.5 * patch.noise(6), 0, 1.5)


STRUCTURES: dict[str, Callable[[Patch, float], None]] = {
    structure.__name__: structure
    for structure in (
        pigment, redness, erythema, variegation, network, atypical_network, fringe, globules, ridges, lacunae, nests,
        veil, regression, scar, pallor, wax, strawberry, dots, streaks, vessels, ulcer, scale, cysts, openings,
    )
}  # fmt: skip
