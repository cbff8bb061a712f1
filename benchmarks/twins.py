"""Candidates for near-duplicates under two lesion ids, to be looked at: `python -m benchmarks.twins FOLDER`.

Of the raw images that `download` brought: FOLDER/twins.csv lists them with their facts, FOLDER/twins_NN.png shows the
likeliest side by side, and what is printed compares their number with the same search against mirrored photographs,
among which there is no true pair.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from dermaline.base.errors import run
from dermaline.data.decode import decode
from dermaline.data.duplicates import known_pairs, same_facts, similar_pairs, thumbnails
from dermaline.data.table import read_table
from dermaline.sources.archive import RawZip

RAW = Path("data/raw")
LEAST = 0.55  # similarity from which a pair with the same facts is shown
LEAST_ALONE = 0.77  # and any other
PHOTOGRAPH = (150, 200)  # height, width as shown
CAPTION = 14
ROWS = 8  # a picture; two pairs in each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    table, source = read_table(RAW / "metadata.csv"), RawZip(RAW / "images.zip")
    images = thumbnails(source, list(table.image_id), 50)
    found = described(similar_pairs(images, LEAST), table)
    found.to_csv(folder / "twins.csv", index=False)
    null = described(mirrored_pairs(images), table)
    for least in (LEAST, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95):
        pairs, mirrored = (sides[sides.similarity >= least] for sides in (found, null))
        print(
            f"from {least:.2f}: {len(pairs)} pairs, {pairs.same_facts.sum()} of them with the same facts; "
            f"mirrored {len(mirrored)} and {mirrored.same_facts.sum()}"
        )
    shown = found[found.same_facts | (found.similarity >= LEAST_ALONE)]
    for number, start in enumerate(range(0, len(shown), 2 * ROWS)):
        sheet(shown.iloc[start : start + 2 * ROWS], source).save(folder / f"twins_{number:02}.png")


def mirrored_pairs(images: np.ndarray) -> pd.DataFrame:
    """Each pair of a photograph and another one's mirror image, once."""
    pairs = known_pairs(images, images[:, :, ::-1], LEAST)
    return pairs[pairs.a < pairs.b]


def described(pairs: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The pairs of two lesions with what the table says of them, those that agree in it first."""
    a, b = (table.iloc[pairs[side]].reset_index(drop=True) for side in ("a", "b"))
    rows = pd.DataFrame(
        {
            "similarity": pairs.similarity.astype(float).round(3).to_numpy(),
            "same_facts": same_facts(a, b),
            **{f"{name}_{side}": of[f"{name}_id"] for side, of in (("a", a), ("b", b)) for name in ("image", "lesion")},
            **{
                name: a[name].astype(str) + " | " + b[name].astype(str) for name in ("dx", "age", "sex", "localization")
            },
        }
    )
    return rows[rows.lesion_a != rows.lesion_b].sort_values(["same_facts", "similarity"], ascending=False)


def sheet(pairs: pd.DataFrame, source: RawZip) -> Image.Image:
    (height, width), tall = PHOTOGRAPH, PHOTOGRAPH[0] + CAPTION
    page = Image.new("RGB", (4 * width + 20, tall * ROWS), "white")
    for number, pair in enumerate(pairs.itertuples()):
        left, top = number % 2 * (2 * width + 20), number // 2 * tall
        for side, image_id in enumerate((pair.image_a, pair.image_b)):
            shown = Image.fromarray(decode(source.read(image_id), (height, width), 50))
            page.paste(shown, (left + side * width, top + CAPTION))
        facts = "same facts" if pair.same_facts else pair.dx
        text = f"{pair.similarity} {pair.image_a} {pair.image_b} {facts}"
        ImageDraw.Draw(page).text((left, top), text, fill="black")
    return page


if __name__ == "__main__":
    run(main)
