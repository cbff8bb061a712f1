"""The command `readme`: the tables of the README and docs/, and the released model's card, from what was measured."""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from dermaline.base.errors import DermalineError
from dermaline.base.files import read_json, write_text
from dermaline.campaigns import plan
from dermaline.commands.card import CARD, card, read
from dermaline.commands.markdown import classes_table, markdown
from dermaline.commands.results_summary import TABLE, summary
from dermaline.evaluation.summary import OPERATING_POINT
from dermaline.reporting.tables import COLUMNS, out_of_distribution, outlines, protocols, with_ends, with_flat_ends

START, END = "<!-- {}: made by `python -m dermaline readme` -->", "<!-- end of {} -->"
DATA = Path("results/ham10000")
MISSING = ["not yet measured", *[""] * (len(COLUMNS) - 1)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def main(options: argparse.Namespace) -> None:
    write_tables()


def write_tables() -> None:
    """Put each table between its marks, and write the card of the released model.

    Raises:
        DermalineError: marks are missing, or the recorded run is not of the released model.
    """
    for page, tables in pages().items():
        text = page.read_text(encoding="utf-8")
        for name, table in tables.items():
            start, end = START.format(name), END.format(name)
            before, _, rest = text.partition(start)
            _, mark, after = rest.partition(end)
            if not mark:
                raise DermalineError(f"{page}: the marks of a table are gone; put back '{start}' and '{end}'")
            text = f"{before}{start}\n{table}\n{end}{after}"
        write_text(page, text)
    write_text(CARD, card(DATA))


def pages() -> dict[Path, dict[str, str]]:
    """The tables of each page, by their names."""
    runs, released = [row for row in summary() if row["kind"] != TABLE], read(DATA).folder
    return {
        Path("README.md"): {"results": results_table([row for row in runs if row["data"] == DATA.name])},
        Path("docs/results.md"): {
            "runs": runs_table(runs),
            "protocols": markdown(*protocols(pd.read_csv(released / "protocols.csv"))),
            "classes": classes_table(released),
            "members": validation_table(pd.read_csv(DATA / "members.csv")),
            "distilled": validation_table(pd.read_csv(DATA / "distilled.csv")),
            "metadata": validation_table(pd.read_csv(DATA / "metadata.csv")),
            "ideas": validation_table(pd.read_csv(DATA / "ideas.csv")),
            "heads": campaign_table("heads"),
            "folds_quick": campaign_table("folds_quick"),
            "small": campaign_table("small"),
        },
        Path("docs/using-a-model.md"): {
            "sizes": validation_table(pd.read_csv(DATA / "sizes.csv")),
            "views": validation_table(pd.read_csv(DATA / "views.csv")),
            "ood": markdown(*out_of_distribution(read_json(released / "ood.json"))),
        },
        Path("docs/outlines.md"): {
            "outlines": markdown(*outlines(read_json(released / "segmentation.json"))),
            "lesion_crops": validation_table(pd.read_csv(DATA / "lesion_crops.csv")),
        },
        Path("docs/speed.md"): {"speed": speed_table(summary(Path("benchmarks/summary.json")))},
        Path("docs/reliability.md"): {"reliability": reliability_table(summary(Path("results/reliability.json")))},
    }


def results_table(rows: list[dict[str, Any]]) -> str:
    """Runs as a Markdown table, without intervals but for the melanomas that they find."""
    lines = []
    for row in rows:
        final = list(read_json(DATA / row["name"] / "details.json").values())[-1]
        found = [with_ends(one, "melanoma_sensitivity") for one in (final["image_level"], final[OPERATING_POINT])]
        lines.append([row["name"], *(f"{row[key]:.3f}" for key in COLUMNS.values()), *found])
    return markdown(["model", *COLUMNS, "melanomas found by the diagnosis", "by the threshold"], lines)


def runs_table(rows: list[dict[str, Any]]) -> str:
    """Runs as a Markdown table: each headline number with its 95 % interval."""
    lines = []
    for row in rows:
        cells = [row["name"], row["data"], f"{row['n_test']:,}"]
        cells += [with_ends(row, key) for key in COLUMNS.values()]
        lines.append([*cells, f"{row['machine']}, {row['seconds'] / 60:.0f} min"])
    return markdown(["model", "data", "test images", *COLUMNS, "made on"], lines)


def speed_table(rows: list[dict[str, Any]]) -> str:
    """The benchmarks as a Markdown table: each ratio with its lowest and highest round."""
    lines = []
    for row in rows:
        low, middle, high = (f"{row[key]:.3g}" for key in ("low", "ratio", "high"))
        ratio = middle if low == high else f"{middle} ({low} to {high})"
        lines.append([row["claim"], ratio, row["target"], f"`{row['command'].removeprefix('python -m ')}`"])
    return markdown(["comparison", "ratio", "wanted", "command"], lines)


def reliability_table(rows: list[dict[str, Any]]) -> str:
    """What was done to the pipeline, how often, and how often it lost something."""
    lines = [
        [row["trial"], f"{row['tries']:,}", f"{row['lost']:,}", f"`{row['command'].removeprefix('python -m ')}`"]
        for row in rows
    ]
    return markdown(["what was done", "tries", "lost", "command"], lines)


def validation_table(rows: pd.DataFrame) -> str:
    """What a benchmark on validation images wrote, as a Markdown table with the differences from its first row."""
    return markdown(["on validation images", *COLUMNS], [[row["model"], *_scores(row)] for _, row in rows.iterrows()])


def campaign_table(name: str) -> str:
    """What a campaign wrote, as a Markdown table: with its claims, if it has any, and the rows that are still to do.

    Of validation with the differences from the first row, of the test with each score's own interval.
    """
    given, path = plan.read(Path("campaigns", f"{name}.yaml")), DATA / f"{name}.csv"
    cells = _own if given.split == "test" else _scores
    measured = {row["model"]: cells(row) for _, row in pd.read_csv(path).iterrows()} if path.exists() else {}
    lines = [[row.name, row.claim, *measured.get(row.name, MISSING)] for row in given.rows]
    heads = [f"on {'test' if given.split == 'test' else 'validation'} images", "claimed", *COLUMNS]
    if not any(row.claim for row in given.rows):
        heads, lines = [heads[0], *heads[2:]], [[line[0], *line[2:]] for line in lines]
    return markdown(heads, lines)


def _own(row: pd.Series) -> list[str]:
    """The cells of a row of `compare.models_table`: scores, each with its interval, and its deviation over folds."""
    spread = (f" ± {row[f'{key}_sd']:.3f}" if row.get("folds", 0) else "" for key in COLUMNS.values())
    return [with_flat_ends(row, key) + more for key, more in zip(COLUMNS.values(), spread, strict=True)]


def _scores(row: pd.Series) -> list[str]:
    """The cells of a row of `compare.models_table`: scores, and the interval of their difference from the first row."""
    cells = []
    for key in COLUMNS.values():
        low, high = (row[f"{key}_difference_{end}"] for end in ("low", "high"))
        compared = "" if pd.isna(low) else f" ({low:+.3f} to {high:+.3f})"
        cells.append(f"{row[key]:.3f}{compared}")
    return cells
