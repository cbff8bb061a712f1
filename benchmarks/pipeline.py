"""What the pipeline costs as a whole: `python -m benchmarks.pipeline`, ten to twenty minutes on two cores.

`dvc repro` on the default data from nothing, then what DVC takes when there is little or nothing to do: against a
repository with as many stages, each of which copies one small file. Needs a clean checkout; works on clones of it.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML

from benchmarks.measure import in_turns, keep, row, seconds
from dermaline.base import errors

STAGES = len(YAML(typ="safe", pure=True).load(Path("dvc.yaml"))["stages"])
EXPERIMENTS, ROUNDS = 50, 5
COMMAND = "python -m benchmarks.pipeline"
BIN = Path(sys.executable).parent


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        ours, floor = Path(name, "ours"), Path(name, "floor")
        subprocess.run(["git", "clone", "-q", ".", str(ours)], check=True)
        whole = seconds(partial(run, ours, "dvc repro"))
        commit(ours)
        make_floor(floor)
        keep([row("seconds of `make` on the default data, installed", [whole], "<= 240", COMMAND)])
        rows = []
        for command in ("dvc repro", "dvc status"):
            actions = [partial(run, it, command) for it in (ours, floor)]
            rows.append(compared(f"`{command}` with nothing to do", "<= 1.6", actions))
        rows.append(restyled(ours, floor))
        for folder, key in ((ours, "plot.dpi"), (floor, "value")):
            for number in range(EXPERIMENTS):
                set_value(folder, key, 200 + number)
                run(folder, f"dvc exp save -f -n e{number}")
            run(folder, "git checkout -q -- params.yaml")
        actions = [partial(run, it, "dvc exp show --md") for it in (ours, floor)]
        rows.append(compared(f"`dvc exp show`, {EXPERIMENTS} experiments", "<= 2", actions))
    keep(rows)


def run(folder: Path, command: str) -> str:
    """Run a command there, in a window that is wide enough; what it printed."""
    environment = {
        "COLUMNS": "1000",
        "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(Path.home()),
        "DVC_NO_ANALYTICS": "1",
    }
    done = subprocess.run(command.split(), cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise errors.DermalineError(f"{command}: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
    return done.stdout


def commit(folder: Path) -> None:
    run(folder, "git add -A")
    run(folder, "git -c user.name=b -c user.email=b@b commit -q --allow-empty -m b")


def make_floor(folder: Path) -> None:
    """A repository whose stages do nothing worth mentioning."""
    folder.mkdir()
    run(folder, "git init -q")
    run(folder, "dvc init -q")
    run(folder, "dvc config core.analytics false")
    stages = [
        f"  s{i}:\n    cmd: cp f{i} f{i + 1}\n    deps: [f{i}]\n    outs: [f{i + 1}]\n" for i in range(STAGES - 1)
    ]
    last = f"  last:\n    cmd: cp params.yaml last\n    deps: [f{STAGES - 1}]\n    params: [value]\n    outs: [last]\n"
    (folder / "dvc.yaml").write_text("stages:\n" + "".join([*stages, last]))
    (folder / "params.yaml").write_text("value: 1\n")
    (folder / "f0").write_text("content")
    run(folder, "dvc repro")
    commit(folder)


def compared(what: str, target: str, actions: list[Callable[[], object]]) -> dict:
    found = in_turns(actions, ROUNDS)
    medians = [round(value, 2) for value in np.median(found, axis=0).tolist()]
    return row(
        f"{what} / in a repository of {STAGES} trivial stages",
        found[:, 0] / found[:, 1],
        target,
        COMMAND,
        seconds=medians,
    )


def restyled(ours: Path, floor: Path) -> dict:
    """One experiment that runs one stage; without the seconds of the stage itself, which are not DVC's."""
    number = iter(range(1000))

    def experiment(folder: Path, key: str, name: str) -> None:
        run(folder, f"dvc exp run -q -S {key}={101 + next(number)} {name}")

    def stage() -> None:
        run(ours, f"{sys.executable} -m stages.plot")

    ours_and_floor = partial(experiment, ours, "plot.dpi", "plot"), partial(experiment, floor, "value", "last")
    found = in_turns([*ours_and_floor, stage], ROUNDS)
    for folder in (ours, floor):
        run(folder, "git checkout -q -- .")
        run(folder, "dvc checkout -q")
    medians = [round(value, 2) for value in np.median(found, axis=0).tolist()]
    claim = f"`dvc exp run` of the plot stage, without the stage / in a repository of {STAGES} trivial stages"
    return row(claim, (found[:, 0] - found[:, 2]) / found[:, 1], "<= 2", COMMAND, seconds=medians)


def set_value(folder: Path, key: str, value: int) -> None:
    path, name = folder / "params.yaml", key.split(".")[-1]
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text(
        "\n".join(
            f"{line.split(name)[0]}{name}: {value}" if line.strip().startswith(f"{name}:") else line for line in lines
        )
        + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    errors.run(main)
