"""What the speed benchmarks share: taking turns, generated data, and the rows of `benchmarks/summary.json`."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric

from dermaline.base.files import write_json
from dermaline.compute import in_words
from dermaline.params import whole
from dermaline.sources.synthetic import images as synthetic

SUMMARY = Path("benchmarks/summary.json")
Row = dict[str, Any]


def seconds(action: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def in_turns(actions: Sequence[Callable[[], object]], rounds: int, warm_up: int = 1) -> np.ndarray:
    """Seconds [rounds, actions]: in every round each action once, so that a slow minute slows all of them."""
    for _ in range(warm_up):
        for action in actions:
            action()
    return np.array([[seconds(action) for action in actions] for _ in range(rounds)])


def printed_by(code: str, environment: dict[str, str] | None = None) -> float:
    """The number that a program prints last, run in a process of its own: some settings are read once a process."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def row(
    claim: str, ratios: Sequence[float], target: str, command: str, on: Fabric | None = None, **detail: object
) -> Row:
    """One claim: the median, lowest and highest of its ratios, and what else is worth knowing of it.

    Args:
        claim: what is divided by what; seconds, where a limit is stated in seconds.
        ratios: one a round.
        target: such as `>= 0.95`; empty where there is none.
        command: that makes it.
        on: where it was measured; None is the processor.
        detail: kept in the row.
    """
    found = {"claim": claim, "ratio": float(np.median(ratios)), "low": float(min(ratios)), "high": float(max(ratios))}
    return found | {"target": target, "machine": machine(on), "command": command, **detail}


def machine(on: Fabric | None) -> str:
    """The GPU, or this machine without one, in words."""
    if on is not None and on.device.type == "cuda":
        return in_words(on)
    return f"{os.cpu_count()} CPU cores ({platform.machine()}), torch {version('torch')}"


def draw(folder: Path, images: int, size: tuple[int, int]) -> None:
    """Generate the raw folder `folder`, as `params.yaml` says but for the number and the height and width of images."""
    data = whole.read().data
    drawn = data.synthetic.model_copy(update={"images": images, "size": size})
    synthetic.fetch(data.model_copy(update={"synthetic": drawn}), folder)


def keep(rows: Sequence[Row]) -> None:
    """Enter rows into the summary, in the place of older ones with the same claim, and print them."""
    old = json.loads(SUMMARY.read_text(encoding="utf-8")) if SUMMARY.exists() else []
    known = {kept["claim"]: kept for kept in old} | {new["claim"]: new for new in rows}
    write_json(SUMMARY, list(known.values()))
    for new in rows:
        print(
            f"{new['ratio']:8.3f} ({new['low']:.3f} to {new['high']:.3f}) {new['target']:8} {new['claim']}", flush=True
        )
