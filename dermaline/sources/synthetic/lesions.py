"""What a lesion of each diagnosis looks like: its traits, their overlap between diagnoses, its outline, the drawing."""

import numpy as np

from dermaline.sources.synthetic import skin
from dermaline.sources.synthetic.criteria import STRUCTURES
from dermaline.sources.synthetic.skin import Patch

# The mean share of its traits that a lesion borrows from a diagnosis it can be mistaken for. Raise it and the classes
# grow harder to tell apart (0: every lesion is a textbook case; 1: most are hopeless).
OVERLAP = 0.2

# Which diagnoses a lesion can be mistaken for, and how often for each.
MISTAKEN_FOR: dict[str, dict[str, float]] = {
    "akiec": {"bkl": 0.45, "bcc": 0.40, "mel": 0.15},
    "bcc": {"akiec": 0.35, "mel": 0.25, "bkl": 0.25, "vasc": 0.15},
    "bkl": {"mel": 0.40, "nv": 0.30, "akiec": 0.30},
    "df": {"nv": 0.60, "bcc": 0.20, "bkl": 0.20},
    "mel": {"nv": 0.60, "bkl": 0.40},
    "nv": {"mel": 0.55, "bkl": 0.30, "df": 0.15},
    "vasc": {"bcc": 0.50, "nv": 0.25, "mel": 0.25},
}

Trait = tuple[float, float, float]  # the chance that a lesion has it, its least and its greatest strength
OUTLINE: tuple[str, ...] = ("sun", "radius", "lobes", "ragged", "notched", "softness")

# A trait that is not named is never there. Beside the structures: sun-damaged skin around the lesion, its radius,
# added lobes (asymmetry), a ragged outline, bites out of it, and the width over which the border fades.
TRAITS: dict[str, dict[str, Trait]] = {
    "akiec": {
        "sun": (0.8, 0.4, 1.0), "radius": (1, 0.26, 0.46), "lobes": (0.4, 0.3, 0.8), "ragged": (1, 0.3, 0.8),
        "softness": (1, 0.10, 0.24), "pigment": (0.6, 0.05, 0.35), "redness": (1, 0.10, 0.35),
        "erythema": (0.9, 0.5, 1.0), "strawberry": (0.75, 0.6, 1.0), "scale": (0.75, 0.5, 1.0),
    },
    "bcc": {
        "sun": (0.6, 0.3, 1.0), "radius": (1, 0.24, 0.44), "lobes": (0.5, 0.3, 0.8), "ragged": (1, 0.2, 0.6),
        "softness": (1, 0.05, 0.16), "pigment": (0.4, 0.05, 0.30), "redness": (1, 0.15, 0.40),
        "pallor": (0.8, 0.4, 1.0), "vessels": (0.8, 0.6, 1.0), "nests": (0.7, 0.5, 1.0), "ulcer": (0.35, 0.5, 1.0),
    },
    "bkl": {
        "sun": (0.5, 0.2, 0.9), "radius": (1, 0.26, 0.48), "lobes": (0.5, 0.3, 0.8), "ragged": (1, 0.2, 0.6),
        "notched": (0.6, 0.4, 1.0), "softness": (1, 0.02, 0.07), "pigment": (1, 0.30, 0.85),
        "redness": (0.5, 0.05, 0.20), "ridges": (0.6, 0.5, 1.0), "wax": (0.75, 0.4, 1.0), "cysts": (0.7, 0.6, 1.0),
        "openings": (0.55, 0.6, 1.0),
    },
    "df": {
        "sun": (0.2, 0.1, 0.5), "radius": (1, 0.26, 0.42), "ragged": (1, 0.1, 0.3), "softness": (1, 0.10, 0.22),
        "pigment": (1, 0.18, 0.45), "redness": (0.8, 0.05, 0.30), "fringe": (0.8, 0.4, 0.9), "scar": (0.85, 0.5, 1.0),
    },
    "mel": {
        "sun": (0.4, 0.2, 0.8), "radius": (1, 0.30, 0.52), "lobes": (0.85, 0.5, 1.0), "ragged": (1, 0.5, 1.0),
        "notched": (0.3, 0.3, 0.7), "softness": (1, 0.03, 0.12), "pigment": (1, 0.55, 1.20),
        "redness": (0.6, 0.05, 0.30), "variegation": (0.9, 0.5, 1.0), "atypical_network": (0.65, 0.5, 1.0),
        "dots": (0.6, 0.5, 1.0), "streaks": (0.4, 0.5, 1.0), "veil": (0.55, 0.5, 1.0), "regression": (0.4, 0.4, 1.0),
    },
    "nv": {
        "sun": (0.15, 0.1, 0.5), "radius": (1, 0.22, 0.44), "ragged": (1, 0.15, 0.5), "softness": (1, 0.05, 0.20),
        "pigment": (1, 0.35, 1.05), "redness": (0.7, 0.05, 0.30), "network": (0.55, 0.4, 1.0),
        "globules": (0.35, 0.4, 1.0),
    },
    "vasc": {
        "sun": (0.15, 0.1, 0.5), "radius": (1, 0.20, 0.38), "lobes": (0.25, 0.2, 0.6), "ragged": (1, 0.1, 0.4),
        "softness": (1, 0.02, 0.06), "redness": (1, 0.40, 0.90), "lacunae": (0.9, 0.6, 1.0),
    },
}  # fmt: skip


