"""The application without uvicorn: any ASGI server can run it."""

from __future__ import annotations

import asyncio
import io
import json

import numpy as np

from oarlock_plugins.service.server.app import build_app
from oarlock_plugins.service.server.logs import Log
from oarlock_plugins.service.server.settings import Settings
from tests.plugins.service.server import bundles
from tests.plugins.service.server.bundles import Network
from tests.plugins.service.server.conftest import request_of


async def ask(app, method, path, body=b""):
    """(status, object) of one request, as a server would make it."""
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "headers": [], "client": None,
             "query_string": b"", "root_path": "", "scheme": "http", "server": None, "http_version": "1.1"}  # fmt: skip
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(message["body"] for message in sent[1:]))


async def live(app, models):
    to_app, from_app = asyncio.Queue(), asyncio.Queue()
    lifespan = asyncio.create_task(app({"type": "lifespan"}, to_app.get, from_app.put))
    await to_app.put({"type": "lifespan.startup"})
    assert await from_app.get() == {"type": "lifespan.startup.complete"}
    while (await ask(app, "GET", "/v2/models/toy/ready"))[0] != 200:
        await asyncio.sleep(0.02)
    rows = Network().rows(2)
    body = json.dumps(request_of(rows)).encode()
    answers = await asyncio.gather(*(ask(app, "POST", "/v2/models/toy/infer", body) for _ in range(100)))
    bundles.publish(models)
    while (await ask(app, "GET", "/v2/models/toy"))[1]["versions"] != ["2"]:
        await asyncio.sleep(0.02)
    await to_app.put({"type": "lifespan.shutdown"})
    assert await from_app.get() == {"type": "lifespan.shutdown.complete"}
    await lifespan
    return rows, answers


def test_any_server_can_run_it(models):
    bundles.publish(models)
    app = build_app(Settings(models, poll_seconds=0.05, standing_seconds=30), Log(stream=io.StringIO()))
    rows, answers = asyncio.run(live(app, models))
    assert {status for status, _ in answers} == {200}
    for _, answer in answers:
        np.testing.assert_allclose(np.reshape(answer["outputs"][0]["data"], (2, 4)), Network(shift=1)(rows), rtol=1e-4)
