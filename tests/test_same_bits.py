"""The same bytes on every x86-64 CPU: all stages, under other instruction sets and another number of threads."""

import hashlib
import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from parameters import put_parameters
from stage import run_chain

from benchmarks.reliability.same_bits import OLD

NO_AVX512 = {"NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR", "OPENBLAS_CORETYPE": "HASWELL"}
DATA = ("download", "prepare", "split")
STAGES = ("train:lite0", "predict:lite0", "evaluate", "explain:lite0", "plot", "segment", "outline", "ood", "export")
SMALL = {
    "data.synthetic.images": 140,
    "data.synthetic.size": [96, 128],
    "prepare.size": [96, 128],
    "train.size": [32, 48],
    "train.phases.1.epochs": 1,
    "evaluate.bootstrap": 50,
    "explain.images": 20,
    "segment.size": [32, 64],
    "segment.epochs": 1,
    "ood.drawn": 5,
    "export.images": 20,
    "plot.dpi": 50,
}


def digests(folder: Path, environment: dict[str, str], *, data_only: bool = False) -> dict[str, str]:
    """Run the stages; the SHA-256 of every file that they wrote."""
    folder.mkdir()
    put_parameters(folder, SMALL)
    processes = [DATA] if data_only else [DATA, STAGES]
    for stages in processes:
        run_chain(folder, *stages, **environment)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the switches are those of x86-64")
def test_every_file_of_the_pipeline_has_the_same_bytes_whatever_the_cpu(tmp_path):
    switches = {"native": {}, "old": OLD | {"OMP_NUM_THREADS": "3"}}
    with ThreadPoolExecutor(2) as pool:  # each only waits for its processes
        runs = [pool.submit(digests, tmp_path / name, set_) for name, set_ in switches.items()]
        native, old = (run.result() for run in runs)
    assert len(native) > 40
    assert old == native
    data = digests(tmp_path / "no_avx512", NO_AVX512, data_only=True)
    assert data == {name: native.get(name) for name in data}
