"""A client that means ill, while an honest one asks every 100 ms: what the honest one notices, and what is left after.

The server is the command `serve` with a small random model, a process of its own on the loopback. Lost are honest
requests that failed or waited more than 10 s (a 429 is tried again when its Retry-After says so), and a server that
died, or that holds more handles or memory afterwards than before.
"""

import argparse
import os
import re
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from benchmarks.reliability.hostile_files import ROOT, photograph, project
from benchmarks.reliability.rows import Row, row

PATIENCE, EVERY = 10, 0.1  # seconds
FILES = 1024  # that the server may have open, as usual on Linux
GROWTH = 50_000_000  # bytes that caches may have grown by
FORM = b"multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n'
Address = tuple[str, int]


@contextmanager
def serving(folder: Path) -> Iterator[tuple[subprocess.Popen, Address]]:
    """The command in a project in `folder`."""
    project(folder)
    command = [sys.executable, "-m", "dermaline", "serve", "--last-run", "--device", "cpu", "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
    try:
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())[1])
        until = time.monotonic() + 300
        while httpx.get(f"http://127.0.0.1:{port}/ready", timeout=60).status_code != 200:
            if time.monotonic() > until:
                raise TimeoutError("the server is not ready")
            time.sleep(0.2)
        yield process, ("127.0.0.1", port)
    finally:
        process.kill()
        process.wait()


class Honest(threading.Thread):
    """Asks for its photograph every 100 ms until `stop`; keeps how often, and how often in vain."""

    def __init__(self, address: Address) -> None:
        super().__init__(daemon=True)
        self.url, self.stop, self.tries, self.lost = "http://{}:{}".format(*address), threading.Event(), 0, 0
        self.form = {"images": ("lesion.jpg", photograph())}

    def run(self) -> None:
        while not self.stop.wait(EVERY):
            self.tries += 1
            self.lost += not (self._health() and self._answered())

    def _health(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=PATIENCE).status_code == 200
        except httpx.HTTPError:
            return False

    def _answered(self) -> bool:
        begun = time.monotonic()
        while time.monotonic() - begun < PATIENCE:
            try:
                answer = httpx.post(f"{self.url}/predict", files=self.form, timeout=PATIENCE)
            except httpx.HTTPError:
                return False
            if answer.status_code != 429:
                return answer.status_code == 200 and time.monotonic() - begun < PATIENCE
            time.sleep(min(float(answer.headers["Retry-After"]), PATIENCE))
        return False


def connected(address: Address, content: bytes = b"") -> socket.socket:
    made = socket.create_connection(address, timeout=5)
    made.sendall(content)
    return made


def post(address: Address, body: bytes, *lines: bytes, length: int | None = None, path: bytes = b"/predict") -> bytes:
    """What the server answers to a request whose head says what it is told to."""
    own = b"Content-Length: %d" % (len(body) if length is None else length)
    head = (b"POST " + path + b" HTTP/1.1", b"Host: 127.0.0.1", b"Content-Type: " + FORM, *(lines or (own,)), b"", b"")
    said = b""
    with suppress(OSError), connected(address) as one:
        one.sendall(b"\r\n".join(head) + body)
        one.settimeout(2)
        while more := one.recv(65536):  # until the server closes, or says no more
            said += more
    return said


def held(address: Address, count: int, content: bytes, drip: bytes = b"", seconds: float = 8) -> None:
    """Connections that are kept open with something begun, and a byte or so a second on each."""
    made = []
    with suppress(OSError):
        for _ in range(count):
            made.append(connected(address, content))
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(1)
        for one in made if drip else []:
            with suppress(OSError):
                one.sendall(drip)
    for one in made:
        one.close()


def slow_body(address: Address) -> None:
    """More than there are places, each with a part that never ends."""
    said = (
        b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: " + FORM + b"\r\nContent-Length: 9000000\r\n\r\n"
    )
    held(address, 24, said + PART, b"x", seconds=20)


def slow_head(address: Address) -> None:
    held(address, 200, b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"a: b\r\n")


def idle(address: Address) -> None:
    held(address, 1000, b"", seconds=15)


