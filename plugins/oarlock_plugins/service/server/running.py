"""The application in a process of its own: its socket, its signals, its end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from oarlock import UserError, stop_signals
from oarlock_plugins.service.server.app import Application
from oarlock_plugins.service.server.connection import Connection
from oarlock_plugins.service.server.logs import ToLog
from oarlock_plugins.service.server.memory import give_back, leave_alone

_BACKLOG = 2048
# Behind the last connection: so long a client has to send what it connected for, or another request where it has kept its
# connection.
_NEW_LINGER_SECONDS, _LINGER_SECONDS = 1.0, 0.25


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections.

    Raises:
        UserError: the address is not ours, or the port is taken.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else str(error).rstrip(".")
        raise UserError(f"serve: cannot listen on {host}:{port}: {what}.\n"
                        "Choose another with --host and --port (--port 0 takes a free one).") from error  # fmt: skip
    return found


class Server(uvicorn.Server):
    """uvicorn's server, which a first signal drains and a second one stops."""

    def __init__(self, config: uvicorn.Config, application: Application, drain_delay: float) -> None:
        super().__init__(config)
        self._application, self._drain_delay = application, drain_delay

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ours are of the event loop; uvicorn's would end the process by the signal and not with exit code 0."""
        loop = asyncio.get_running_loop()
        for number in stop_signals():
            loop.add_signal_handler(number, self._on_signal, signal.Signals(number).name)
        yield

    def _on_signal(self, name: str) -> None:
        if self._application.draining:
            self.force_exit = self.should_exit = True
            return
        self._application.draining = True
        self._application.log("info", "stopping", signal=name)
        asyncio.get_running_loop().call_later(self._drain_delay, self._stop)

    def _stop(self) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, but who has connected is answered: the kernel took the connection, the request is on its way."""
        self._application.closing = True
        loop, waiting = asyncio.get_running_loop(), [listener.dup() for listener in sockets or []]
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        make: Any = functools.partial(self.config.http_protocol_class, config=self.config,
                                      server_state=self.server_state, app_state=self.lifespan.state)  # type: ignore[call-arg]  # fmt: skip
        for client in [client for listener in waiting for client in _take_waiting(listener)]:
            await loop.connect_accepted_socket(make, client)
        closed = loop.time()
        while self.server_state.connections and not self.force_exit:
            unused = any(getattr(connection, "cycle", None) is None for connection in self.server_state.connections)
            if loop.time() - closed > (_NEW_LINGER_SECONDS if unused else _LINGER_SECONDS):
                break
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)


def _take_waiting(listener: socket.socket) -> list[socket.socket]:
    """Accept what has connected, and close the listener at once: whoever still waits for it then is reset."""
    found = []
    listener.setblocking(False)
    with listener, contextlib.suppress(OSError):  # there is none left, or one is gone again
        while True:
            found.append(listener.accept()[0])
    for client in found:
        client.setblocking(False)
    return found


def run(application: Application, listener: socket.socket, drain_delay: float, grace: float) -> None:
    """Serve until a signal comes; returns when what was in flight is answered, or after `grace` seconds."""
    give_back()
    logging.basicConfig(handlers=[ToLog(application.log)], level=logging.WARNING, force=True)
    config = uvicorn.Config(
        application, http=functools.partial(Connection, application),  # type: ignore[arg-type]
        ws="none", lifespan="on", log_config=None, access_log=False, proxy_headers=False, server_header=False,
        timeout_keep_alive=application.settings.idle_seconds, timeout_graceful_shutdown=grace,  # type: ignore[arg-type]
    )  # fmt: skip
    leave_alone()
    with contextlib.suppress(KeyboardInterrupt):
        Server(config, application, drain_delay).run(sockets=[listener])
