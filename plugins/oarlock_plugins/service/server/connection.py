"""A connection as uvicorn handles it, with the limits that it does not have: in number, in time, in the size of a head."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from oarlock_plugins.service.server.admission import OVERLOADED
from oarlock_plugins.service.server.app import Application
from oarlock_plugins.service.server.direct import Direct, is_direct
from oarlock_plugins.service.server.exchange import Exchange, request_id
from oarlock_plugins.service.server.refusals import RETRY_SECONDS, Refused

_HEAD_BYTES = 64 << 10
_UPGRADE = (b"upgrade", b"http2-settings")


class Connection(HttpToolsProtocol):
    """One client's connection.

    Args:
        application: whose limits, metrics and log they are.
    """

    def __init__(self, application: Application, **options: Any) -> None:
        super().__init__(**options)
        self.application, self._settings = application, application.settings
        self._head_bytes = 0
        self._ended = False  # whether a request ended in what was just received
        self._timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._idle_since = 0.0
        self._ignored = 0
        self._shed = False
        self._direct: Direct | None = None  # whose body is not complete yet
        self._defaults: tuple[object, bytes] = (None, b"")
        # Whether the present request asked for another protocol; then its head without that, and where the rest begins.
        self._upgrade = False
        self._again: tuple[bytes, int] | None = None

    def default_headers(self) -> bytes:
        """Those that uvicorn gives every answer, the date; it makes a new list of them each second."""
        found = self.server_state.default_headers
        if found is not self._defaults[0]:
            self._defaults = (found, b"".join(b"%b: %b\r\n" % pair for pair in found))
        return self._defaults[1]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.application.metrics.connections.set(len(self.connections))
        if len(self.connections) > self._settings.max_connections:
            all_of_them: Any = self.connections  # of which uvicorn does not know that they are ours
            unused = [(since, id(one), one) for one in all_of_them if (since := one.unused_since()) is not None]
            if not unused:
                self._refuse(503, "too many connections", "connections_full")
                return
            min(unused)[-1].timeout_keep_alive_handler()  # its client may connect again; this one could not at all
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # after a reset uvicorn keeps it, and with it this object
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self.application.metrics.connections.set(len(self.connections))

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._ended = False
        super().data_received(data)
        rest: Any = data
        while self._again is not None and not self.transport.is_closing():
            (head, start), self._again = self._again, None
            super().data_received(head)
            rest = memoryview(rest)[start:]
            if rest:
                super().data_received(rest)
        if (self._direct is not None or self._shed) and self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self._settings.body_seconds, self._body_too_slow)
        if self._head_bytes < 0:
            return
        # The head is not complete yet. Behind another request, where it began is not known.
        self._head_bytes += 0 if self._ended else len(data)
        if self._head_bytes > _HEAD_BYTES:
            self._refuse(431, f"the head of a request has at most {_HEAD_BYTES} bytes", "head_too_large")
        elif self._timer is None and not self.transport.is_closing():
            self._arm()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and any(name == b"upgrade" for name, _ in self.headers):
            self._upgrade = True
            return
        self._head_bytes = -1
        self._disarm()
        idle = not self.pipeline and (self.cycle is None or self.cycle.response_complete)
        if idle and self.url.endswith(b"/infer") and not self.expect_100_continue:
            # Before there is a task for it: at twice of what a server can do, refusals cost as much as answers.
            if self.application.bears_token(self.headers) and self.application.admission.is_full():
                self._shed = True
                return
            if self._begin_direct():
                return
        super().on_headers_complete()
        if self.application.closing and self.cycle is not None:
            self.cycle.keep_alive = False

    def _begin_direct(self) -> bool:
        """Begin a prediction that this connection answers itself, where it is one of the usual kind."""
        parser = self.parser
        if (not self.url.startswith(b"/v2/models/") or b"%" in self.url or not self.url.isascii() or parser.get_method() != b"POST"
                or parser.should_upgrade() or self.flow.write_paused):  # fmt: skip
            return False
        application = self.application
        path = self.url.decode("ascii")
        scope = {"method": "POST", "path": path, "client": self.client, "headers": self.headers}
        exchange = Exchange(scope, application.metrics, application.log, self._settings.log_requests)
        if not is_direct(exchange.headers, self._settings.max_body_bytes):
            return False
        keep_alive = parser.get_http_version() != "1.0" and parser.should_keep_alive() and not application.closing
        self.cycle = self._direct = Direct(self, exchange, path, keep_alive)  # type: ignore[assignment]
        return True

    def on_body(self, body: bytes) -> None:
        if self._shed:
            return
        if self._direct is not None:
            self._direct.add(body)
            return
        if self.cycle.response_complete:
            self._ignore(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._upgrade:
            return
        self._ended = True
        self._disarm()
        self._ignored = 0
        if self._direct is not None:
            complete, self._direct = self._direct, None
            complete.complete()
        elif self._shed:
            self._shed = False
            self._answer(503, *OVERLOADED, close=self.application.closing or not self.parser.should_keep_alive())
            self.on_response_complete()
        else:
            super().on_message_complete()

    def on_direct_complete(self) -> None:
        """A prediction was answered here.

        As uvicorn's `on_response_complete`, but with a timer for the idle connection that is made once, and looks when it
        goes off whether it is due.
        """
        if self.pipeline or self.transport.is_closing():
            self.on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._close_if_idle)

    def unused_since(self) -> float | None:
        """When the last answer was given; None where there was none yet, or a request is on its way."""
        if (self.cycle is None or not self.cycle.response_complete or self.pipeline or self._timer is not None
                or self.transport.is_closing()):  # fmt: skip
            return None
        task: asyncio.TimerHandle | None = self.timeout_keep_alive_task
        return self._idle_since if task is None else task.when() - self.timeout_keep_alive

    def _close_if_idle(self) -> None:
        self._idle_timer = None
        if not self.cycle.response_complete or self._timer is not None or self.timeout_keep_alive_task is not None:
            return  # a request is on its way and has its own limits, or the application has answered one since
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._idle_timer = self.loop.call_later(left, self._close_if_idle)
        else:
            self.timeout_keep_alive_handler()

    def _ignore(self, size: int) -> None:
        """Let a client that was answered early send the rest: to close at once could take the answer from it."""
        self._ignored += size
        if self._ignored > 2 * self._settings.max_body_bytes:
            self.transport.close()
        elif self._timer is None:
            self._timer = self.loop.call_later(self._settings.body_seconds, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls for bytes that are no HTTP."""
        self._refuse(400, msg, "malformed")

    def _unsupported_upgrade_warning(self) -> None:
        """What uvicorn calls where a request asks for another protocol, as Java's client does for HTTP/2 on each first one.

        A server may ignore that (RFC 9110, 7.8), but the parser takes what follows the head for the other protocol's. So the
        request is read again without it.
        """
        if not self._upgrade:  # CONNECT, which is answered as it is
            return
        self._upgrade = False
        found: Any = sys.exc_info()[1]
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                value = b",".join(one for one in value.split(b",") if one.strip().lower() not in _UPGRADE)
            if name not in _UPGRADE:
                lines.append(b"%b: %b" % (name, value))
        self._again = b"\r\n".join([*lines, b"", b""]), found.args[0]
        self.parser = httptools.HttpRequestParser(self)
        # As uvicorn makes its own: bytes behind a last request are passed over.
        if hasattr(self.parser, "set_dangerous_leniencies"):
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _arm(self) -> None:
        self._timer = self.loop.call_later(self._settings.header_seconds, self._too_slow)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._refuse(408, f"the head of a request did not come within {self._settings.header_seconds:g} s", "slow")

    def _body_too_slow(self) -> None:
        message = f"the body did not come within {self._settings.body_seconds:g} s"
        if self._direct is not None:
            slow, self._direct = self._direct, None
            slow.refuse(Refused(408, message, "slow", close=True))
        elif self._shed:
            self._refuse(408, message, "slow")

    def _refuse(self, status: int, message: str, reason: str) -> None:
        """Answer what never became a request, and close."""
        if not self.transport.is_closing():
            self.headers = []
            self._answer(status, message, reason, close=True)

    def _answer(self, status: int, message: str, reason: str, close: bool) -> None:
        """Write an error without the application."""
        id_ = request_id(dict(self.headers))
        application = self.application
        application.metrics.on_status(status)
        application.metrics.on_refusal(reason)
        application.log("warning", "connection" if close else "shed", request_id=id_.decode(), status=status, error=message,
                        client=self.client[0] if self.client else None)  # fmt: skip
        body = b'{"error":"%s","request_id":%s}' % (message.encode(), orjson.dumps(id_.decode()))
        more = b"retry-after: %d\r\n" % RETRY_SECONDS if status == 503 else b""
        self.transport.write(b"%sx-request-id: %s\r\n%scontent-type: application/json\r\ncontent-length: %d\r\n%s\r\n%s" % (
            STATUS_LINE[status], id_, more, len(body), b"connection: close\r\n" if close else b"", body))  # fmt: skip
        if close:
            self.transport.close()
