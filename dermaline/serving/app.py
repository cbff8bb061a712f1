"""The routes: from a request to an answer, within limits."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from dermaline.base.classes import CLASSES
from dermaline.data.decode import BadImageError
from dermaline.explaining.grad_cam import NoMaps
from dermaline.serving.answers import RESEARCH, Error, Explanations, Predictions, Status, Unusable
from dermaline.serving.batching import Batcher, Work
from dermaline.serving.guard import FILES, Guarded, error
from dermaline.serving.metrics import Metrics
from dermaline.serving.patient import FORM, understood
from dermaline.serving.service import Asked, Service
from dermaline.serving.uploads import FIELD, Upload, receive, refusal
from dermaline.user_files.photographs import Block

PAGE = Path(__file__).with_name("page")
RETRY_AFTER = "5"  # seconds
EXPLAINED = {**FORM, "diagnosis": {"enum": list(CLASSES), "description": "to explain; default: the predicted one"}}
_PHOTOGRAPHS = {"type": "array", "items": {"type": "string", "format": "binary"}}
_REASONS = {
    400: "a broken upload",
    401: "no token, or another",
    403: "asked by a page of another site, or, without a token, by another name than this machine's own",
    408: "the upload took too long; Retry-After says when to try again",
    413: "too large",
    415: "no form",
    422: "no photograph could be used, or a field says what is not known",
    429: "too many are waiting; Retry-After says when to try again",
    500: "the server failed; its log says why",
    503: "not answered in time; Retry-After says when to try again",
}


class Limits(NamedTuple):
    """What is refused, and how requests are gathered."""

    waiting: int = 16  # requests that are accepted and not answered
    photographs: int = 64  # of all of these; two cores predict some two a second
    seconds: float = 60  # for an upload, and again for what is done with it
    unhurried_seconds: float = 5  # of an upload, after which its place may be given to another request
    upload_bytes: int = 10_000_000
    images: int = 16  # of one request
    batch_images: int = 32
    gather_seconds: float = 0.005


class Server:
    """The state of a running server, and its routes."""

    def __init__(self, service: Service, limits: Limits) -> None:
        self.service, self.limits, self.metrics = service, limits, Metrics()
        self.is_ready, self._waiting, self._photographs = False, 0, 0
        self._uploads: dict[asyncio.Timeout, float] = {}  # since when each lasts, the oldest first
        self.metrics.waiting.set_function(lambda: self._waiting)
        self.metrics.model.labels(service.model.version, service.model.hash).set(1)

    @asynccontextmanager
    async def running(self, app: FastAPI) -> AsyncIterator[None]:
        """Start the worker and let it predict once; at the end, which comes when all is answered, stop it."""
        limits = self.limits
        self._batcher = Batcher(limits.gather_seconds, limits.batch_images, self.metrics.batch.observe)
        self._decoders = ThreadPoolExecutor(2, "decode")  # as many photographs are large at once
        self._batcher.submit(self.service.predict, [self.service.blank()]).add_done_callback(self._tried)
        yield
        self._batcher.close()
        self._decoders.shutdown(wait=False, cancel_futures=True)  # all that is left was given up

    def _tried(self, first: Future) -> None:
        self.is_ready = first.exception() is None
        if not self.is_ready:
            logging.getLogger("uvicorn.error").error("the model fails: %s", first.exception())

    async def predict(self, request: Request) -> Predictions:
        """Predict one photograph or several; what can't be used of several is named in its place."""
        with self._place():
            uploads, fields = await self._received(request, FORM)
            known, metadata = understood(fields)
            results = await self._done(request, self.service.predict, uploads, lambda block: Asked(block, metadata))
        for one in results:
            if not isinstance(one, Unusable):
                self.metrics.predicted.labels(one.predicted).inc()
                self.metrics.strange.inc(bool(one.out_of_distribution))
        return Predictions(model=self.service.model, known=known, images=results)

    async def explain(self, request: Request) -> Explanations:
        """Show where the networks looked, for the predicted diagnosis or for the one in the field `diagnosis`."""
        with self._place():
            uploads, fields = await self._received(request, EXPLAINED)
            known, metadata = understood(fields)
            dx = fields.get("diagnosis")
            if dx not in (None, *CLASSES):
                raise HTTPException(422, f"diagnosis: none of {', '.join(CLASSES)}")
            results = await self._done(request, self.service.explain, uploads, lambda block: Asked(block, metadata, dx))
        return Explanations(model=self.service.model, known=known, images=results)

    async def health(self) -> Status:
        """Whether the process answers."""
        return Status(status="ok")

    async def ready(self) -> Status:
        """Whether the model has predicted once."""
        if not self.is_ready:
            raise HTTPException(503, "not ready: the model has not predicted yet", {"Retry-After": RETRY_AFTER})
        return Status(status="ready")

    async def counted(self) -> Response:
        """Counts and times, for Prometheus."""
        return Response(generate_latest(self.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @contextmanager
    def _place(self) -> Iterator[None]:
        """One of the places for requests that wait: had before a body is read, so that they bound the memory."""
        if self._waiting >= self.limits.waiting and not self._hurried():
            raise _Full
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    def _hurried(self) -> bool:
        """Whether an upload was found to give up, the oldest: else a few that never end would keep all others out."""
        now = asyncio.get_running_loop().time()
        lasting = ((timeout, begun) for timeout, begun in self._uploads.items() if not timeout.expired())
        timeout, begun = next(lasting, (None, now))
        if now - begun < self.limits.unhurried_seconds:
            return False
        self._uploads.pop(timeout)
        timeout.reschedule(now)
        return True

    async def _received(self, request: Request, fields: Mapping) -> tuple[list[Upload], dict[str, str]]:
        limits = self.limits
        async with _in_time(limits.seconds, 408, "the upload took too long, or others needed its place") as timeout:
            self._uploads[timeout] = asyncio.get_running_loop().time()
            try:
                return await receive(request, limits.upload_bytes, limits.images, fields)
            finally:
                self._uploads.pop(timeout, None)

    @contextmanager
    def _share(self, photographs: int) -> Iterator[None]:
        """The photographs of one request among those that wait: more would not be answered in time."""
        if self._photographs and self._photographs + photographs > self.limits.photographs:
            raise HTTPException(429, "too many photographs are waiting; try again later", {"Retry-After": RETRY_AFTER})
        self._photographs += photographs
        try:
            yield
        finally:
            self._photographs -= photographs

    async def _done(
        self, request: Request, work: Work, uploads: Sequence[Upload], asked: Callable[[Block], Asked]
    ) -> list:
        """The results for those photographs that can be decoded, and what is wrong with the others, in order.

        Raises:
            HTTPException: none can be used, the networks have no maps, too many wait, it takes too long, or the client
                has gone.
        """
        in_time = _in_time(self.limits.seconds, 503, "not answered in time, others are before you")
        with self._share(len(uploads)):
            async with in_time as timeout, _until_it_goes(request, timeout):
                return await self._results(work, uploads, asked)

    async def _results(self, work: Work, uploads: Sequence[Upload], asked: Callable[[Block], Asked]) -> list:
        decoded = await asyncio.gather(*map(self._decoded, uploads))
        items = [asked(one) for one in decoded if isinstance(one, Block)]
        if not items:
            raise HTTPException(422, "; ".join(f"{one.name}: {one.error}" for one in decoded))
        try:
            results = iter(await asyncio.wrap_future(self._batcher.submit(work, items)))
        except NoMaps as problem:
            raise HTTPException(422, str(problem)) from None
        return [next(results) if isinstance(one, Block) else one for one in decoded]

    async def _decoded(self, upload: Upload) -> Block | Unusable:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._decoders, self.service.decode, upload)
        except BadImageError as problem:
            return Unusable(name=upload.name, error=str(problem))


class _Full(Exception):
    """No place is free."""


def create(service: Service, limits: Limits, token: str | None = None) -> ASGIApp:
    """The application.

    Args:
        service: what predicts and explains.
        limits: what is refused.
        token: that requests must bring, but for the page itself and the two probes; None: none, and then only
            requests to this machine by its own names (localhost, and addresses of the loopback) are answered.
    """
    server = Server(service, limits)
    app = FastAPI(title="Dermaline", description=RESEARCH, docs_url=None, redoc_url=None, lifespan=server.running)
    reasons = {status: {"model": Error, "description": why} for status, why in _REASONS.items()}
    anywhere = {status: reasons[status] for status in (403, 500)}
    for path, route, form in (("/predict", server.predict, FORM), ("/explain", server.explain, EXPLAINED)):
        app.add_api_route(path, route, methods=["POST"], responses=reasons, openapi_extra=_body(form))
    app.add_api_route("/health", server.health, responses=anywhere)
    app.add_api_route("/ready", server.ready, responses={**anywhere, 503: {"model": Error}})
    app.add_api_route("/metrics", server.counted, responses={**anywhere, 401: reasons[401]}, response_class=Response)
    for path, name in FILES.items():
        app.add_route(path, _file(PAGE / name), include_in_schema=False)
    app.exception_handler(HTTPException)(_told)
    app.exception_handler(RequestValidationError)(_told)
    app.exception_handler(_Full)(_full)
    app.exception_handler(Exception)(_failed)
    return Guarded(app, server.metrics, token)


def _body(fields: Mapping) -> dict:
    """OpenAPI of a form with photographs: they are read by hand, within limits, so FastAPI does not know of them."""
    schema = {"type": "object", "required": [FIELD], "properties": {FIELD: _PHOTOGRAPHS, **fields}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def _file(path: Path) -> Callable[[Request], Response]:
    return lambda request: FileResponse(path)


@asynccontextmanager
async def _in_time(seconds: float, status: int, why: str) -> AsyncIterator[asyncio.Timeout]:
    try:
        async with asyncio.timeout(seconds) as timeout:
            yield timeout
    except TimeoutError:
        raise HTTPException(status, f"{why} ({seconds:g} s); try again later", {"Retry-After": RETRY_AFTER}) from None


@asynccontextmanager
async def _until_it_goes(request: Request, timeout: asyncio.Timeout) -> AsyncIterator[None]:
    """End what is done for a client, by its time limit, once it has closed its connection: its place is free again."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        timeout.reschedule(asyncio.get_running_loop().time())

    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()


async def _told(request: Request, problem: Exception) -> Response:
    return error(problem if isinstance(problem, HTTPException) else HTTPException(422, "not what OpenAPI says"))


async def _full(request: Request, problem: Exception) -> Response:
    why = "too many requests are waiting; try again later"
    return error(await refusal(request.receive, 429, why, Retry_After=RETRY_AFTER))


async def _failed(request: Request, problem: Exception) -> Response:
    """Whatever else goes wrong: the log has its trace, the answer nothing of it.

    Uvicorn ends the connection after it, which a client must know before it sends the next request.
    """
    return error(HTTPException(500, "the server failed; its log says why", {"Connection": "close"}))
