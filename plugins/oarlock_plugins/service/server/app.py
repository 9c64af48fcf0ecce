"""The whole service as one ASGI application; `oarlock serve` runs it under uvicorn, and any other server can.

A prediction goes straight to `Infer`; everything that is asked for rarely goes through FastAPI, whose routing and
middleware cost more than a small model computes.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping

from oarlock_plugins.service.server.admission import OVERLOADED, Admission
from oarlock_plugins.service.server.body import Bodies, Receive
from oarlock_plugins.service.server.control import build_control
from oarlock_plugins.service.server.exchange import AsgiExchange, Exchange, Scope, Send
from oarlock_plugins.service.server.infer import Infer, target_of
from oarlock_plugins.service.server.logs import Log, where
from oarlock_plugins.service.server.metrics import Metrics
from oarlock_plugins.service.server.refusals import Gone, Refused, overloaded
from oarlock_plugins.service.server.repository import Repository
from oarlock_plugins.service.server.settings import Settings

# Who watches over a server asks these, and the page asks for a token itself.
_OPEN = ("/", "/v2/health/live", "/v2/health/ready")


def build_app(settings: Settings, log: Log | None = None, metrics: Metrics | None = None) -> Application:
    """The application; its lifespan starts and stops the watching of the folder.

    Args:
        settings: which models, and the limits.
        log, metrics: where to; new ones by default.
    """
    return Application(settings, log or Log(), metrics or Metrics())


class Application:
    """The ASGI callable.

    Attributes:
        draining: set to true, it says that it is not ready, and answers on.
        closing: set to true, each answer is its connection's last.
    """

    def __init__(self, settings: Settings, log: Log, metrics: Metrics) -> None:
        self.settings, self.log, self.metrics = settings, log, metrics
        self.repository = Repository(settings, metrics, log)
        self.draining = self.closing = False
        self.admission, self.bodies = Admission(settings), Bodies(settings)
        self.infer = Infer(self.repository, self.bodies, self.admission, settings)
        self._control = build_control(self)
        self._bearer = f"Bearer {settings.token}".encode() if settings.token is not None else None

    @property
    def ready(self) -> bool:
        return self.repository.ready and not self.draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = AsgiExchange(scope, send, self.metrics, self.log, self.settings.log_requests)
        try:
            await self._route(scope, receive, exchange)
        except Refused as refused:
            await exchange.refuse(refused)
        except Gone:
            exchange.fields["error"] = "the client left before its request was complete"
        except Exception as error:
            defect = self.defect(exchange, error)
            if not exchange.status:
                await exchange.refuse(defect)
        finally:
            if exchange.admitted:
                self.admission.leave(exchange.rows)

    def defect(self, exchange: Exchange, error: Exception) -> Refused:
        """A defect of ours: written down with its place, and no reason to show it; what to answer."""
        self.log("error", "defect", request_id=exchange.id.decode(), error=where(error))
        return overloaded("the server could not answer this request", "defect")

    def _route(self, scope: Scope, receive: Receive, exchange: AsgiExchange) -> Awaitable[None]:
        path = scope["path"]
        if path not in _OPEN:
            self.check_token(exchange)
        if path.endswith("/infer") and path.startswith("/v2/models/"):
            target = target_of(path)
            if scope["method"] != "POST":
                raise Refused(405, f"{scope['method']}: infer is asked for with POST", "method")
            if self.admission.is_full():
                raise overloaded(*OVERLOADED)
            return self.infer(target, exchange, receive)
        # What watches over a server asks with HEAD too; whoever runs this leaves out the body.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        return self._control({**scope, "method": method, "oarlock.exchange": exchange}, receive, exchange.pass_on)  # type: ignore[arg-type]

    def bears_token(self, headers: Mapping[bytes, bytes] | Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether a request with these headers may be answered: it has the token, or there is none."""
        return self._bearer is None or hmac.compare_digest(dict(headers).get(b"authorization", b""), self._bearer)

    def check_token(self, exchange: Exchange) -> None:
        """Let through who may ask.

        Raises:
            Refused: another token, or none.
        """
        if not self.bears_token(exchange.headers):
            raise Refused(401, "expected the header 'Authorization: Bearer TOKEN' with this server's token", "token")

    async def _lifespan(self, receive: Receive, send: Callable[..., Awaitable[None]]) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.repository.start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.repository.stop()
                self.log.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def measure(self) -> tuple[bytes, str]:
        """What Prometheus reads, with the gauges as they are now."""
        for model in self.repository.models.values():
            waiting = model.live.batcher if model.live else None
            self.metrics.waiting.labels(model.name).set(waiting.requests if waiting else 0)
            self.metrics.waiting_rows.labels(model.name).set(waiting.rows if waiting else 0)
        self.metrics.in_flight.set(self.admission.in_flight)
        self.metrics.body_bytes.set(self.bodies.held)
        return self.metrics.text()
