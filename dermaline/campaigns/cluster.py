"""The trainings of a campaign on Dask's distributed scheduler: a local cluster, or one that runs already.

Slurm, Kubernetes and SSH clusters all start such a scheduler. Its workers are started in the project's folder, which
they share, and say what they have:

    python -m distributed.cli.dask_worker tcp://HOST:8786 --nthreads 1 --resources GPU=1
"""

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import dask
import torch
from distributed import Client, Future, LocalCluster, as_completed
from distributed.scheduler import KilledWorker

from dermaline.base.errors import DermalineError, in_words
from dermaline.campaigns.job import Ended, run_job
from dermaline.campaigns.plan import TrainingJob

CONNECT_SECONDS = 5
STOP_SECONDS = 60  # in which a worker whose time is over ends its stage, and says so
# What a worker is started with: by Dask's own, a training would have one thread, and give its memory back at each step.
THREADS = "distributed.nanny.pre-spawn-environ"
# A worker that is lost is soon missed; one that loads a large model may be silent for a while.
SETTINGS = {"distributed.scheduler.worker-ttl": "60s", "distributed.scheduler.allowed-failures": 3}


def needed(device: str) -> tuple[str, int]:
    """What a training takes of its worker when nothing else is asked for: a GPU where there is one, else a CPU."""
    return ("GPU" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "CPU"), 1


def run_all(
    trainings: Sequence[list[TrainingJob]], needs: tuple[str, int], jobs: int, scheduler: str | None, minutes: float
) -> list[str]:
    """Run every training once, each on one worker; the error lines of those that failed.

    A training whose worker is lost goes on from its last epoch on another one. Warnings are passed on to stderr.

    Args:
        trainings: the jobs of each.
        needs: a resource, and how much of it a training takes of its worker.
        jobs: trainings at a time, on the local cluster.
        scheduler: the address of one that runs; None starts a local cluster.
        minutes: after these nothing is started, and what runs is stopped; with none, no cluster is either. What no
            worker has begun by then is left.

    Raises:
        DermalineError: the scheduler can't be reached.
    """
    deadline, (name, amount), errors = time.time() + 60 * minutes, needs, []
    if not trainings or minutes <= 0:
        return []
    with _client(jobs, {name: amount}, scheduler) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        if not any(worker["resources"].get(name, 0) >= amount for worker in workers):
            what = f"no worker of {scheduler} has {name}={amount}: it waits for one, started with --resources"
            print(f"note: {what} {name}={amount}", file=sys.stderr)
        options = {"resources": {name: amount}, "pure": False}
        futures = [client.submit(run_job, same, Path.cwd(), deadline, **options) for same in trainings]
        for ended in _ended(futures, deadline + STOP_SECONDS):
            for line in ended.warnings:
                print(line, file=sys.stderr)
            errors += [ended.error] if ended.error else []
    return errors


def _ended(futures: Sequence[Future], until: float) -> Iterator[Ended]:
    """How each ended, as it does; those that have not by then are given up."""
    with suppress(TimeoutError):
        for future in as_completed(futures, timeout=until - time.time()):
            yield _result(future)
    for future in futures:
        future.cancel()


def _result(future: Future) -> Ended:
    try:
        return future.result()
    except KilledWorker as problem:
        return Ended(f"{problem.last_worker.address}: lost, as workers of this training were before", [])
    except Exception as problem:  # such as a full disk; the other trainings go on
        return Ended(in_words(problem), [])


@contextmanager
def _client(jobs: int, resources: dict[str, int], scheduler: str | None) -> Iterator[Client]:
    """A connection to the scheduler; a local cluster is stopped with it."""
    with dask.config.set(SETTINGS):
        if scheduler is not None:
            try:
                client = Client(scheduler, timeout=CONNECT_SECONDS)
            except (OSError, ValueError) as problem:
                reason = " ".join(str(problem).split())
                raise DermalineError(f"--scheduler {scheduler}: can't be reached ({reason})") from None
            with client:
                yield client
            return
        quiet = {"dashboard_address": "127.0.0.1:0", "silence_logs": "CRITICAL"}
        workers = {"n_workers": jobs, "threads_per_worker": 1, "resources": resources, "memory_limit": None}
        share = {THREADS: {"OMP_NUM_THREADS": max(torch.get_num_threads() // jobs, 1)}}
        with dask.config.set(share), LocalCluster(**workers, **quiet) as cluster, Client(cluster) as client:
            try:
                yield client
            except (KeyboardInterrupt, SystemExit):  # a worker would wait for its training
                for nanny in cluster.workers.values():
                    os.kill(nanny.pid, signal.SIGKILL)
                raise
