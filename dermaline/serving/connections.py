"""Connections of clients that have little to say: neither their number nor their patience may keep others out."""

from asyncio import BaseTransport, TimerHandle
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10  # from a connection, or from the last answer on it, to the end of a request's head
READ_SECONDS = 10  # in which a client must take this much of an answer that waits for it
READ_BYTES = 16_000
MOST_SILENT = 256  # connections that are between requests; a usual process may have 1,024 files open


class Connection(H11Protocol):
    """Uvicorn's, given up when no request comes in time, or when it has been silent for longest among too many.

    Or when its client does not read: no answer is kept for one longer than that takes to be seen.
    """

    _silent: ClassVar[dict["Connection", TimerHandle]] = {}  # the oldest first
    _unread: TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._heard()
        self._watch(None)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._watch(None)
        super().resume_writing()

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
        """Close it, once what is left of an answer is read, or is not."""
        self._heard()
        self.transport.close()
        if left := self.transport.get_write_buffer_size():
            self._watch(left)

    def _watch(self, left: int | None) -> None:
        """Look again whether the bytes that are left become fewer; None: no longer."""
        if self._unread:
            self._unread.cancel()
        self._unread = None if left is None else self.loop.call_later(READ_SECONDS, self._look, left)

    def _look(self, before: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left and left > before - READ_BYTES:
            self.transport.abort()
        else:
            self._watch(left or None)