def appearance(dx: str, rng: np.random.Generator) -> dict[str, float]:
    """The strength of every trait of one lesion: its own diagnosis's, some replaced by another's."""
    others = MISTAKEN_FOR[dx]
    other = rng.choice(list(others), p=list(others.values()))
    borrowed = min(1.0, OVERLAP * rng.exponential())
    look = {}
    for name in (*OUTLINE, *STRUCTURES):
        profile = TRAITS[str(other) if rng.random() < borrowed else dx]
        chance, least, greatest = profile.get(name, (0.0, 0.0, 0.0))
        strength = rng.uniform(least, greatest)
        look[name] = strength if rng.random() < chance else 0.0
    return look


def outline(patch: Patch, look: dict[str, float]) -> None:
    """Set the patch's `depth` and `inside`: a wavy oval with lobes, its border roughened."""
    rng, radius = patch.rng, look["radius"]
    patch.depth = oval(patch, np.zeros(2), radius, look["ragged"])
    if look["lobes"]:
        for _ in range(int(rng.integers(1, 4))):
            angle = rng.uniform(0, 2 * np.pi)
            centre = np.array([np.cos(angle), np.sin(angle)]) * radius * rng.uniform(0.5, 0.9)
            lobe = oval(patch, centre, radius * look["lobes"] * rng.uniform(0.4, 0.8), look["ragged"])
            patch.depth = np.maximum(patch.depth, lobe)
    patch.depth += look["ragged"] * (0.06 * patch.noise(16) + 0.03 * patch.noise(40))
    if look["notched"]:
        patch.depth -= look["notched"] * 0.30 * np.clip(patch.noise(13) - 0.4, 0, 1)
    border = np.clip(0.5 + patch.depth * np.float32(radius / max(look["softness"], 0.01)), 0, 1)
    patch.inside = border * border * (3 - 2 * border)


def oval(patch: Patch, centre: np.ndarray, radius: float, ragged: float) -> skin.Map:
    """The depth below the outline of one wavy oval: 1 at `centre`, 0 on the outline, negative outside."""
    rng = patch.rng
    x, y = patch.x - np.float32(centre[0]), patch.y - np.float32(centre[1])
    angle, stretch = np.arctan2(y, x), rng.uniform(0.0, 0.22)
    wave = 1 + stretch * np.cos(2 * angle + np.float32(rng.uniform(0, 6.3)))
    for bumps in (3, 4, 5, 7):
        wave += ragged * rng.normal(0, 0.22) / bumps * np.cos(bumps * angle + np.float32(rng.uniform(0, 6.3)))
    return (1 - np.hypot(x, y) / (np.float32(radius) * wave)).astype(np.float32)


def draw(dx: str, rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """One lesion in a square of skin: its colour (side, side, 3) uint8 and its mask (side, side) uint8, 0 or 255."""
    look = appearance(dx, rng)
    patch = skin.background(rng, side, look["sun"])
    outline(patch, look)
    for name, structure in STRUCTURES.items():
        if look[name]:
            structure(patch, look[name])
    return skin.tint(patch), np.where(patch.inside > 0.5, 255, 0).astype(np.uint8)
