"""Everything but predictions: health, metadata, the index, metrics, and the page with what it shows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from oarlock_plugins.service.server.page import HEADERS, page
from oarlock_plugins.service.server.refusals import RETRY_SECONDS, Refused, overloaded
from oarlock_plugins.service.server.status import example_of, index_of, metadata_of, status_of

if TYPE_CHECKING:
    from oarlock_plugins.service.server.app import Application

_EXTENSIONS = ["binary_tensor_data", "model_repository"]


def build_control(app: Application) -> FastAPI:
    """The routes; /openapi.json describes them."""
    # Its pages of documentation would load scripts from elsewhere.
    control = FastAPI(title="oarlock serve", version=_version(), docs_url=None, redoc_url=None,
                      redirect_slashes=False)  # fmt: skip
    _add_health(control, app)
    _add_models(control, app)
    _add_page(control, app)
    for kind in (HTTPException, Refused, Exception):
        control.add_exception_handler(kind, _refuse)
    return control


def _version() -> str:
    from oarlock import __version__

    return __version__


def _add_health(control: FastAPI, app: Application) -> None:
    @control.get("/v2")
    async def server() -> Response:
        return _json({"name": "oarlock", "version": _version(), "extensions": _EXTENSIONS})

    @control.get("/v2/health/live")
    async def live() -> Response:
        return _json({"live": True})

    @control.get("/v2/health/ready")
    async def ready() -> Response:
        return _health(app.ready)

    @control.get("/metrics")
    async def metrics() -> Response:
        text, kind = app.measure()
        return Response(text, media_type=kind)


def _add_models(control: FastAPI, app: Application) -> None:
    engine = app.settings.engine

    @control.get("/v2/models/{name}")
    async def metadata(name: str) -> Response:
        return _json(metadata_of(app.repository.find(name)[1], name, engine))

    @control.get("/v2/models/{name}/versions/{version}")
    async def version_metadata(name: str, version: str) -> Response:
        return _json(metadata_of(app.repository.find(name, version)[1], name, engine))

    @control.get("/v2/models/{name}/ready")
    async def ready(name: str) -> Response:
        app.repository.find(name)
        return _health(not app.draining)

    @control.get("/v2/models/{name}/versions/{version}/ready")
    async def version_ready(name: str, version: str) -> Response:
        app.repository.find(name, version)
        return _health(not app.draining)

    @control.post("/v2/repository/index")
    async def index(request: Request) -> Response:
        asked, held = await app.bodies.read(dict(request.scope["headers"]), request.receive)
        app.bodies.release(held)
        return _json(index_of(list(app.repository.models.values()), b'"ready":true' in asked.replace(b" ", b"")))


def _add_page(control: FastAPI, app: Application) -> None:
    started = time.time()

    @control.get("/", include_in_schema=False)
    async def root() -> Response:
        return Response(page(), media_type="text/html", headers=HEADERS)

    @control.get("/status")
    async def status() -> Response:
        models = [status_of(model) for model in app.repository.models.values()]
        return _json({"ready": app.ready, "started": started, "now": time.time(), "version": _version(),
                      "engine": engine_of(app), "models": sorted(models, key=lambda one: one["name"])})  # fmt: skip

    @control.get("/status/{name}/example")
    async def example(name: str) -> Response:
        return _json(example_of(app.repository.find(name)[1]))


def engine_of(app: Application) -> str:
    """The engine as the page names it."""
    return f"{app.settings.engine} on {app.settings.device}"


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status, headers, "application/json")


def _health(ready: bool) -> Response:
    if ready:
        return _json({"ready": True})
    return _json({"ready": False}, 503, {"Retry-After": str(RETRY_SECONDS)})


async def _refuse(request: Request, error: Any) -> Response:
    if isinstance(error, HTTPException):  # of the routing
        error = Refused(error.status_code, f"{request.method} {request.url.path[:200]}: {error.detail}", "unknown_path")
    elif not isinstance(error, Refused):  # Starlette raises it once more, and so it is written down
        error = overloaded("the server could not answer this request", "defect")
    body, headers = request.scope["oarlock.exchange"].describe(error)
    return Response(body, error.status, {key.decode(): value.decode() for key, value in headers})
