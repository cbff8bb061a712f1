"""`results/summary.json`: a row for each run that was recorded and each table that was measured."""

from pathlib import Path
from typing import Any

import pandas as pd

from dermaline.base.columns import GENERATED
from dermaline.base.errors import DermalineError
from dermaline.base.files import DIGITS, locked, read_json, scratch, write_json, write_text
from dermaline.data.batches import generated

SUMMARY = Path("results/summary.json")
TABLE = "table"  # the kind of a row that stands for a table of models, beside `single` and `ensemble`


def summary(path: Path = SUMMARY) -> list[dict[str, Any]]:
    return read_json(path) if path.exists() else []


def keep_table(table: pd.DataFrame, name: str, data: str, split: str, command: str) -> None:
    """Write a table of models to `results/DATA/NAME.csv`, and enter its row in the summary.

    Args:
        table: of `compare.models_table`, with the columns `seeds` (how many) and `machine` beside.
        name: of the table.
        data: as for `record`.
        split: whose images are scored.
        command: what made it.
    """
    table = table.assign(command=command).round(DIGITS)
    write_text(Path("results", data, f"{name}.csv"), table.to_csv(index=False, lineterminator="\n"))
    row = {"name": name, "kind": TABLE, "data": data, "split": split, "rows": len(table)}
    machines = ", or ".join(dict.fromkeys(table["machine"]))
    enter(row | {"seeds": int(table["seeds"].max()), "machine": machines, "command": command})


def enter(row: dict[str, Any]) -> None:
    """Put a row in the summary, in the place of an older one of that name and data."""
    with locked(scratch("summary")):  # campaigns may end together
        rows = {(old["name"], old["data"]): old for old in summary()} | {(row["name"], row["data"]): row}
        write_json(SUMMARY, list(rows.values()))


def check_data(data: str) -> None:
    """Refuse results under a wrong name.

    Raises:
        DermalineError: generated images are called anything but `synthetic`, or others that.
    """
    drawn = generated()
    if drawn != (data == GENERATED):
        there = "generated images" if drawn else "photographs"
        raise DermalineError(f"--data {data}: data/prepared holds {there}; name the data right")
