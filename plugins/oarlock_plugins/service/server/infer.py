"""The path that every prediction takes: read, check, wait for a batch, write. Nothing here is done twice or for show."""

from __future__ import annotations

import asyncio
import time

from oarlock_plugins.service.server.body import Bodies, Receive, pack, packing
from oarlock_plugins.service.server.exchange import JSON, Exchange
from oarlock_plugins.service.server.protocol import read_request
from oarlock_plugins.service.server.repository import Repository
from oarlock_plugins.service.server.responses import write_response
from oarlock_plugins.service.server.settings import Settings

BINARY = (b"content-type", b"application/octet-stream")
_WORTH_PACKING = 1 << 10


class Infer:
    """POST /v2/models/NAME[/versions/VERSION]/infer."""

    def __init__(self, repository: Repository, bodies: Bodies, settings: Settings) -> None:
        self._repository, self._bodies, self._settings = repository, bodies, settings

    async def __call__(self, name: str, version: str | None, exchange: Exchange, receive: Receive) -> None:
        """Answer a request.

        Raises:
            Refused: there will be no prediction.
            Gone: nobody waits for one.
        """
        exchange.fields["model"] = name[:100]
        # Before the body is looked at: to refuse must be cheap.
        self._repository.find(name, version)[1].batcher.check_room()
        headers = exchange.headers
        body, held = await self._bodies.read(headers, receive)
        try:
            # Found again: while the body came another version may have been put into service. From here to the queue
            # nothing is awaited, so a version that is being drained gets no new request.
            model, live = self._repository.find(name, version)
            exchange.fields["version"] = live.version
            request = read_request(body, headers.get(b"inference-header-content-length"), live.signature,
                                   self._settings.max_request_rows)  # fmt: skip
            exchange.rows = request.rows
            patience = min(self._settings.deadline_seconds, request.timeout or self._settings.deadline_seconds)
            outputs = await live.batcher.submit(request, time.monotonic() + patience)
        finally:
            self._bodies.release(held)
        answer, json_length = write_response(request, outputs, live.signature, name, live.version)
        sent = [JSON]
        if json_length is not None:
            sent = [BINARY, (b"inference-header-content-length", b"%d" % json_length)]
        encoding = packing(headers)
        if encoding is not None and len(answer) > _WORTH_PACKING:
            answer = await asyncio.to_thread(pack, answer, encoding)
            sent.append((b"content-encoding", encoding))
        await exchange.answer(200, answer, sent)
        model.metrics.on_answer(time.time(), time.perf_counter() - exchange.started)
