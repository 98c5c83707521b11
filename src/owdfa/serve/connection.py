"""A connection that does not wait for a client that is slow on purpose.

uvicorn waits for the head of a request, and for its body, as long as the client likes: a few
hundred that send a byte a minute would keep everybody else out.
"""

import asyncio
import time
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from owdfa.serve.settings import ServeSettings

_SLOWEST = 256  # bytes a second of a body, that the slowest client sends
_LOOKS = 4  # in ``idle_seconds``


class Connection(H11Protocol):
    """Closed where a request does not come on, or its answer is not taken.

    Args:
        settings: ``idle_seconds`` and ``max_connections``.
        given: What uvicorn gives to a connection.
    """

    def __init__(self, *given: Any, settings: ServeSettings, **named: Any) -> None:
        super().__init__(*given, **named)
        self._settings = settings
        self._clock: asyncio.TimerHandle | None = None
        self._since = time.monotonic()  # when what the client has to do began
        self._doing: object = None  # what that is
        self._num_received = self._num_resumed = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; one too many is closed at once."""
        super().connection_made(transport)
        if len(self.connections) > self._settings.max_connections:
            transport.abort()
            return
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._clock is not None:
            self._clock.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes, and where a request begins."""
        self._num_received += len(data)
        super().data_received(data)

    def resume_writing(self) -> None:
        """Note that the client took something."""
        self._num_resumed += 1
        super().resume_writing()

    def _look(self) -> None:
        """See whether the client does what it has to do, and look again later."""
        now, idle = time.monotonic(), self._settings.idle_seconds
        doing = self._to_be_done()
        if doing != self._doing:
            self._doing, self._since, self._num_received = doing, now, 0
        elif doing is not None and now - self._since >= idle:
            if doing == "body" and self._num_received >= _SLOWEST * idle:
                self._since, self._num_received = now, 0  # a new stretch
            else:
                self.transport.abort()
                return
        self._clock = self.loop.call_later(idle / _LOOKS, self._look)

    def _to_be_done(self) -> object:
        """What the client has to do before anything goes on; None where nothing."""
        unsent = self.transport.get_write_buffer_size()
        if unsent:
            return ("take", unsent, self._num_resumed)  # which change as it takes some of it
        if self.conn.their_state is h11.SEND_BODY and not self.flow.read_paused:
            return "body"
        if self.conn.their_state is h11.IDLE:
            # The number of requests tells the head of one from that of the next.
            return ("head", id(self.cycle))
        return None
