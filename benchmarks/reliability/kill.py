"""Kill anything at any moment: `python -m benchmarks.reliability kill --tries N [--stage NAME ...] [--kinds ...]`.

Each moment is drawn from the computing time of a stage, or from the duration of a command. After each kill, what lies
in the place of an output must be whole, and a plain rerun must end with exactly the bytes of an undisturbed run, redo
no more than one epoch, and leave nothing in .scratch and no partial file. Stages are forked from a process that has
imported the libraries already, so that moments are of their own work; the other kinds are commands as users type them.
"""

import argparse
import hashlib
import importlib
import json
import math
import os
import random
import re
import runpy
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import yaml

from benchmarks.reliability.rows import Row, row
from benchmarks.reliability.small import Repository, place
from dermaline.base.errors import DermalineError
from dermaline.base.stopping import end_in_one_line
from dermaline.training.checkpoint import FINISHED

HARM = "lost: another byte after a plain rerun, half an output in place, more than one epoch redone, or a file left"
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
EPOCH = re.compile(r"^(?:fold \d, )?epoch \d", re.MULTILINE)
LIBRARIES = ("stages", "numpy", "pandas", "sklearn.metrics", "scipy.stats", "matplotlib.figure", "seaborn", "PIL.Image")
LIBRARIES += ("torch", "torchvision", "timm", "lightning_fabric", "captum.attr", "segmentation_models_pytorch")
LIBRARIES += ("onnx", "dermaline.exporting.running", "safetensors.torch", "pydantic", "tqdm")
GROWS = ("plots/training",)  # by a row an epoch, each time whole; DVC removes it before it runs the stage


def main(options: list[str]) -> list[Row]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability kill")
    parser.add_argument("--tries", type=int, default=1, help="of each stage and signal, and of each command")
    parser.add_argument("--stage", nargs="+", help="these alone, such as train:lite0")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS), help="default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--place", type=Path, help="keep the small repository there, for the next trial")
    given = parser.parse_args(options)
    with place(given.place) as base:
        rows = []
        for kind in given.kinds:
            draw = random.Random(f"{given.seed} {kind}")
            found = KINDS[kind](base, given, draw)
            rows.append(told(kind, found, given.seed))
        return rows


def told(kind: str, found: list[dict], seed: int) -> Row:
    faults = [one for one in found if one["faults"]]
    for one in faults:
        print(json.dumps(one), file=sys.stderr)
    by = {name: sum(one["what"] == name for one in found) for name in dict.fromkeys(one["what"] for one in found)}
    return row(f"{WORDS[kind]} ({HARM})", len(found), len(faults), by=by, seed=seed, faults=faults)


# Stages: forked, killed, run again.


def stage_list(folder: Path) -> dict[str, list[str]]:
    """The stages as `train:lite0`, and the paths that each writes."""
    tree, found = yaml.safe_load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"], {}
    for name, stage in tree.items():
        if "foreach" in stage:
            continue
        label = f"{name}:lite0" if "matrix" in stage else name
        listed = [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]
        paths = [one if isinstance(one, str) else next(iter(one)) for one in listed]
        found[label] = [path.replace("${item.recipe}", "lite0") for path in paths]
    return found


def imported() -> None:
    """Import the libraries of all stages, for the children of this process."""
    for name in LIBRARIES:
        importlib.import_module(name)


def forked(folder: Path, stage: str, log: Path) -> int:
    """Begin a stage in a child of this process: its process number. What it says goes to the end of `log`."""
    name, *arguments = stage.split(":")
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        os.setsid()
        os.chdir(folder)
        with log.open("ab", buffering=0) as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.environ |= {"DVC_ROOT": str(folder), "OMP_NUM_THREADS": "1"}
        end_in_one_line()  # as stages/__init__.py does in a process of its own; this one has it imported already
        sys.argv = [name, *arguments]
        runpy.run_module(f"stages.{name}", run_name="__main__")
        status = 0
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def waited(child: int) -> int:
    """The exit status, as a shell gives it."""
    _, status = os.waitpid(child, 0)
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def computed(child: int, until: float) -> float:
    """Wait until a child has computed for so many seconds, or has ended: how long it has computed.

    Other work on this machine does not move a moment that is drawn so.
    """
    seconds = 0.0
    while seconds < until:
        with suppress(OSError):  # a thread may end meanwhile
            threads = Path(f"/proc/{child}/task").glob("*/schedstat")
            seconds = max(seconds, sum(int(one.read_text().split()[0]) for one in threads) / 1e9)
        if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.003)
    return seconds


