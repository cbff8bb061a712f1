"""What stands before the routes: who may ask, what every answer carries, and its count."""

import hmac
import ipaddress
import re
import time

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dermaline.serving.metrics import Metrics
from dermaline.serving.uploads import refusal

FILES = {"/": "index.html", "/style.css": "style.css", "/app.js": "app.js"}
OPEN = {*FILES, "/health", "/ready"}  # without a token
COUNTED = OPEN | {"/predict", "/explain", "/metrics", "/openapi.json"}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Guarded:
    """An application behind its token, which answers only its own pages, with the headers of all answers, counted."""

    def __init__(self, app: ASGIApp, metrics: Metrics, token: str | None) -> None:
        self._app, self._metrics, self._token = app, metrics, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in COUNTED else "other"
        begun = time.monotonic()

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *own]
                self._metrics.requests.labels(path, str(message["status"])).inc()
                self._metrics.seconds.labels(path).observe(time.monotonic() - begun)
            await send(message)

        refused = await self._refused(Request(scope), receive)
        await (refused or self._app)(scope, receive, answer)

    async def _refused(self, request: Request, receive: Receive) -> Response | None:
        if {"content-length", "transfer-encoding"} <= set(request.headers):  # a proxy may see its end elsewhere
            close = {"Connection": "close"}  # what follows may be no request of this client's (RFC 9112, 6.3)
            return error(HTTPException(400, "a length and chunks: send one of them", close))
        if self._token is None and not is_loopback(_host(request)):  # a site's name that leads here (DNS rebinding)
            why = "without a token, only localhost, 127.0.0.1 and [::1] are answered; name one of them as the host"
            return error(await refusal(receive, 403, why))
        is_page = request.method == "GET" and request.url.path in FILES  # to which other sites may link
        if not is_page and request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return error(await refusal(receive, 403, "a page of another site may not ask here"))
        if self._token is None or request.url.path in OPEN:
            return None
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if hmac.compare_digest(given.encode(), self._token.encode()):
            return None
        why = "a token is needed, in the header Authorization: Bearer TOKEN"
        return error(await refusal(receive, 401, why, WWW_Authenticate="Bearer"))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by a name that means no other."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # another name


def _host(request: Request) -> str:
    """Whom a request is addressed to, without the port and the brackets of IPv6."""
    return re.sub(r":\d*$", "", request.headers.get("host", "")).removeprefix("[").removesuffix("]").lower()


def error(problem: HTTPException) -> JSONResponse:
    """An answer that says in one line what is wrong."""
    line = " ".join(str(problem.detail).split())
    return JSONResponse({"error": line}, problem.status_code, problem.headers)
