"""Who has the lesion and how the diagnosis was made: HAM10000's vocabulary, with frequencies close to its own."""

import numpy as np

SEXES: tuple[str, ...] = ("female", "male", "unknown")
DX_TYPES: tuple[str, ...] = ("histo", "follow_up", "consensus", "confocal")
SITES: tuple[str, ...] = (
    "abdomen", "acral", "back", "chest", "ear", "face", "foot", "genital", "hand", "lower extremity", "neck", "scalp",
    "trunk", "unknown", "upper extremity",
)  # fmt: skip
OLDEST = 85
NO_AGE = 0.006  # the share of lesions without an age

AGE: dict[str, tuple[float, float]] = {  # mean and deviation, in years
    "akiec": (67, 12), "bcc": (67, 14), "bkl": (64, 14), "df": (53, 14), "mel": (61, 15), "nv": (46, 15),
    "vasc": (51, 22),
}  # fmt: skip
SEX: dict[str, tuple[float, ...]] = {  # in percent, in the order of SEXES
    "akiec": (32, 68, 0), "bcc": (38, 62, 0), "bkl": (42, 57, 1), "df": (45, 55, 0), "mel": (38, 62, 0),
    "nv": (48, 51, 1), "vasc": (51, 49, 0),
}  # fmt: skip
DX_TYPE: dict[str, tuple[float, ...]] = {  # in percent, in the order of DX_TYPES
    "akiec": (100, 0, 0, 0), "bcc": (100, 0, 0, 0), "bkl": (70, 0, 24, 6), "df": (48, 0, 52, 0),
    "mel": (100, 0, 0, 0), "nv": (37, 55, 8, 0), "vasc": (47, 0, 53, 0),
}  # fmt: skip
SITE: dict[str, tuple[float, ...]] = {  # in percent, in the order of SITES
    "akiec": (2, 0, 9, 4, 1, 35, 0, 0, 4, 20, 3, 4, 0, 0, 18),
    "bcc": (4, 0, 36, 9, 0, 20, 1, 0, 0, 11, 3, 4, 2, 1, 9),
    "bkl": (4, 0, 18, 7, 1, 28, 0, 0, 1, 16, 3, 3, 7, 2, 10),
    "df": (4, 0, 2, 0, 0, 0, 2, 1, 0, 70, 0, 0, 0, 0, 21),
    "mel": (6, 0, 29, 6, 1, 9, 3, 0, 0, 17, 3, 1, 4, 1, 20),
    "nv": (13, 0.1, 21, 3, 0.4, 1.5, 4, 0.7, 0.8, 22, 1.2, 0.7, 18.6, 3, 10),
    "vasc": (19, 0, 16, 4, 0, 6, 0, 0, 3, 19, 2, 1, 22, 0, 8),
}


def patient(dx: str, rng: np.random.Generator) -> dict[str, str | float]:
    """Draw the table's `dx_type`, `age` (0 to 85 in steps of 5, or NaN), `sex` and `localization` for one lesion."""
    age = float(np.clip(5 * np.round(rng.normal(*AGE[dx]) / 5), 0, OLDEST))
    return {
        "dx_type": pick(DX_TYPES, DX_TYPE[dx], rng),
        "age": age if rng.random() >= NO_AGE else np.nan,
        "sex": pick(SEXES, SEX[dx], rng),
        "localization": pick(SITES, SITE[dx], rng),
    }


def pick(names: tuple[str, ...], weights: tuple[float, ...], rng: np.random.Generator) -> str:
    """One of `names`, by `weights` of any sum."""
    return names[int(rng.choice(len(names), p=np.array(weights) / sum(weights)))]
