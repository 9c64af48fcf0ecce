"""The path that every prediction takes: read, check, wait for a batch, write. Nothing here is done twice or for show."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from oarlock_plugins.service.server.admission import OVERLOADED, Admission
from oarlock_plugins.service.server.batching import Answer
from oarlock_plugins.service.server.body import Bodies, Receive, pack, packing
from oarlock_plugins.service.server.computing import Outputs
from oarlock_plugins.service.server.exchange import JSON, AsgiExchange, Exchange, Headers
from oarlock_plugins.service.server.model import Live, Model
from oarlock_plugins.service.server.protocol import InferRequest, read_request
from oarlock_plugins.service.server.refusals import Refused, overloaded
from oarlock_plugins.service.server.repository import Repository
from oarlock_plugins.service.server.responses import write_response
from oarlock_plugins.service.server.settings import Settings

BINARY = (b"content-type", b"application/octet-stream")
_WORTH_PACKING = 1 << 10


class Target(NamedTuple):
    """Which model is asked, and which version of it; None for the one that answers."""

    name: str
    version: str | None


def target_of(path: str) -> Target:
    """What a path asks for that begins with /v2/models/ and ends with /infer.

    Raises:
        Refused: it is not /v2/models/NAME[/versions/VERSION]/infer.
    """
    name = path[len("/v2/models/") : -len("/infer")]
    if name and "/" not in name:
        return Target(name, None)
    match name.split("/"):
        case [name, "versions", version]:
            return Target(name, version)
    raise Refused(404, "expected /v2/models/NAME/infer or /v2/models/NAME/versions/VERSION/infer", "unknown_path")


Found = tuple[Model, Live]


class Begun(NamedTuple):
    """A request that waits for its batch."""

    request: InferRequest
    model: Model
    live: Live


class Infer:
    """POST /v2/models/NAME[/versions/VERSION]/infer, in the steps of which each is done in one go."""

    def __init__(self, repository: Repository, bodies: Bodies, admission: Admission, settings: Settings) -> None:
        self._repository, self._bodies, self._admission, self._settings = repository, bodies, admission, settings

    def find(self, target: Target, exchange: Exchange) -> Found:
        """What answers now, before anything is spent on a request.

        Raises:
            Refused: there is no such model, or too much waits for it.
        """
        exchange.fields["model"] = target.name[:100]
        found = self._repository.find(*target)
        found[1].batcher.check_room()
        return found

    def admit(self, exchange: Exchange) -> None:
        """Count a request among those in flight, now that its body is complete: who still sends takes nobody's place.

        Raises:
            Refused: there are too many.
        """
        if not self._admission.enter():
            raise overloaded(*OVERLOADED)
        exchange.admitted = True

    def begin(self, found: Found, exchange: Exchange, body: bytes, answer: Answer) -> Begun:
        """Read a body and put the request into the queue.

        Args:
            found: in the same turn of the event loop, so that a version that is being drained gets no new request.

        Raises:
            Refused: there will be no prediction.
        """
        model, live = found
        exchange.fields["version"] = live.version
        settings = self._settings
        request = read_request(body, exchange.headers.get(b"inference-header-content-length"), live.signature,
                               settings.max_request_rows)  # fmt: skip
        exchange.rows = request.rows
        patience = min(settings.deadline_seconds, request.timeout or settings.deadline_seconds)
        live.batcher.submit(request, time.monotonic() + patience, answer)
        return Begun(request, model, live)

    def write(self, begun: Begun, outputs: Outputs) -> tuple[bytes, Headers]:
        """The body of an answer and the headers that describe it.

        Raises:
            Refused: a value has no form in JSON.
        """
        live = begun.live
        answer, json_length = write_response(begun.request, outputs, live.signature, begun.model.name, live.version)
        if json_length is None:
            return answer, [JSON]
        return answer, [BINARY, (b"inference-header-content-length", b"%d" % json_length)]

    async def __call__(self, target: Target, exchange: AsgiExchange, receive: Receive) -> None:
        """Answer a request that came through ASGI.

        Raises:
            Refused: there will be no prediction.
            Gone: nobody waits for one.
        """
        self.find(target, exchange)
        body, held = await self._bodies.read(exchange.headers, receive)
        waiting: asyncio.Future[Outputs] = asyncio.get_running_loop().create_future()
        try:
            self.admit(exchange)
            # Again: while the body came another version may have been put into service.
            begun = self.begin(self._repository.find(*target), exchange, body, waiting)
            outputs = await waiting
        finally:
            self._bodies.release(held)
        answer, headers = self.write(begun, outputs)
        if (encoding := packing_of(exchange, answer)) is not None:
            answer = await asyncio.to_thread(pack, answer, encoding)
            headers.append((b"content-encoding", encoding))
        await exchange.answer(200, answer, headers)
        begun.model.metrics.on_answer(time.time(), time.perf_counter() - exchange.started)


def packing_of(exchange: Exchange, answer: bytes) -> bytes | None:
    """How an answer is to be compressed; None where it is not worth it or not asked for."""
    return packing(exchange.headers) if len(answer) > _WORTH_PACKING else None
