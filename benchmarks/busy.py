"""A training step beside another program that computes: `python -m benchmarks.busy`.

OpenMP's threads wait for each other at every operation, and by default they wait awake: where another program has one
core, a thread that waits keeps the one that it waits for from the other. `GOMP_SPINCOUNT` says how often
a thread looks before it sleeps.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from benchmarks.measure import keep, printed_by, row
from dermaline.base import errors

COMMAND = "python -m benchmarks.busy"
ASLEEP = {"GOMP_SPINCOUNT": "5000"}
ROUNDS = 2
STEP = """
import time
from benchmarks.step import Step
from dermaline.params.recipe import read_recipe
step = Step(read_recipe("lite0"), device="cpu")
batch = step.batch(32, (96, 128))
step(*batch)
steps, start = 0, time.perf_counter()
while time.perf_counter() - start < 6:
    step(*batch)
    steps += 1
print((time.perf_counter() - start) / steps)
"""


def main() -> None:
    cores, rounds = os.cpu_count() or 1, []
    for _ in range(ROUNDS):
        alone = [seconds({}), seconds(ASLEEP)]
        with busy(cores - 1):
            rounds.append([*alone, seconds({}), seconds(ASLEEP)])
    awake, asleep, awake_beside, asleep_beside = np.array(rounds).T
    beside = f"seconds of a step of lite0, with {cores - 1} of {cores} cores busy otherwise / with none"
    (setting,) = ("=".join(pair) for pair in ASLEEP.items())
    keep(
        [
            row(beside, awake_beside / awake, "", COMMAND),
            row(f"{beside}; {setting}", asleep_beside / asleep, "", COMMAND),
            row(f"seconds of a step of lite0, with / without {setting}", asleep / awake, "", COMMAND),
        ]
    )


def seconds(settings: dict[str, str]) -> float:
    """Of a step under these settings of OpenMP alone."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    return printed_by(STEP, environment | settings)


@contextmanager
def busy(cores: int) -> Iterator[None]:
    """So many other processes that compute."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


if __name__ == "__main__":
    errors.run(main)
