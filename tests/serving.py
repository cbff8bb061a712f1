"""What the tests of the sources share: a real HTTP server on the loopback, and HAM10000 in small."""

import io
import json
import os
import re
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from parameters import put_parameters

ROOT = Path(__file__).parent.parent


@dataclass
class Seen:
    """One request, as the server's log keeps it."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    sent: int = 0  # bytes of the body that went out

    @property
    def range(self) -> str | None:
        return self.headers.get("range")


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, content, status=200):
        return cls(status, json.dumps(content).encode(), {"Content-Type": "application/json"})


class Server:
    """Serves `files` with ranges, or what `routes` answer; misbehaves as told. Use it in a `with`."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.routes: dict[str, Callable[[Seen], Reply]] = {}
        self.statuses: list[int] = []  # answered, one a request, before anything else
        self.cuts: list[int] = []  # the connection breaks after so many bytes, one a request
        self.after_each: Callable[[], object] = lambda: None  # run once a request is answered
        self.ranges = True  # False: Range is ignored
        self.honours_if_range = True
        self.stall_on: str | None = None  # a path whose body stops half-way until the server closes
        self.log: list[Seen] = []
        self.closing = threading.Event()

    def __enter__(self):
        handler = type("Handler", (_Handler,), {"site": self})
        self._http = _Quiet(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()

    def seen(self, path):
        return [request for request in self.log if request.path == path]

    def answer(self, seen):
        if self.statuses:
            return Reply(self.statuses.pop(0), b"no")
        if seen.path in self.routes:
            return self.routes[seen.path](seen)
        if seen.path not in self.files:
            return Reply(404, b"no such file")
        content, etag = self.files[seen.path], self.etags.get(seen.path, '"one"')
        headers = {"ETag": etag, "Accept-Ranges": "bytes"} if self.ranges else {}
        same = not self.honours_if_range or seen.headers.get("if-range", etag) == etag
        if not (self.ranges and seen.range and same):
            return Reply(200, content, headers)
        start = int(re.fullmatch(r"bytes=(\d+)-", seen.range)[1])
        if start >= len(content):
            return Reply(416, b"", headers)
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return Reply(206, content[start:], headers)


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, *_):
        """Say nothing: clients that are killed or hang up are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Server

    def _serve(self):
        parts = urlsplit(self.path)  # also "http://host/path", when this server is asked as a proxy
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self.command, parts.path, parse_qs(parts.query), headers, body)
        self.site.log.append(seen)
        reply = self.site.answer(seen)
        self.send_response(reply.status)
        for name, value in ({"Content-Length": str(len(reply.body))} | reply.headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.site.after_each()  # before the body, so that the client's next request comes later
        self._send(seen, reply)

    do_GET = do_POST = _serve

    def _send(self, seen, reply):
        site, body = self.site, reply.body
        stalls = seen.path == site.stall_on
        stop = len(body) // 2 if stalls else site.cuts.pop(0) if site.cuts and len(body) > 1000 else None
        seen.sent = len(body[:stop])  # noted before, so that it stands when the client has the last byte
        self.wfile.write(body[:stop])
        self.close_connection = stop is not None
        if stalls:
            site.closing.wait(30)

    def log_message(self, *_):
        pass


def zipped(files, compression=zipfile.ZIP_STORED):
    """The bytes of a zip of `files`, a dictionary of names and bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def table(count, lesions, dataverse=False):
    """A metadata file of `count` images in Kaggle's form or in Dataverse's, in no order, with missing ages."""
    lines = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    for number in reversed(range(count)):
        age = "" if number % 7 == 3 else f"{5 * (number % 18)}.0"
        lines.append(f"HAM_{number % lesions:07},{image_id(number)},nv,histo,{age},male,lower extremity")
    if not dataverse:
        return ("\n".join(lines) + "\n").encode()
    rows = [line.split(",") for line in lines[1:]]
    quoted = ["\t".join(f'"{cell}"' if at != 4 else cell for at, cell in enumerate([*row, "vidir"])) for row in rows]
    return ("\n".join([lines[0].replace(",", "\t") + "\tdataset", *quoted]) + "\n").encode()


def image_id(number):
    return f"ISIC_{24306 + number:07}"


def images(numbers):
    """Stand-ins for JPEG files, by id: the sources hand the bytes on and never decode them."""
    return {image_id(number): f"jpeg {number} ".encode() * 20 for number in numbers}


def in_folder(folder, files, ending):
    return {f"{folder}{name}{ending}": content for name, content in files.items()}


@cache
def kaggle_archive():
    """All 10,015 images as Kaggle's archive has them: two folders, some doubled in lower case, and other files."""
    first, second = images(range(5000)), images(range(5000, 10_015))
    doubled = {name: first[name] for name in list(first)[:200]}
    return zipped(
        in_folder("HAM10000_images_part_1/", first, ".jpg")
        | in_folder("ham10000_images_part_1/", doubled, ".jpg")
        | in_folder("HAM10000_images_part_2/", second, ".jpg")
        | {"HAM10000_metadata.csv": table(10_015, 7470), "hmnist_8_8_L.csv": b"pixel0000\n1\n"}
    )


@cache
def dataverse_files():
    """All of HAM10000 as Dataverse has it: file name to bytes."""
    masks = {f"ISIC_{24306 + number:07}": b"png %d" % number for number in range(10_015)}
    lesion = "HAM10000_segmentations_lesion_tschandl"
    return {
        "HAM10000_metadata.tab": table(10_015, 7470, dataverse=True),
        "HAM10000_images_part_1.zip": zipped(in_folder("", images(range(5000)), ".jpg")),
        "HAM10000_images_part_2.zip": zipped(in_folder("", images(range(5000, 10_015)), ".jpg")),
        f"{lesion}.zip": zipped(in_folder(f"{lesion}/", masks, "_segmentation.png") | {f"__MACOSX/{lesion}/._x": b""}),
    }


def unpack(files, folder):
    """Write a dictionary of names and bytes under `folder`."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def wait_until(condition, seconds=20):
    """Wait for another process to get somewhere."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def start_download(folder, data, **environment):
    """Start the download stage in `folder` as DVC does, with the project's parameters changed by `data`."""
    folder.mkdir(exist_ok=True)
    flat = {name: value for name, value in data.items() if not isinstance(value, dict)}
    changes = {f"data.{name}": value for name, value in flat.items()}
    for name in data.keys() - flat.keys():
        changes |= {f"data.{name}.{key}": value for key, value in data[name].items()}
    put_parameters(folder, changes)
    kept = {name: value for name, value in os.environ.items() if not re.match("KAGGLE_|.*_proxy$|DVC_", name, re.I)}
    home = {"HOME": str(folder), "PYTHONPATH": str(ROOT), "DVC_ROOT": str(folder)}
    command = [sys.executable, "-m", "stages.download"]
    return subprocess.Popen(
        command, cwd=folder, env=kept | home | environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def run_download(folder, data, **environment):
    """Run the stage to its end: its exit status and the lines it wrote on stderr, without those of a progress bar."""
    process = start_download(folder, data, **environment)
    _, errors = process.communicate(timeout=60)
    return process.returncode, [
        line for line in errors.splitlines() if line.strip() and "\r" not in line and "%|" not in line
    ]
