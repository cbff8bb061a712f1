"""The server under load: `python -m benchmarks.load [--released] [--backend onnx]`, on Linux.

`python -m dermaline serve` as a process of its own, with the last run's models or the released ones. 8 clients, then
32, ask it for --requests predictions over the loopback, a photograph a request, each client on one connection and for
the next once it has the answer. By turns with them the same models and detector are called in this process, on as many
decoded photographs at once as there are clients, in the same backend, and the exported file in onnxruntime.
--max-waiting is the number of clients, so that nobody is told to come back later (429), which would be by design. Then
32 clients ask for --minutes, and the server's memory is looked at.
"""

import argparse
import itertools
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, TypeVar

import httpx
import numpy as np

from benchmarks.measure import Row, draw, in_turns, keep, row
from dermaline.base import errors
from dermaline.base.errors import DermalineError
from dermaline.blocks import blocks
from dermaline.commands import serve
from dermaline.commands.chosen_models import BACKENDS
from dermaline.data.metadata import MISSING
from dermaline.exporting import onnx_model
from dermaline.exporting.running import InferenceSession, run, session
from dermaline.serving.service import Asked, Service
from dermaline.serving.uploads import Upload
from dermaline.user_files.photographs import find

CLIENTS, ROUNDS = (8, 32), 5
PHOTOGRAPHS, SIZE = 32, (450, 600)
PERCENTILES = (50, 95, 99)
PAUSE = 1  # seconds between two looks at a process
Answer = TypeVar("Answer")


class Answered(NamedTuple):
    """One request."""

    seconds: float
    is_right: bool


class Clients:
    """Threads that ask a server for predictions, each on one connection."""

    def __init__(self, address: str, count: int, photographs: Sequence[Upload]) -> None:
        self.address, self._photographs = address, photographs
        self._connections = [httpx.Client(base_url=address, timeout=300) for _ in range(count)]

    def ask(self, requests: int, until: float = float("inf")) -> list[Answered]:
        """The answers to so many requests, or to those that were begun until a time of `time.monotonic`."""
        numbers = iter(range(requests))  # one for all: each next request goes to whoever is free
        with ThreadPoolExecutor(len(self._connections)) as pool:
            found = pool.map(partial(self._work, numbers, until), self._connections)
            return list(itertools.chain.from_iterable(found))

    def _work(self, numbers: Iterator[int], until: float, connection: httpx.Client) -> list[Answered]:
        answered = []
        for number in numbers:
            if time.monotonic() > until:
                break
            one, begun = self._photographs[number % len(self._photographs)], time.perf_counter()
            try:
                answer = connection.post("/predict", files={"images": one})
                is_right = answer.status_code == 200 and "predicted" in answer.json()["images"][0]
            except httpx.TransportError:
                is_right = False
            answered.append(Answered(time.perf_counter() - begun, is_right))
        return answered


