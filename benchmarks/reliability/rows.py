"""The rows of results/reliability.json, which trials write."""

import json
import os
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dermaline.base.files import write_json

ROWS = Path("results/reliability.json")
Row = dict[str, Any]


def row(trial: str, tries: int, lost: int, **detail: object) -> Row:
    """What a trial found.

    Args:
        trial: what was done, how, and what counts as lost, in words for the table of docs/reliability.md.
        tries: how often.
        lost: how often it did harm.
        detail: kept in the row.
    """
    machine = f"{os.cpu_count()} CPU cores, {platform.system()} {platform.machine()}"
    words = " ".join(["python -m benchmarks.reliability", *sys.argv[1:]])
    command = re.sub(r" --(place|bin) \S+", "", words)  # folders of the machine it ran on
    return {"trial": trial, "tries": tries, "lost": lost, "machine": machine, "command": command, **detail}


def keep(rows: Sequence[Row]) -> None:
    """Enter rows into the file, in the place of older ones of the same trial, and print them."""
    old = json.loads(ROWS.read_text(encoding="utf-8")) if ROWS.exists() else []
    known = {one["trial"]: one for one in old} | {one["trial"]: one for one in rows}
    write_json(ROWS, list(known.values()))
    for one in rows:
        print(f"{one['lost']} of {one['tries']} lost: {one['trial']}", flush=True)
