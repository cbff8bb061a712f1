"""HAM10000 itself, where it is: `DERMALINE_HAM10000=FOLDER[:FOLDER...] pytest tests/test_ham10000.py`, a copy each."""

import hashlib
import os
from pathlib import Path

import pytest
from closure import ROOT
from stage import run_stage

COPIES = [folder for folder in os.environ.get("DERMALINE_HAM10000", "").split(os.pathsep) if folder]
SPLIT = "7818c784b07cc78c0990ccd0facf67449ac54048e061ad865a303de1ad1ca586"  # sha256 of data/split.csv


@pytest.mark.skipif(not COPIES, reason="DERMALINE_HAM10000 names no copy of HAM10000")
@pytest.mark.parametrize("copy", COPIES)
def test_the_split_is_the_same_for_every_copy_at_every_size(copy, tmp_path):
    text = (ROOT / "params.yaml").read_text().replace("source: synthetic", "source: local")
    text = text.replace("  path: null", f"  path: {Path(copy).resolve()}")
    (tmp_path / "params.yaml").write_text(text)
    assert run_stage(tmp_path, "download").returncode == 0
    for size in ("[192, 256]", "[120, 160]", "[96, 96]"):
        changed = text.replace("  size: [192, 256]         # h", f"  size: {size}  # h")
        (tmp_path / "params.yaml").write_text(changed)
        for stage in ("prepare", "split"):
            result = run_stage(tmp_path, stage)
            assert result.returncode == 0, result.stderr
        assert hashlib.sha256((tmp_path / "data/split.csv").read_bytes()).hexdigest() == SPLIT
