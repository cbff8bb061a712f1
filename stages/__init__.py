"""The scripts that DVC runs. All compute in one way, whatever the CPU: NumPy's kernels for newer ones round otherwise.

The switch is read when NumPy is first imported, which is after this. A feature that the CPU lacks is no error.
"""

import multiprocessing
import os
import sys

from dermaline.base.versions import warnings

os.environ["NPY_DISABLE_CPU_FEATURES"] = "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"  # what is left is SSE4.2

if multiprocessing.parent_process() is None:  # once, not in every worker
    for line in warnings():
        print(line, file=sys.stderr)
