"""The same bytes wherever it runs: `python -m benchmarks.reliability same_bits [--place DIR]`.

Every stage on few images, in a clone for each condition: another folder, umask, locale, time zone, seed of
hashes, number of threads, instruction set. Every output must have the bytes of a run without any of that.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.reliability.kill import digests, stage_list
from benchmarks.reliability.rows import Row, row
from benchmarks.reliability.small import CHAIN, Repository, place
from dermaline.base.errors import DermalineError

# What an old CPU would be, in the libraries' own switches. Nothing may depend on it: the stages set their own.
OLD = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "SSE4_2",
    "OPENBLAS_CORETYPE": "NEHALEM",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-FMA,-FMA4,-AVX",
}


@dataclass
class Condition:
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "clone"
    umask: int = 0o022


CONDITIONS = {
    "a folder with blanks and other letters": Condition(folder="a clone, für später"),
    "PYTHONHASHSEED=1": Condition({"PYTHONHASHSEED": "1"}),
    "PYTHONHASHSEED=2": Condition({"PYTHONHASHSEED": "2"}),
    "LC_ALL=C without UTF-8": Condition({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    "TZ=Pacific/Kiritimati": Condition({"TZ": "Pacific/Kiritimati"}),
    "umask 077": Condition(umask=0o077),
    "OMP_NUM_THREADS=1": Condition({"OMP_NUM_THREADS": "1"}),
    "OMP_NUM_THREADS=3": Condition({"OMP_NUM_THREADS": "3"}),
    "the instruction set of 2008": Condition(OLD),
}


def main(options: list[str]) -> list[Row]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability same_bits")
    parser.add_argument("--only", choices=CONDITIONS, nargs="+", default=list(CONDITIONS), help="these alone")
    parser.add_argument("--place", type=Path, help="keep the small repository there, for the next trial")
    given = parser.parse_args(options)
    told = {}
    with place(given.place) as base, tempfile.TemporaryDirectory() as name:
        start = base.copy(Path(name, "start"))
        start.set(**{"train.precision": "portable", "segment.precision": "portable"})
        start.commit("portable")
        known = outputs(start, Path(name), Condition(folder="known"))
        for what in given.only:
            found = outputs(start, Path(name), CONDITIONS[what])
            told[what] = sorted(path for path in known.keys() | found.keys() if known.get(path) != found.get(path))
            print(f"{what}: {len(told[what])} of {len(known)} differ {told[what][:5]}", flush=True)
    what = f"every file that the stages write, made again with: {', '.join(given.only)}; lost: other bytes"
    return [row(what, len(known) * len(told), sum(map(len, told.values())), files=len(known), differ=told)]


def outputs(start: Repository, room: Path, condition: Condition) -> dict[str, str]:
    """The digest of every output that a clone makes; the clone is removed."""
    clone = room / condition.folder
    subprocess.run(["git", "clone", "-q", str(start.folder), str(clone)], check=True)
    stages = stage_list(clone)
    paths = [clone / path for outs in stages.values() for path in outs]
    for path in paths:  # those that Git keeps are made anew too
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    own = {"DVC_ROOT": str(clone), "HOME": str(clone), "PYTHONPATH": str(clone)}
    shared = {name: value for name, value in start.environment.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", CHAIN, *stages],
        cwd=clone,
        env=shared | own | condition.environment,
        umask=condition.umask,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise DermalineError(f"{condition}: {done.stderr[-2000:]}")
    found = {f"{path.relative_to(clone)}/{name}": value for path in paths for name, value in digests(path).items()}
    shutil.rmtree(clone)
    return found
