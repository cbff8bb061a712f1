"""For the whole suite."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny batches: a second thread only waits for the first
