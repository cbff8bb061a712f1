"""Twelve of the kills of `python -m benchmarks.reliability kill`, over four kinds of stage."""

import json
import subprocess
import sys

import pytest
from closure import ROOT

TRIES = """
import json, random
from argparse import Namespace
from benchmarks.reliability import kill, small
given = Namespace(tries=1, stage=["split", "evaluate", "train:lite0", "segment"])
with small.place() as base:
    print(json.dumps(kill.stages(base, given, random.Random(0))))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="moments are drawn from what /proc tells")
def test_a_stage_that_is_stopped_at_any_moment_ends_with_the_same_bytes_when_it_is_run_again():
    done = subprocess.run([sys.executable, "-c", TRIES], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    tries = json.loads(done.stdout.splitlines()[-1])
    assert len(tries) == 12
    assert [one for one in tries if one["faults"]] == []