def huge_head(address: Address) -> None:
    for _ in range(20):
        with suppress(OSError), connected(address, b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ") as one:
            for _ in range(200):
                one.sendall(b"x" * 100_000)
        post(address, b"", *(b"H%d: %s" % (n, b"x" * 50) for n in range(5000)))


def many_parts(address: Address) -> None:
    field = b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx\r\n'
    for _ in range(10):
        post(address, b"".join(field % n for n in range(10_000)) + b"--b--\r\n")
        post(address, (PART + b"x\r\n") * 10_000 + b"--b--\r\n")
        post(address, b"--b\r\n" + b"X: y\r\n" * 100_000)  # headers of one part
        post(address, b"\r\n" * 4_000_000 + b"--b--\r\n")


def wrong_length(address: Address) -> None:
    body = PART + photograph() + b"\r\n--b--\r\n"
    for value in (b"-1", b"+5", b"0x10", b"1_0", b"9" * 400, b"5, 6", b"", "٣".encode()):
        post(address, body, b"Content-Length: " + value)
    for length in (10, len(body) - 5, 10**12):
        post(address, body, length=length)
    for chunk in (b"-5\r\nabc\r\n", b"fffffffffffffffff\r\n", b"zz\r\n", b"5;" + b"x" * 100_000 + b"\r\n"):
        post(address, chunk, b"Transfer-Encoding: chunked")


def smuggling(address: Address) -> None:
    """Two readings of where a request ends: the second request in it must not be answered as one of its own."""
    second = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    chunked, length = b"Transfer-Encoding: chunked", b"Content-Length: %d" % (5 + len(second))
    pairs = ((length, chunked), (length, b"Transfer-Encoding: xchunked"), (length, b"Transfer-Encoding : chunked"))
    for lines in (*pairs, (b"Content-Length: 0", length), (length, b"Transfer-Encoding:\x0bchunked")):
        answer = post(address, b"0\r\n\r\n" + second, *lines)
        if b"dermaline_requests" in answer:
            raise ArithmeticError(f"a request in a request was answered after {lines}")


def bombs(address: Address) -> None:
    """Pictures that are small to send and large to open, and files of two kinds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def png(width: int, height: int, rows: int) -> bytes:
        data = zlib.compress(bytes(rows), 9)
        sizes = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", sizes) + chunk(b"IDAT", data) + chunk(b"IEND", b"")

    jpeg = photograph()
    files = (
        png(7000, 7000, 7000 * 21_001),  # 49 megapixels, which are allowed, in 150 kB
        png(50_000, 50_000, 10**7),
        png(2**31 - 1, 2**31 - 1, 100),
        png(10, 10, 10**8),
        jpeg + b"<script>alert(1)</script>",
        b"GIF89a/*" + jpeg,
        jpeg[:20] + b"PK\x03\x04" + jpeg[20:],
        b"%PDF-1.4\n" + jpeg,
        b"II*\0" + struct.pack("<I", 8) + b"\xff\xff" + b"\xff" * 5000,
    )
    for content in files * 2:
        post(address, PART + content + b"\r\n--b--\r\n")


ATTACKS: dict[str, Callable[[Address], None]] = {
    "24 uploads that never end, a byte a second": slow_body,
    "200 heads that never end": slow_head,
    "1,000 connections that say nothing": idle,
    "heads of 20 MB and of 5,000 lines": huge_head,
    "forms of 10,000 parts, of 10,000 files, of 100,000 headers": many_parts,
    "lengths that are wrong, negative, no number, and chunks that are none": wrong_length,
    "requests within requests": smuggling,
    "pictures of 2,500 megapixels in a few bytes, and files of two kinds": bombs,
}


def attacked(address: Address, process: psutil.Process, attack: Callable[[Address], None]) -> tuple[int, int, str]:
    """How often the honest client asked, how often in vain, and what else was wrong, in words."""
    before = process.num_fds(), process.memory_info().rss
    honest = Honest(address)
    honest.start()
    said = ""
    try:
        attack(address)
    except ArithmeticError as problem:
        said = str(problem)
    time.sleep(2)
    honest.stop.set()
    honest.join()
    until = time.monotonic() + 20
    while process.num_fds() > before[0] + 5 and time.monotonic() < until:
        time.sleep(0.5)
    handles, memory = process.num_fds() - before[0], process.memory_info().rss - before[1]
    if handles > 5 or not process.is_running():
        said = f"{handles} more handles"
    return honest.tries, honest.lost, said or (f"{memory / 1e6:.0f} MB more" if memory > GROWTH else "")


def main(options: list[str]) -> list[Row]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability hostile_client")
    parser.add_argument("attacks", nargs="*", type=int, metavar="N", help="numbers of attacks; default: all")
    chosen = parser.parse_args(options).attacks
    rows, told = [], "honest requests meanwhile; lost: failed, over 10 s, a server that died or grew"
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as (process, address):
        server = psutil.Process(process.pid)
        for _ in range(2):
            attacked(address, server, bombs)  # what grows once, does now: freed memory is kept for the next picture
        for number, (words, attack) in enumerate(ATTACKS.items()):
            if not chosen or number in chosen:
                tries, lost, said = attacked(address, server, attack)
                print(f"{words}: {lost} of {tries} lost; {said or 'nothing grew'}", flush=True)
                rows.append(row(f"a server under {words}: {told}", tries, lost + bool(said)))
    return rows
