"""Kill anything at any moment: `python -m benchmarks.reliability kill --tries N [--stage NAME] [--kinds ...]`.

Each moment is drawn from the duration of what is killed. After each kill, what lies in the place of an output must be
whole, and a plain rerun must end with exactly the bytes of an undisturbed run, redo no more than one epoch, and leave
nothing in .scratch and no partial file. Stages are forked from a process that has imported the libraries already, so
that moments are of their own work; the other kinds are commands as a user types them.
"""

import argparse
import hashlib
import json
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
from pathlib import Path

import yaml

from benchmarks.reliability.rows import Row, row
from benchmarks.reliability.small import Repository, place

HARM = "lost: another byte after a plain rerun, half an output in place, more than one epoch redone, or a file left"
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
EPOCH = re.compile(r"^(?:fold \d, )?epoch \d", re.MULTILINE)
LIBRARIES = ("stages", "numpy", "pandas", "sklearn.metrics", "scipy.stats", "matplotlib.figure", "seaborn", "PIL.Image")
LIBRARIES += ("torch", "torchvision", "timm", "lightning_fabric", "captum.attr", "segmentation_models_pytorch")
LIBRARIES += ("onnx", "onnxruntime", "safetensors.torch", "pydantic", "tqdm")
GROWS = ("plots/training",)  # by a row an epoch, each time whole; DVC removes it before it runs the stage


def main(options: list[str]) -> list[Row]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability kill")
    parser.add_argument("--tries", type=int, default=1, help="of each stage and signal, and of each command")
    parser.add_argument("--stage", help="this one alone, such as train:lite0")
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


def forked(folder: Path, stage: str) -> tuple[int, Path]:
    """Begin a stage in a child of this process: its process number, and the file of what it says."""
    log = folder / ".log"
    name, *arguments = stage.split(":")
    child = os.fork()
    if child:
        return child, log
    status = 70
    try:
        os.setsid()
        os.chdir(folder)
        with log.open("ab", buffering=0) as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.environ |= {"DVC_ROOT": str(folder), "OMP_NUM_THREADS": "1"}
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


def stages(base: Repository, given: argparse.Namespace, draw: random.Random) -> list[dict]:
    for name in LIBRARIES:
        __import__(name)
    found, folder = [], base.folder
    for stage, outs in stage_list(folder).items():
        if given.stage not in (None, stage):
            continue
        lengths, epochs = [], 0
        for _ in range(2):
            begun = time.perf_counter()
            child, log = forked(folder, stage)
            if waited(child):
                raise SystemExit(log.read_text())
            lengths.append(time.perf_counter() - begun)
            epochs = len(EPOCH.findall(log.read_text()))
            log.unlink()
        wanted = {path: digests(folder / path) for path in outs}
        safe = Path(tempfile.mkdtemp(dir=folder.parent))
        for path in outs:
            put(folder / path, safe / path)
        for number in range(given.tries):
            # every other try: by hand, over what is there. DVC removes the outputs first
            for path in outs if number % 2 else ():
                remove(folder / path)
            for name in SIGNALS:
                one = {"what": f"{name} {stage}", "moment": draw.uniform(0, lengths[-1])}
                one["faults"] = killed(folder, stage, wanted, SIGNALS[name], one["moment"], epochs)
                found.append(one)
                for path in outs if one["faults"] else ():
                    remove(folder / path)
                    put(safe / path, folder / path)
        shutil.rmtree(safe)
        print(stage, f"{lengths[-1]:.1f} s", sum(bool(one["faults"]) for one in found), flush=True)
    return found


def killed(folder: Path, stage: str, wanted: dict, number: int, moment: float, epochs: int) -> list[str]:
    faults = []
    child, log = forked(folder, stage)
    time.sleep(moment)
    ended, _ = os.waitpid(child, os.WNOHANG)
    if not ended:
        os.killpg(child, number)
        status = waited(child)
        words = log.read_text()
        if number != signal.SIGKILL:
            lines = [line for line in words.splitlines() if "stopped; run it again" in line]
            if "Traceback" in words or status not in (0, 128 + number) or (status and len(lines) != 1):
                faults.append(f"exit status {status}, said {words[-600:]!r}")
    for path, content in wanted.items():
        there = digests(folder / path)
        if there and there != content and not path.startswith(GROWS):
            faults.append(f"{path}: half in place")
    child, log = forked(folder, stage)
    if waited(child):
        faults.append(f"rerun: {log.read_text()[-600:]!r}")
    faults += [f"{path}: other bytes" for path, content in wanted.items() if digests(folder / path) != content]
    said = len(EPOCH.findall(log.read_text()))
    if epochs and said > epochs + 1:
        faults.append(f"{said} epochs for {epochs}")
    log.unlink()
    return faults + left(folder)


def left(folder: Path) -> list[str]:
    """What should not be there any more."""
    scratch = [path for path in folder.glob(".scratch/*") if path.name not in ("campaign", "downloads")]
    partial = [path for path in folder.rglob("*.partial") if ".dvc/" not in str(path)]
    for path in (*scratch, *partial):
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


KINDS: dict[str, Callable[[Repository, argparse.Namespace, random.Random], list[dict]]] = {"stages": stages}
WORDS = {"stages": "each stage stopped at a random moment by SIGKILL, SIGTERM or Ctrl-C"}
