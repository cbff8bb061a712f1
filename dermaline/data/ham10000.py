"""What is known of HAM10000 itself: its image ids, and which of its photographs show one lesion under two lesion ids.

The pairs were found by `python -m benchmarks.twins`, which lists the candidates and draws them side by side, and by
looking: at all of similarity 0.77 and more, and of 0.55 and more if diagnosis, age, sex and place agree. Being facts of
the data set, they hold for every copy of it, whatever its size or compression.
"""

import pandas as pd

LESION = r"HAM_\d{7}"  # its ids of lesions; a clinic may number its photographs alike
FIRST, LAST = "ISIC_0024306", "ISIC_0034320"  # 10,015 ids without a gap

PAIRS: tuple[tuple[str, str], ...] = (
    ("ISIC_0025226", "ISIC_0030074"),
    ("ISIC_0027027", "ISIC_0029036"),
    ("ISIC_0027636", "ISIC_0027994"),
    ("ISIC_0029152", "ISIC_0033173"),
    ("ISIC_0025387", "ISIC_0029880"),
    ("ISIC_0034228", "ISIC_0034248"),
    ("ISIC_0025141", "ISIC_0025323"),
    ("ISIC_0033421", "ISIC_0033481"),
    ("ISIC_0032634", "ISIC_0033556"),
    ("ISIC_0024602", "ISIC_0032283"),
    ("ISIC_0025141", "ISIC_0028067"),
    ("ISIC_0025281", "ISIC_0026904"),
    ("ISIC_0027133", "ISIC_0032328"),
    ("ISIC_0027820", "ISIC_0028209"),
    ("ISIC_0025323", "ISIC_0028067"),
    ("ISIC_0026160", "ISIC_0029960"),
    ("ISIC_0024629", "ISIC_0029625"),
    ("ISIC_0027689", "ISIC_0032647"),
    ("ISIC_0024782", "ISIC_0030123"),
    ("ISIC_0025947", "ISIC_0029023"),
    ("ISIC_0024408", "ISIC_0027737"),
    ("ISIC_0030000", "ISIC_0031392"),
    ("ISIC_0025664", "ISIC_0026087"),
    ("ISIC_0028722", "ISIC_0030462"),  # this and the next: likely, the others are plain
    ("ISIC_0029793", "ISIC_0032124"),
)


def has(image_id: str) -> bool:
    """Whether an image is one of HAM10000's."""
    return len(image_id) == len(FIRST) and FIRST <= image_id <= LAST


def pairs(image_ids: pd.Series) -> pd.DataFrame:
    """Those of `PAIRS` that are in `image_ids`: columns a, b (positions, a < b) and similarity (NaN)."""
    position = pd.Series(range(len(image_ids)), index=image_ids)
    found = [sorted(position[list(pair)]) for pair in PAIRS if pair[0] in position and pair[1] in position]
    return pd.DataFrame(found, columns=["a", "b"], dtype=int).assign(similarity=float("nan"))
