"""Planted tokens, commands that succeed and that fail, and a search of all that they left behind.

A small repository with real Git and DVC; Kaggle is a server on the loopback, reached as a proxy, that refuses, leads
elsewhere, or sends no zip. Searched are all that was printed, all files (also unpacked objects of Git, with those of
experiments) and the names of files, for each token as it is and in base64. Lost is a command after which one was found.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from benchmarks.reliability.hostile_files import ROOT, project
from benchmarks.reliability.rows import Row, row

TOKENS = {
    name: f"planted{number}token{'x' * 12}{number}"
    for number, name in enumerate(("access token", "legacy key", "server's token", "signature", "other service's key"))
}
PIPELINE = """
stages:
  download:
    cmd: {python} -m stages.download
    params: [data]
    outs: [data/raw]
"""


class _Kaggle(BaseHTTPRequestHandler):
    """What answers in Kaggle's place, as `mode` says."""

    mode: ClassVar[str] = "refuse"

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "Introspect" in self.path:
            self._answer(200, json.dumps({"active": True, "username": "me"}).encode())
        elif self.mode == "refuse":
            self._answer(401, json.dumps({"code": 401, "message": "Unauthenticated"}).encode())
        else:
            host = "storage.example" if self.mode == "elsewhere" else "storage.googleapis.com"
            self._answer(302, Location=f"http://{host}/{self.mode}?X-Goog-Signature={TOKENS['signature']}")

    def do_GET(self) -> None:
        if "gone" in self.path:
            self._answer(404, b"gone")
        else:
            self._answer(200, b"no zip" * 99)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def kaggle() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Kaggle)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def repository(root: Path) -> None:
    """A project with Git and DVC, a pipeline of its download, a small model, and no token in it."""
    project(root)
    for name in ("dermaline", "stages", "recipes"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "dvc.yaml").write_text(PIPELINE.format(python=sys.executable))
    text = (root / "params.yaml").read_text(encoding="utf-8")
    (root / "params.yaml").write_text(text.replace("images: 1000", "images: 70"), encoding="utf-8")
    (root / ".gitignore").write_text("__pycache__/\n/.scratch/\n/data/\n")
    for words in (["git", "init", "-q"], [*DVC, "init", "-q"], ["git", "add", "-A"], [*GIT, "commit", "-qm", "first"]):
        subprocess.run(words, cwd=root, check=True, capture_output=True)


DVC = [sys.executable, "-m", "dvc"]
GIT = ["git", "-c", "user.name=me", "-c", "user.email=me@example.org"]
OURS = [sys.executable, "-m", "dermaline"]
KAGGLE = ["-S", "data.source=kaggle"]


def commands(secret: Path) -> Iterator[tuple[str, list[str]]]:
    """How Kaggle answers, and a command."""
    lacking = ["-S", "data.source=dataverse", "-S", "data.dataverse.server=http://127.0.0.1:9"]
    yield "refuse", [*DVC, "repro"]
    yield "refuse", [*DVC, "exp", "run", *KAGGLE]
    yield "elsewhere", [*DVC, "exp", "run", "-v", *KAGGLE]
    yield "gone", [*DVC, "exp", "run", *KAGGLE]
    yield "no zip", [*DVC, "exp", "run", "--queue", *KAGGLE]
    yield "no zip", [*DVC, "exp", "run", "--run-all"]
    yield "refuse", [*DVC, "exp", "run", *lacking]
    yield "refuse", [*DVC, "exp", "run", "-n", "good", "-S", "data.source=synthetic"]
    yield "refuse", [*DVC, "exp", "show", "--json"]
    yield "refuse", [*OURS, "predict", "lesion.jpg", "--last-run", "--device", "cpu"]
    yield "refuse", [*OURS, "predict", "none.jpg"]
    yield "refuse", [*OURS, "export", "--last-run"]
    yield "refuse", [*OURS, "serve", "--last-run", "--token-file", str(secret), "--host", "192.0.2.1"]
    yield "refuse", [*OURS, "serve", "--last-run", "--token-file", str(secret.with_name("broken"))]
    yield "refuse", [*OURS, "serve", "--last-run", "--token-file", str(secret), "--port", "0", "--device", "cpu"]


def run(words: list[str], root: Path, environment: dict[str, str]) -> bytes:
    """What a command printed; a server is asked with a wrong token and with the right one, and ended."""
    begun = subprocess.Popen(words, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = b""
    if words[-1] == "cpu" and "serve" in words:
        said = begun.stdout.readline()
        address = said.decode().split(" on ")[-1].strip()
        for token in (TOKENS["server's token"], TOKENS["server's token"][:-1] + "y", "é"):
            ask = ["curl", "-si", "-H", f"Authorization: Bearer {token}", f"{address}/metrics"]
            said += subprocess.run(ask, capture_output=True, check=False).stdout
        time.sleep(0.5)
        begun.terminate()
    return said + begun.communicate(timeout=600)[0]


def contents(root: Path) -> Iterator[tuple[str, bytes]]:
    """All files and their names, Git's objects unpacked."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            if ".git/objects" in path.as_posix() and path.suffix == "":
                with suppress(zlib.error):
                    content = zlib.decompress(content)
            yield str(path), str(path).encode() + content


def search(where: str, content: bytes) -> list[str]:
    found = []
    for name, token in TOKENS.items():
        forms = [token, base64.b64encode(f"me:{token}".encode()).decode(), base64.b64encode(token.encode()).decode()]
        found += [f"the {name} is in {where}" for form in forms if form.rstrip("=").encode() in content]
    return found


def main(options: list[str]) -> list[Row]:
    if options:
        raise SystemExit("tokens takes no options")
    tries = lost = 0
    served = "server's token"
    with tempfile.TemporaryDirectory() as folder, kaggle() as proxy:
        root, home = Path(folder, "project"), Path(folder, "home")
        root.mkdir()
        home.mkdir()
        (home / "token").write_text(TOKENS["server's token"])
        (home / "broken").write_text(f"{TOKENS[served]} and more")
        repository(root)
        environment = os.environ | {
            "HOME": str(home),
            "PYTHONPATH": str(root),
            "PYTHONDONTWRITEBYTECODE": "1",
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
            "http_proxy": proxy,
            "no_proxy": "",
            "DVC_NO_ANALYTICS": "1",
            "HF_TOKEN": TOKENS["other service's key"],
            "AWS_SECRET_ACCESS_KEY": TOKENS["other service's key"],
        }
        logins = (
            {"KAGGLE_API_TOKEN": TOKENS["access token"]},
            {"KAGGLE_USERNAME": "me", "KAGGLE_KEY": TOKENS["legacy key"]},
        )
        for number, (mode, words) in enumerate(commands(home / "token")):
            _Kaggle.mode = mode
            said = run(words, root, environment | logins[number % 2])
            found = search("what was printed", said)
            for where, content in [*contents(root), *contents(home)]:
                if Path(where).parent != home:
                    found += search(where, content)
            tries, lost = tries + 1, lost + bool(found)
            print(" ".join(words[2:]), "|", said.decode(errors="replace").strip().splitlines()[-1:], found, flush=True)
    what = "commands of DVC and ours that succeed and fail, with five tokens planted; lost: one was found afterwards"
    return [row(f"{what} in what was printed, in a file, or in an object of Git", tries, lost)]
