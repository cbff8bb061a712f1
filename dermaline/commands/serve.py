"""The command `serve`: trained models over HTTP, for programs and, with a page, for people."""

import argparse
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvicorn

from dermaline.base.errors import DermalineError
from dermaline.commands.chosen_models import (
    add_device_arguments,
    add_model_arguments,
    choose,
    in_backend,
    load_chosen,
    predictor,
)
from dermaline.commands.numbers import count, positive
from dermaline.compute import keep_memory
from dermaline.params import whole
from dermaline.serving.app import Limits, create
from dermaline.serving.connections import Connection
from dermaline.serving.guard import is_loopback
from dermaline.serving.overlays import load_outliner
from dermaline.serving.service import Service, describe

SHORTEST = 16  # letters of a token


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    add_device_arguments(parser)
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s, this machine alone")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s; 0: any that is free")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="holds the token that requests must bring")
    waiting = {"type": count, "default": Limits().waiting, "metavar": "N"}
    parser.add_argument("--max-waiting", **waiting, help="requests at once; more are refused; default: %(default)s")
    seconds = {"type": positive, "default": Limits().seconds, "metavar": "SECONDS"}
    parser.add_argument("--timeout", **seconds, help="for an upload, and for its answer; default: %(default)g")


def main(options: argparse.Namespace) -> None:
    """Serve until it is told to end (SIGTERM, SIGINT); what was accepted by then is answered.

    Raises:
        DermalineError: the models, the token or the address do not do.
    """
    token = read_token(options.token_file)
    _check_host(options.host, token)
    keep_memory()
    # In a thread that ends: OpenMP's threads live as long as the one that they help. With more of them than cores all
    # go to sleep at each step, and a prediction, in a thread of its own, takes three times as long.
    with ThreadPoolExecutor(1) as apart:
        service = apart.submit(load_service, options).result()
    limits = Limits(waiting=options.max_waiting, seconds=options.timeout)
    listening = _listen(options.host, options.port)
    patience = int(2 * limits.seconds) + 1  # for an upload and its answer
    config = uvicorn.Config(
        create(service, limits, token),
        http=Connection,
        ws="none",
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=patience,
    )
    host, port = listening.getsockname()[:2]
    print(f"{service.model.version} on http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # it has its own way to end
    uvicorn.Server(config).run(sockets=[listening])


def load_service(options: argparse.Namespace) -> Service:
    """The models that the options choose, as `predict` applies them; explanations come from PyTorch always."""
    params, selection = whole.read(), choose(options.model, options.decision, options.last_run)
    ensemble = load_chosen(selection, options, params)
    applied = in_backend(ensemble, options.backend)
    predict, sizes = predictor(applied, selection.detector)
    outliner = load_outliner(selection.folders[0].parent / "segmentation", options.device)
    model = describe(selection.folders, ensemble, selection.detector, outliner is not None)
    return Service(ensemble, predict, sizes, params.prepare.max_megapixels, outliner, model)


def read_token(path: Path | None) -> str | None:
    """The token in a file.

    Raises:
        DermalineError: it can't be read, or is too short to be none that is guessed.
    """
    if path is None:
        return None
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise DermalineError(f"{path}: can't be read ({problem}); write a token of letters and digits there") from None
    if len(token) < SHORTEST or len(token.split()) != 1:
        raise DermalineError(f"{path}: no token; write one word of {SHORTEST} letters and digits or more there")
    return token


def _check_host(host: str, token: str | None) -> None:
    """Refuse to serve others without a token, and warn that there is no TLS."""
    if is_loopback(host):
        return
    if token is None:
        raise DermalineError(f"--host {host}: others can reach it, so give --token-file; or leave --host out")
    what = "photographs and token go over the network unencrypted: put a proxy with TLS before it"
    print(f"warning: --host {host}: no TLS here; {what}", file=sys.stderr)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=128
        )
    except (OSError, OverflowError) as problem:
        raise DermalineError(f"--host {host} --port {port}: can't be listened on ({problem}); try others") from None
