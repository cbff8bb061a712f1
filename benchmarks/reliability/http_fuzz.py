"""Requests that schemathesis makes of the server's OpenAPI, valid and not: are they answered as it says?

Schemathesis is no dependency of ours: have it in an environment of its own, and name its program. What is left out is
that valid data is accepted and other data refused, for OpenAPI can't say which bytes are a photograph.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.reliability.hostile_client import serving
from benchmarks.reliability.rows import Row, row

LEFT_OUT = "positive_data_acceptance,negative_data_rejection"


def main(options: list[str]) -> list[Row]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability http_fuzz")
    parser.add_argument("--program", default="schemathesis", help="default: %(default)s")
    parser.add_argument("--examples", default="50", help="of each route and phase at most; default: %(default)s")
    given = parser.parse_args(options)
    program = shutil.which(given.program)
    if program is None:
        parser.error(f"no program {given.program}; pip install schemathesis in an environment of its own")
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as (process, (host, port)):
        report = Path(folder, "report")
        words = ["--phases", "examples,coverage,fuzzing", "--checks", "all", "--exclude-checks", LEFT_OUT]
        words += ["--max-examples", given.examples, "--seed", "0", "--continue-on-failure", "--request-timeout", "60"]
        words += ["--report", "har", "--report-har-path", f"{report}.har"]
        command = [program, "run", f"http://{host}:{port}/openapi.json", *words]
        done = subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": ""}, check=False)
        entries = json.loads(Path(f"{report}.har").read_text(encoding="utf-8"))["log"]["entries"]
        failed = [entry for entry in entries if entry["response"]["status"] >= 500]
        ended = process.poll() is not None
    told = "lost: an answer of 500 or more, one that OpenAPI does not describe, a server that died"
    wrong = len(failed) or int(done.returncode != 0)
    return [row(f"requests that schemathesis makes of the server's OpenAPI; {told}", len(entries), wrong + ended)]
