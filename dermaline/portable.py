"""The same bits on every x86-64 CPU with AVX2 (nearly all since 2015): how torch is told to compute in one way."""

import os

import torch

# The libraries' own switches for one way of computing, whatever the CPU: ATen's kernels, oneDNN's, MKL's.
SWITCHES = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "COMPATIBLE"}
THREADS = 2  # sums are shared out among them, so their number is part of the result


def pin() -> None:
    """Compute in one way for the rest of this process; to be called before torch has computed anything.

    The switches are read when a library first computes, so it is early enough after their import. What stays with the
    CPU is MKL's vector mathematics (`torch.sqrt`, `log10`, `asin` and `atan` differ in the last bit; `exp`, `log`,
    `sin` and `pow` do not), which training must keep clear of: see `training/optimizer.py`.
    """
    os.environ |= SWITCHES
    torch.set_num_threads(THREADS)
