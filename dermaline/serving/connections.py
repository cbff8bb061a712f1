"""Connections of clients that have little to say: neither their number nor their patience may keep others out."""

from asyncio import BaseTransport, TimerHandle
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10  # from a connection, or from the last answer on it, to the end of a request's head
MOST_SILENT = 256  # connections that are between requests; a usual process may have 1,024 files open


class Connection(H11Protocol):
    """Uvicorn's, given up when no request comes in time, or when it has been silent for longest among too many."""

    _silent: ClassVar[dict["Connection", TimerHandle]] = {}  # the oldest first

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._heard()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Go through what has come; with the head of a request in it, the connection is silent no more."""
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:
            self._heard()

    def on_response_complete(self) -> None:
        """Wait for the next request, before what has come of it already is looked at."""
        self._wait()
        super().on_response_complete()

    def _wait(self) -> None:
        self._heard()
        self._silent[self] = self.loop.call_later(HEAD_SECONDS, self._give_up)
        if len(self._silent) > MOST_SILENT:
            next(iter(self._silent))._give_up()

    def _heard(self) -> None:
        if timer := self._silent.pop(self, None):
            timer.cancel()

    def _give_up(self) -> None:
        self._heard()
        self.transport.close()