def run_forked(folder: Path, stage: str) -> tuple[int, str]:
    """Run a stage: its exit status, and what it said."""
    with tempfile.NamedTemporaryFile() as log:
        status = waited(forked(folder, stage, Path(log.name)))
        return status, Path(log.name).read_text()


def stages(base: Repository, given: argparse.Namespace, draw: random.Random) -> list[dict]:
    imported()
    found, folder = [], base.folder
    for stage, outs in stage_list(folder).items():
        if given.stage and stage not in given.stage:
            continue
        with tempfile.NamedTemporaryFile() as log:
            child = forked(folder, stage, Path(log.name))
            length = computed(child, math.inf)
            status, said = waited(child), Path(log.name).read_text()
        if status:
            raise DermalineError(f"{stage}: {said}")
        epochs = len(EPOCH.findall(said))
        wanted = {path: digests(folder / path) for path in outs}
        safe = Path(tempfile.mkdtemp(dir=folder.parent))
        for path in outs:
            put(folder / path, safe / path)
        for number in range(given.tries):
            # every other try: by hand, over what is there. DVC removes the outputs first
            for path in outs if number % 2 else ():
                remove(folder / path)
            for name in SIGNALS:
                one = {"what": f"{name} {stage}", "moment": draw.uniform(0, length)}
                one["faults"] = killed(folder, stage, wanted, SIGNALS[name], one["moment"], epochs)
                found.append(one)
                for path in outs if one["faults"] else ():
                    remove(folder / path)
                    put(safe / path, folder / path)
        shutil.rmtree(safe)
        print(stage, f"{length:.1f} s", sum(bool(one["faults"]) for one in found), flush=True)
    return found


def killed(folder: Path, stage: str, wanted: dict, number: int, moment: float, epochs: int) -> list[str]:
    faults, log = [], Path(tempfile.mkstemp()[1])
    child = forked(folder, stage, log)
    computed(child, moment)
    os.killpg(child, number)  # one that has ended is not waited for yet
    status, words = waited(child), log.read_text()
    if number != signal.SIGKILL:
        lines = [line for line in words.splitlines() if "stopped; run it again" in line]
        if "Traceback" in words or status not in (0, 128 + number) or (status and len(lines) != 1):
            faults.append(f"exit status {status}, said {words[-600:]!r}")
    for path, content in wanted.items():
        there = digests(folder / path)
        if there and there != content and not path.startswith(GROWS):
            faults.append(f"{path}: half in place")
    if waited(forked(folder, stage, log)):
        faults.append(f"rerun: {log.read_text()[-600:]!r}")
    faults += [f"{path}: other bytes" for path, content in wanted.items() if digests(folder / path) != content]
    said = len(EPOCH.findall(log.read_text()))
    if epochs and said > epochs + 1:
        faults.append(f"{said} epochs for {epochs}")
    log.unlink()
    return faults + left(folder)


def left(folder: Path) -> list[str]:
    """What should not be there any more, and now is not; a finished training's checkpoint waits for the next stage."""
    kept = folder / ".scratch"
    scratch = [path for path in kept.glob("*") if path.name != "campaign" and not (path / FINISHED).exists()]
    partial = [path for path in folder.rglob("*.partial") if ".dvc/" not in str(path)]
    for path in (kept, *partial):
        remove(path)
    return [f"{path.relative_to(folder)}: left" for path in (*scratch, *partial)]