def main() -> None:
    parser = argparse.ArgumentParser(description="The server under load.")
    parser.add_argument("--released", action="store_true", help="the released models; default: the last run's")
    parser.add_argument("--backend", choices=BACKENDS, default="torch", help="of the server; default: %(default)s")
    parser.add_argument("--requests", type=int, default=500, help="of 8 clients, and of 32; default: %(default)s")
    parser.add_argument("--minutes", type=float, default=10, help="that memory is looked at; default: %(default)g")
    chosen = parser.parse_args()
    words = [*([] if chosen.released else ["--last-run"]), "--device", "cpu", "--backend", chosen.backend]
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    service = serve.load_service(parser.parse_args(words))
    model = session(onnx_model.to_bytes(onnx_model.build(service.ensemble)))
    photographs, per_round, rows = drawn(), max(chosen.requests // ROUNDS, 1), []
    of = f"{names(service)}, --backend {chosen.backend}"
    for clients in CLIENTS:
        with serving([*words, "--max-waiting", str(clients)]) as (address, process):
            some = Clients(address, clients, photographs)
            calls = bare(service, model, photographs, clients, per_round)
            rows += throughput(some, calls, per_round, f"{clients} clients, {of}")
            if clients == CLIENTS[-1] and chosen.minutes:
                rows.append(memory(process, some, chosen.minutes, f"{clients} clients, {of}"))
    keep(rows)


def drawn() -> list[Upload]:
    """Generated photographs, of HAM10000's size."""
    with TemporaryDirectory() as folder:
        draw(Path(folder), PHOTOGRAPHS, SIZE)
        return [Upload(f"{one.image_id}.jpg", one.read()) for one in find([Path(folder, "images.zip")])]


@contextmanager
def serving(words: Sequence[str]) -> Iterator[tuple[str, int]]:
    """A server that is ready: its address and the number of its process; it ends with the block."""
    started = [sys.executable, "-m", "dermaline", "serve", "--port", "0", *words]
    with subprocess.Popen(started, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = re.search(r"http://\S+", process.stdout.readline())
            if address is None:
                raise DermalineError("the server did not start: see above")
            while httpx.get(f"{address[0]}/ready").status_code != 200:
                time.sleep(0.1)
            yield address[0], process.pid
        finally:
            process.terminate()


def throughput(clients: Clients, calls: Sequence[Callable[[], object]], per_round: int, what: str) -> list[Row]:
    """Rows of what is served against bare calls, each `per_round` photographs a round, and of what failed."""
    asked: list[list[Answered]] = []
    actions = [lambda: asked.append(clients.ask(per_round)), *calls]
    seconds = dict(zip(("HTTP", "the same models", "the exported file"), in_turns(actions, ROUNDS).T, strict=True))
    answered = list(itertools.chain(*asked[1:]))  # without the warm-up
    waited = np.percentile([one.seconds for one in answered], PERCENTILES)
    detail = {
        "requests": len(answered),
        "a_second": {name: per_round / float(np.median(each)) for name, each in seconds.items()},
        "seconds_of_a_request": {f"p{share}": float(each) for share, each in zip(PERCENTILES, waited, strict=True)},
        "photographs_of_a_batch": mean_batch(clients.address),
    }

    def compare(name: str, target: str) -> Row:
        claim = f"photographs a second over HTTP / by bare calls of {name}, as many at once ({what})"
        return row(claim, seconds[name] / seconds["HTTP"], target, command(), **detail)

    failed = row(f"requests that failed ({what})", [failures(answered)], "<= 0", command(), requests=len(answered))
    return [compare("the same models", ">= 0.8"), compare("the exported file", ">= 0.8"), failed]


def bare(
    service: Service, model: InferenceSession, photographs: Sequence[Upload], batch: int, images: int
) -> list[Callable[[], object]]:
    """What predicts so many photographs in batches: by the same models and detector, and by the exported file."""
    asked = [Asked(service.decode(photographs[number % len(photographs)])) for number in range(images)]
    pixels = np.concatenate([one.block.images[service.ensemble.prepared_sizes[0]] for one in asked])
    given = {"images": pixels, "metadata": np.resize(MISSING, (images, len(MISSING)))}
    return [
        lambda: [service.predict(asked[part]) for part in blocks(images, batch)],
        lambda: run(model, given, batch),
    ]


def mean_batch(address: str) -> float:
    """Photographs of one inference of a server, since it started."""
    text = httpx.get(f"{address}/metrics").text
    total, count = (float(re.search(rf"^dermaline_batch_images_{of} (\S+)", text, re.M)[1]) for of in ("sum", "count"))
    return total / count


def memory(process: int, clients: Clients, minutes: float, what: str) -> Row:
    """The server's resident memory under load: in the last tenth of the time against the first."""
    until = time.monotonic() + minutes * 60
    answered, looks = watch(process, partial(clients.ask, sys.maxsize, until))
    sizes, tenth = np.array([one.memory for one in looks]), max(len(looks) // 10, 1)
    start = float(np.median(sizes[:tenth]))
    detail = {"requests": len(answered), "failed": failures(answered)}
    detail |= {"start_mb": start / 1e6, "largest_mb": sizes.max() / 1e6}
    claim = f"the server's memory at the end / at the start of {minutes:g} minutes ({what})"
    return row(claim, sizes[-tenth:] / start, "<= 1.05", command(), **detail)


class Look(NamedTuple):
    """What a process holds at one moment."""

    memory: int  # resident, bytes
    files: int  # that are open


def watch(process: int, act: Callable[[], Answer]) -> tuple[Answer, list[Look]]:
    """Act, and look at a process every `PAUSE` seconds until that is done, or the process has ended."""
    looks = []
    with ThreadPoolExecutor(1) as pool:
        acted = pool.submit(act)
        while not acted.done():
            try:
                looks.append(look(process))
            except (OSError, TypeError):  # it has ended, or is about to
                break
            time.sleep(PAUSE)
        return acted.result(), looks


def look(process: int) -> Look:
    """The present state of a process that runs."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    memory = int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024
    return Look(memory, len([*Path(f"/proc/{process}/fd").iterdir()]))


def failures(answered: Sequence[Answered]) -> int:
    return sum(not one.is_right for one in answered)


def names(service: Service) -> str:
    return " and ".join(service.model.weights)


def command() -> str:
    return " ".join(["python -m benchmarks.load", *sys.argv[1:]])


if __name__ == "__main__":
    errors.run(main)
