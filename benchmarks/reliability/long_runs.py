"""What runs for hours, in small: `python -m benchmarks.reliability long_runs [--kinds ...] [--place DIR]`; Linux.

`server`: 8 clients ask a server for predictions, a photograph a request, for --minutes. `queue`: --experiments are
queued and run by a worker that is killed --kills times and started again. `training`: one of --epochs on few images.
The memory of a process may grow by 5 % after the first tenth of the time, its open files by none.
"""

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import chdir
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import load
from benchmarks.reliability.rows import Row, row
from benchmarks.reliability.small import Repository, place

GROWTH, CLIENTS, PAUSE = 1.05, 8, 1  # seconds between two looks at the queue
PATIENCE = 1200  # seconds without a further experiment done


def main(options: list[str]) -> list[Row]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability long_runs")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="default: all")
    parser.add_argument("--minutes", type=float, default=10, help="of the server; default: %(default)g")
    parser.add_argument("--experiments", type=int, default=50, help="that are queued; default: %(default)s")
    parser.add_argument("--kills", type=int, default=5, help="of the queue's worker; default: %(default)s")
    parser.add_argument("--epochs", type=int, default=200, help="of the training; default: %(default)s")
    parser.add_argument("--place", type=Path, help="keep the small repository there, for the next trial")
    given = parser.parse_args(options)
    with place(given.place) as base:
        return [KINDS[kind](base.copy(base.folder.parent / kind), given) for kind in given.kinds]


def watched(looks: Sequence[load.Look], what: str, tries: int, failed: int) -> Row:
    """A row of what was tried while a process was looked at; grown memory or open files count as one loss each."""
    memory, files = np.array(looks).T
    tenth = max(len(looks) // 10, 1)
    first, last = slice(tenth, 2 * tenth), slice(-tenth, None)
    growth = float(np.median(memory[last]) / np.median(memory[first]))
    more = int(files[last].min() - files[first].max())
    seen = {"memory_end_to_start": round(growth, 3), "more_open_files": more, "largest_mb": int(memory.max()) // 10**6}
    return row(what, tries, failed + (growth > GROWTH) + (more > 0), **seen)


def server(base: Repository, given: argparse.Namespace) -> Row:
    photographs, until = load.drawn(), time.monotonic() + given.minutes * 60
    with chdir(base.folder), load.serving(["--last-run", "--device", "cpu"]) as (address, process):
        clients = load.Clients(address, CLIENTS, photographs)
        answered, looks = load.watch(process, partial(clients.ask, sys.maxsize, until))
    what = f"requests of {CLIENTS} clients in {given.minutes:g} minutes; lost: failed, or memory or open files grew"
    return watched(looks, what, len(answered), load.failures(answered))


def queue(base: Repository, given: argparse.Namespace) -> Row:
    """Each kill is of the worker with all that it runs; what a user types then is `dvc queue start`."""
    draw, head = random.Random(0), (base.folder / ".git/HEAD").read_text()
    for number in range(given.experiments):
        base.run(f"dvc exp run --queue --name e{number} -S evaluate.seed={number + 1} evaluate")
    kills = sorted(draw.sample(range(1, given.experiments), given.kills))
    since, before = time.monotonic(), -1
    while True:
        base.run("dvc queue start")
        time.sleep(PAUSE)
        found = statuses(base)
        ended = sum(status in ("Success", "Failed") for status in found.values())
        if ended != before:
            since, before = time.monotonic(), ended
        if ended == len(found):
            break
        if time.monotonic() - since > PATIENCE:
            break
        if kills and ended >= kills[0]:
            kills.pop(0)
            time.sleep(draw.uniform(0, 5))
            kill_workers(base)
    named = set(base.run("dvc exp list --name-only").split())
    done = sum(f"e{number}" in named for number in range(given.experiments))
    told = {status: list(found.values()).count(status) for status in set(found.values())}
    moved = base.run("git status --porcelain") != "" or (base.folder / ".git/HEAD").read_text() != head
    silent = sum(status not in ("Success", "Failed") for status in found.values())
    what = (
        f"experiments of a queue whose worker was killed {given.kills} times, and started again; "
        "lost: neither done nor reported as failed, or the workspace or the branch was changed"
    )
    return row(what, given.experiments, silent + moved, done=done, told=told)


def statuses(base: Repository) -> dict[str, str]:
    """Each queued experiment and what DVC says of it."""
    lines = [line.split() for line in base.run("dvc queue status").splitlines()]
    return {parts[1]: parts[-1] for parts in lines if len(parts) > 2 and parts[1].startswith("e")}


def kill_workers(base: Repository) -> None:
    """SIGKILL for every process that works for this repository's queue."""
    for one in Path("/proc").glob("[0-9]*"):
        try:
            inside = (one / "cwd").readlink().is_relative_to(base.folder)
        except OSError:
            continue
        if inside and int(one.name) != os.getpid():
            os.kill(int(one.name), signal.SIGKILL)


def training(base: Repository, given: argparse.Namespace) -> Row:
    base.set(**{"train.phases.1.epochs": given.epochs - 1, "train.patience": given.epochs})
    process = base.start("python -m stages.train lite0", stdout=None, stderr=None)
    status, looks = load.watch(process.pid, process.wait)
    history = (base.folder / "plots/training/lite0.csv").read_text().splitlines()[1:]
    what = "epochs of one training on 140 images; lost: not done, or memory or open files grew"
    return watched(looks, what, given.epochs, given.epochs - len(history) if status == 0 else given.epochs)


KINDS: dict[str, Callable[[Repository, argparse.Namespace], Row]] = {
    "server": server,
    "queue": queue,
    "training": training,
}