def digests(path: Path) -> dict[str, str]:
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    return {str(one.relative_to(path)): hashlib.blake2b(one.read_bytes()).hexdigest() for one in files}


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def put(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.exists():
        shutil.copyfile(source, target)


# Commands: started, killed with all that they started, and typed again.

PREPARE = """
import json, zipfile
from pathlib import Path
zipfile.ZipFile("data/raw/images.zip").extractall("photographs")
told = Path("models/lite0/recipe.json")
told.write_text(json.dumps(json.loads(told.read_text()) | {"generated": False}))
Path("campaigns").mkdir(exist_ok=True)
rows = [{"name": "one", "recipes": ["lite0"]}]
Path("campaigns/one.yaml").write_text(json.dumps({"split": "val", "seeds": [1], "set": {}, "rows": rows}))
"""
RELEASE = "from dermaline.base import errors; from dermaline.commands import release; errors.run(release.write)"


class Command(NamedTuple):
    """What is typed, and after the kill again; the outputs that are compared."""

    typed: str
    outs: tuple[str, ...]
    first: tuple[str, ...] = ()  # what docs/troubleshooting.md says to type before that
    changed: str = ""  # a parameter that is 1 before all this
    prepared: bool = False  # with photographs, a model that may be released, and a campaign


CAMPAIGN = "python -m dermaline campaign campaigns/one.yaml --data synthetic"
COMMANDS = {
    "repro": [
        Command(f"dvc repro --single-item {name}", (*outs, "dvc.lock"), changed=key)
        for name, key, outs in (
            ("split", "split.seed", ("data/split.csv", "metrics/split.json")),
            ("evaluate", "evaluate.seed", ("metrics", "plots/evaluation")),
            ("train@lite0", "train.seed", ("models/lite0", "plots/training")),
        )
    ],
    "exp": [Command("dvc exp run -S evaluate.seed=1 evaluate", ("metrics",), ("git switch -q master",))],
    "predict": [Command("python -m dermaline predict photographs --last-run", ("predictions.csv",), prepared=True)],
    "release": [Command("python release.py", ("released",), prepared=True)],
    "campaign": [Command(CAMPAIGN, ("results",), prepared=True)],
}


def command(kind: str, base: Repository, given: argparse.Namespace, draw: random.Random) -> list[dict]:
    found, place = [], base.folder.parent
    for one in COMMANDS[kind]:
        start = base.copy(place / "start")
        remove(start.folder / ".dvc/cache/runs")  # or DVC would only put back what it knows
        if one.changed:
            start.set(**{one.changed: 1})
        if one.prepared:
            (start.folder / "prepare.py").write_text(PREPARE)
            (start.folder / "release.py").write_text(RELEASE)
            start.run("python prepare.py")
        whole = start.copy(place / "whole")
        begun = time.perf_counter()
        whole.run(one.typed)
        length, wanted = time.perf_counter() - begun, {path: digests(whole.folder / path) for path in one.outs}
        for _ in range(given.tries):
            moment = draw.uniform(0, length)
            again = start.copy(place / "again")
            running = again.start(one.typed)
            time.sleep(moment)
            os.killpg(running.pid, signal.SIGKILL)
            running.communicate()
            faults = []
            for words in (*one.first, one.typed):
                status, said = again.attempt(words)
                faults += [f"{words}: {said[-600:]!r}"] if status else []
            faults += [f"{path}: other bytes" for path in wanted if digests(again.folder / path) != wanted[path]]
            if (again.folder / ".git/HEAD").read_text() != (whole.folder / ".git/HEAD").read_text():
                faults.append("HEAD is detached")
            found.append({"what": one.typed, "moment": moment, "faults": faults + left(again.folder)})
        print(one.typed, f"{length:.1f} s", flush=True)
    return found


KINDS: dict[str, Callable[[Repository, argparse.Namespace, random.Random], list[dict]]] = {
    "stages": stages,
    **{kind: partial(command, kind) for kind in COMMANDS},
}
WORDS = {
    "stages": "each stage, stopped by SIGKILL, SIGTERM or Ctrl-C",
    "repro": "`dvc repro`, by SIGKILL",
    "exp": "`dvc exp run`, by SIGKILL",
    "predict": "`predict`, by SIGKILL",
    "release": "`release`, by SIGKILL",
    "campaign": "`campaign`, by SIGKILL",
}
