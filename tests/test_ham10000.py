"""HAM10000 itself, where it is: `DERMALINE_HAM10000=FOLDER[:FOLDER...] pytest tests/test_ham10000.py`, a copy each."""

import hashlib
import os
from pathlib import Path

import pytest
from parameters import put_parameters
from stage import run_stage

COPIES = [folder for folder in os.environ.get("DERMALINE_HAM10000", "").split(os.pathsep) if folder]
SPLIT = "7818c784b07cc78c0990ccd0facf67449ac54048e061ad865a303de1ad1ca586"  # sha256 of data/split.csv


@pytest.mark.skipif(not COPIES, reason="DERMALINE_HAM10000 names no copy of HAM10000")
@pytest.mark.parametrize("copy", COPIES)
def test_the_split_is_the_same_for_every_copy_at_every_size(copy, tmp_path):
    put_parameters(tmp_path, {"data.source": "local", "data.path": str(Path(copy).resolve())})
    assert run_stage(tmp_path, "download").returncode == 0
    for size in ([192, 256], [120, 160], [96, 96]):
        put_parameters(tmp_path, {"prepare.size": size})
        for stage in ("prepare", "split"):
            result = run_stage(tmp_path, stage)
            assert result.returncode == 0, result.stderr
        assert hashlib.sha256((tmp_path / "data/split.csv").read_bytes()).hexdigest() == SPLIT
