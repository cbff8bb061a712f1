"""Worker processes on all cores."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TypeVar

from dermaline.base.stopping import held_back

Task, Result = TypeVar("Task"), TypeVar("Result")
MAX_WORKERS = 32  # more than that wait for the disk


def cores() -> int:
    """How many processes work at once, unless told otherwise."""
    return min(os.cpu_count() or 1, MAX_WORKERS)


def processes(workers: int | None = None) -> ProcessPoolExecutor:
    """A pool of `workers` processes (one a core unless given) that end when this process does, however it ends."""
    workers = workers or cores()
    context = multiprocessing.get_context("spawn")  # the same on every system, and safe beside threads
    return _Pool(workers, mp_context=context, initializer=_end_with_parent)


def mapped(
    work: Callable[[Task], Result], tasks: Sequence[Task], chunk: int = 1, workers: int | None = None
) -> Generator[Result, None, None]:
    """What `work` makes of each task, in their order, by `workers` processes that are handed `chunk` tasks at a time.

    What one process would do alone is done by this one: another takes a second to start. Who stops before the end is to
    close it, or what waits is still done.
    """
    if workers == 1 or len(tasks) <= chunk:
        yield from map(work, tasks)
        return
    with processes(workers) as pool:
        yield from pool.map(work, tasks, chunksize=chunk)


class _Pool(ProcessPoolExecutor):
    """Its workers do not hear Ctrl-C, which is the parent's to answer: one line then says it, not one of each."""

    def submit(self, *work: object, **options: object) -> Future:
        with held_back():  # another thread may hear it all the same, and a worker is told its work after its start
            heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # what is started now inherits this
            try:
                return super().submit(*work, **options)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, heard)

    def __exit__(self, kind: type[BaseException] | None, *problem: object) -> None:
        self.shutdown(cancel_futures=kind is not None)  # who was stopped does not wait for work that waits itself


def _end_with_parent() -> None:
    """Let a worker end when its parent is killed, rather than wait for ever for work."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
