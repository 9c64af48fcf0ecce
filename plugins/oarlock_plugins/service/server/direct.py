"""A prediction that its connection answers itself, without ASGI in between.

Of a small request ASGI's part costs more than its computation: a task, an event, a scope, and messages that are checked on
their way. What is answered here is what almost all clients send: POST, a body of known and small size, nothing that
has to be unpacked. All else is left to the application. To uvicorn this is one of its cycles, of which it has one for each
request: it queues what is pipelined behind it, and waits for it when it shuts down.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from oarlock_plugins.service.server.body import pack
from oarlock_plugins.service.server.computing import Outputs
from oarlock_plugins.service.server.exchange import Exchange, Headers
from oarlock_plugins.service.server.infer import Begun, packing_of, target_of
from oarlock_plugins.service.server.refusals import Refused

if TYPE_CHECKING:
    from oarlock_plugins.service.server.connection import Connection

# Larger bodies are read through the application, which can refuse them half way.
_LARGEST = 256 << 10


def is_direct(headers: dict[bytes, bytes], max_body_bytes: int) -> bool:
    """Whether a request with these headers, a POST to an infer path, can be answered here."""
    length = headers.get(b"content-length", b"")
    return (
        length.isdigit() and len(length) < 10 and int(length) <= min(_LARGEST, max_body_bytes)
        and b"content-encoding" not in headers and b"transfer-encoding" not in headers
    )  # fmt: skip


class Direct:
    """One prediction, from its head on.

    Attributes:
        response_complete, disconnected, keep_alive, message_event: as a cycle of uvicorn's has them.

    Args:
        connection: where it came from.
        exchange: its id, its headers, its line in the log.
        keep_alive: whether the connection stays open afterwards.
    """

    def __init__(self, connection: Connection, exchange: Exchange, path: str, keep_alive: bool) -> None:
        self.response_complete = self.disconnected = False
        self.keep_alive = keep_alive
        self._connection: Connection | None = connection  # until the answer is sent: it holds this one
        self._application = connection.application
        self._exchange, self._path = exchange, path
        self._parts: list[bytes] = []
        self._held = 0
        self._begun: Begun | None = None

    @property
    def message_event(self) -> Direct:
        return self

    def set(self) -> None:
        """Of the event: something has happened. The client may have left before its request was complete."""
        if self.disconnected and self._begun is None and not self.response_complete:
            self._let_go()

    # --- the request

    def add(self, part: bytes) -> None:
        """A part of the body; of who may not ask nothing is kept."""
        if self._application.bears_token(self._exchange.headers):
            self._parts.append(part)

    def complete(self) -> None:
        """The body is complete."""
        application, exchange = self._application, self._exchange
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        try:
            application.check_token(exchange)
            application.infer.admit(exchange)
            target = target_of(self._path)
            application.bodies.hold(len(body))
            self._held = len(body)
            self._begun = application.infer.begin(application.infer.find(target, exchange), exchange, body, self)
        except Refused as refused:
            self.refuse(refused)
        except Exception as error:
            self.refuse(application.defect(exchange, error))

    # --- the answer, as the batcher gives it

    def done(self) -> bool:
        return self.response_complete

    def cancelled(self) -> bool:
        return False

    def set_result(self, outputs: Outputs) -> None:
        try:
            assert self._begun is not None
            answer, headers = self._application.infer.write(self._begun, outputs)
            if (encoding := packing_of(self._exchange, answer)) is not None:
                packing = asyncio.get_running_loop().run_in_executor(None, pack, answer, encoding)
                headers.append((b"content-encoding", encoding))
                packing.add_done_callback(lambda packed: self._answer(200, packed.result(), headers))
            else:
                self._answer(200, answer, headers)
        except Refused as refused:
            self.refuse(refused)
        except Exception as error:
            self.refuse(self._application.defect(self._exchange, error))

    def set_exception(self, refused: Refused) -> None:
        self.refuse(refused)

    def refuse(self, refused: Refused) -> None:
        """Answer with an error."""
        if not self.response_complete:
            body, headers = self._exchange.describe(refused)
            self.keep_alive = self.keep_alive and not refused.close
            self._answer(refused.status, body, headers)

    def _answer(self, status: int, body: bytes, headers: Headers) -> None:
        exchange, connection, begun = self._exchange, self._connection, self._begun
        exchange.conclude(status)
        self._let_go()
        if connection is None or self.disconnected or connection.transport.is_closing():
            return
        parts = [STATUS_LINE[status], connection.default_headers()]
        for name, value in headers:
            parts += (name, b": ", value, b"\r\n")
        if not self.keep_alive and (b"connection", b"close") not in headers:
            parts.append(b"connection: close\r\n")
        parts.append(b"content-length: %d\r\nx-request-id: %b\r\n\r\n" % (len(body), exchange.id))
        parts.append(body)
        connection.transport.write(b"".join(parts))
        if status == 200 and begun is not None:
            begun.model.metrics.on_answer(time.time(), time.perf_counter() - exchange.started)
        if not self.keep_alive:
            connection.transport.close()
        connection.on_direct_complete()

    def _let_go(self) -> None:
        self.response_complete = True
        # At once, and not when the collector comes by.
        self._connection = self._begun = None
        self._parts.clear()
        self._application.bodies.release(self._held)
        if self._exchange.admitted:
            self._application.admission.leave(self._exchange.rows)
