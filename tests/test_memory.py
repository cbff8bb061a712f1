"""What glibc is told of memory, each in a process of its own: it can't be taken back."""

import subprocess
import sys
from pathlib import Path

import pytest
from closure import ROOT

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
MEASURED = """
import re, resource
from pathlib import Path
import torch
from dermaline.compute import keep_memory

SIZE = 256 << 20
LIMIT = {limit}
if LIMIT:
    used = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10
    resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT, used + LIMIT))
keep_memory()
tensor = torch.ones(SIZE, dtype=torch.uint8)
mapped = Path("/proc/self/smaps_rollup")
huge = re.search(r"AnonHugePages:\\s+(\\d+)", mapped.read_text())[1] if mapped.exists() else 0
del tensor
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
again = torch.ones(SIZE - 4096, dtype=torch.uint8)  # glibc wants room to align it
print((int(huge) << 10) / SIZE, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="of glibc")


def measured(limit: int = 0) -> tuple[float, int]:
    """Of a tensor, the share that lies in pages of 2 MiB; and how many pages the next one had to be given anew."""
    command = [sys.executable, "-c", MEASURED.format(limit=limit)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    huge, faults = done.stdout.split()
    return float(huge), int(faults)


def test_a_tensor_lies_in_huge_pages_and_the_next_one_where_it_lay():
    huge, faults = measured()
    assert faults < 100  # of 65,536
    if not HUGE_PAGES.exists() or "[never]" in HUGE_PAGES.read_text():
        pytest.skip("this system gives no huge pages")
    assert huge > 0  # all of it, but on a machine whose memory is in pieces


def test_where_addresses_are_limited_it_computes_without_them():
    _, faults = measured(limit=1 << 30)
    assert faults < 100
