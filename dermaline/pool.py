"""Worker processes on all cores."""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor

MAX_WORKERS = 32  # more than that wait for the disk


def processes(workers: int | None = None) -> ProcessPoolExecutor:
    """A pool of `workers` processes (one a core unless given) that end when this process does, however it ends."""
    workers = workers or min(os.cpu_count() or 1, MAX_WORKERS)
    context = multiprocessing.get_context("spawn")  # the same on every system, and safe beside threads
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)


def _end_with_parent() -> None:
    """Let a worker end when its parent is killed, rather than wait for ever for work."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
