"""What every request has: an id, a status that is counted, a line in the log when it fails."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from oarlock_plugins.service.server.logs import Log
from oarlock_plugins.service.server.metrics import Metrics
from oarlock_plugins.service.server.refusals import RETRY_SECONDS, Refused

Scope = Mapping[str, Any]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
JSON = (b"content-type", b"application/json")

_GIVEN = re.compile(rb"[!-~]{1,128}")
_ids = itertools.count(1)
_PREFIX = os.urandom(6).hex().encode()


def request_id(headers: Mapping[bytes, bytes]) -> bytes:
    """The client's own, if it is a word of 128 characters at most, or a new one."""
    given = headers.get(b"x-request-id")
    if given is not None and _GIVEN.fullmatch(given):
        return given
    return b"%b-%x" % (_PREFIX, next(_ids))


class Exchange:
    """A request and its answer, however that is sent.

    Attributes:
        status: of the answer; 0 before it begins.
        admitted: whether it counts among those in flight.
        rows: of its input, once they are known.
        fields: for its line in the log.

    Args:
        scope: as ASGI has it: method, path, client and headers.
    """

    def __init__(self, scope: Scope, metrics: Metrics, log: Log, log_all: bool) -> None:
        self.started = time.perf_counter()
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.id = request_id(self.headers)
        self.status = 0
        self.admitted = False
        self.rows = 0
        self.fields: dict[str, Any] = {}
        self._scope = scope
        self._metrics, self._log, self._log_all = metrics, log, log_all

    def conclude(self, status: int) -> None:
        """The answer begins: count it, and write it down where it is an error."""
        self.status = status
        self._metrics.on_status(status)
        if status >= 400 or self._log_all:
            self._write_down(status)

    def describe(self, refused: Refused) -> tuple[bytes, Headers]:
        """The body and the headers of an error, which is counted and will be in the log."""
        self.fields["error"] = refused.message
        self._metrics.on_refusal(refused.reason)
        headers = [JSON]
        if refused.status == 503:
            headers.append((b"retry-after", b"%d" % RETRY_SECONDS))
        if refused.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if refused.close:
            headers.append((b"connection", b"close"))
        return orjson.dumps({"error": refused.message, "request_id": self.id.decode("ascii")}), headers

    def _write_down(self, status: int) -> None:
        client = self._scope.get("client")
        self._log("warning" if status >= 400 else "info", "request", request_id=self.id.decode("ascii"), status=status, method=self._scope["method"],
                  path=self._scope["path"][:200], client=client[0] if client else None,
                  seconds=round(time.perf_counter() - self.started, 6), **self.fields)  # fmt: skip


class AsgiExchange(Exchange):
    """One whose answer is sent as ASGI wants it."""

    def __init__(self, scope: Scope, send: Send, metrics: Metrics, log: Log, log_all: bool) -> None:
        super().__init__(scope, metrics, log, log_all)
        self._send = send

    async def answer(self, status: int, body: bytes, headers: Headers) -> None:
        """Send an answer that is there as a whole."""
        self.conclude(status)
        headers = [*headers, (b"content-length", b"%d" % len(body)), (b"x-request-id", self.id)]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def refuse(self, refused: Refused) -> None:
        """Send an error."""
        body, headers = self.describe(refused)
        await self.answer(refused.status, body, headers)

    async def pass_on(self, message: Mapping[str, Any]) -> None:
        """Send what another application answers, with the id."""
        if message["type"] == "http.response.start":
            self.conclude(message["status"])
            message = {**message, "headers": [*message["headers"], (b"x-request-id", self.id)]}
        await self._send(message)
