"""One inference at a time: what several requests ask for is gathered for a few milliseconds and done together."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

Work = Callable[[Sequence[Any]], Sequence[Any]]  # as many results as items, in order


class _Job(NamedTuple):
    work: Work
    items: Sequence[Any]
    future: Future


class Batcher:
    """A thread that works off jobs; those of the same work that come within `wait` seconds are one call of it."""

    def __init__(self, wait: float, largest: int, done: Callable[[int], object] = lambda count: None) -> None:
        """Start the thread.

        Args:
            wait: seconds that the first job of a batch waits for others.
            largest: items from which on a batch takes no further job.
            done: told the number of items of each call.
        """
        self._wait, self._largest, self._done = wait, largest, done
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    def submit(self, work: Work, items: Sequence[Any]) -> Future:
        """The results of `work` on these items, in time; one that is cancelled before its turn is not worked on."""
        job = _Job(work, items, Future())
        self._jobs.put(job)
        return job.future

    def close(self) -> None:
        """End, once all that was submitted is done."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (first := self._jobs.get()) is not None:
            jobs = self._gathered(first)
            for work in dict.fromkeys(job.work for job in jobs):
                self._run(work, [job for job in jobs if job.work == work])

    def _gathered(self, first: _Job) -> list[_Job]:
        jobs, until = [first], time.monotonic() + self._wait
        while sum(len(job.items) for job in jobs) < self._largest:
            try:
                job = self._jobs.get(timeout=max(until - time.monotonic(), 0))
            except Empty:
                break
            if job is None:  # the end, for the loop to see
                self._jobs.put(None)
                break
            jobs.append(job)
        return jobs

    def _run(self, work: Work, jobs: Sequence[_Job]) -> None:
        jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]
        items = [item for job in jobs for item in job.items]
        if not items:
            return
        try:
            results = iter(work(items))
        except Exception as problem:  # whatever it is, each of them is told, and the next batch has its turn
            for job in jobs:
                job.future.set_exception(problem)
            return
        self._done(len(items))
        for job in jobs:
            job.future.set_result([next(results) for _ in job.items])
