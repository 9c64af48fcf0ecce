"""Workers on a Ray cluster: each is a Ray task that connects back to the driver and then works as a local one does."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import secrets
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from multiprocessing.connection import Client, Connection, answer_challenge, deliver_challenge
from typing import Any

from oarlock_plugins.sweeps.pool import MOST_UNREADY, Pool, Worker
from oarlock_plugins.sweeps.ray_cluster import Cluster, Demand, import_ray
from oarlock_plugins.sweeps.worker import work

# A stranger, or a worker that is dying, may take so long over the handshake.
HANDSHAKE_SECONDS = 10
# A node that vanishes says nothing: after so long without an answer from its kernel a line counts as closed.
SILENT_SECONDS = 30
# How long a process may take to die after Ray has been told, or has said itself, that its task is over.
DYING_SECONDS = 5.0
# How often a cluster is asked whether it has grown.
LOOK_SECONDS = 10.0
# A sweep without a single worker says so after this time.
PATIENCE_SECONDS = 20.0
# What of the driver's environment a worker is given: plugins, Paddle's flags, arithmetic.
PASSED_ON = ("OARLOCK_", "FLAGS_", "MKL_")


class RayProcess:
    """A worker's process on some node, begun when the cluster has a place for it.

    Attributes:
        token: by which its worker is known when it connects.
        connection: once it has.
    """

    def __init__(self, submit: Callable[[str], Any]) -> None:
        self.token = secrets.token_hex(16)
        self.connection: Connection | None = None
        self._task = submit(self.token)
        # Asking a future costs nothing, asking Ray about each task of a large pool would.
        self._end = self._task.future()
        self._cancelled = False
        self._deadline: float | None = None

    def gone(self) -> str:
        now = time.monotonic()
        if self._end.done():
            # Ray's word comes before the process's end, and the next attempt at a trial must not meet the last one.
            self._deadline = min(self._deadline or now + DYING_SECONDS, now + DYING_SECONDS)
            if self._left() or now > self._deadline:
                return self._why()
        elif self._deadline is not None and now > self._deadline:
            self._cancel()
            return "its node does not answer"
        return ""

    def kill(self, patience: float = 0.0) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + patience + DYING_SECONDS
        if not patience:
            self._cancel()

    def memory(self) -> int | None:
        return None

    def output(self) -> str:
        return ""

    def close(self) -> None:
        """Nothing is held but the line, which is closed already."""

    def _cancel(self) -> None:
        if not self._cancelled and not self._end.done():
            self._cancelled = True
            import_ray().cancel(self._task, force=True)

    def _left(self) -> bool:
        """Whether its end of the line is closed, as only a dead process's surely is."""
        if self.connection is None or self.connection.closed:
            return True
        poller = select.poll()
        poller.register(self.connection.fileno(), select.POLLRDHUP)
        return bool(poller.poll(0))

    def _why(self) -> str:
        if self._cancelled:
            return "killed"
        try:
            self._end.result(0)
        except CancelledError:
            return "cancelled"
        except Exception as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, Exception):
                return f"{type(cause).__name__}: {cause}".splitlines()[0]
            said = str(error).strip().splitlines() or [type(error).__name__]
            return said[0].partition(". ")[0]
        return "its process has ended"


class Door:
    """Where workers connect. Threads lead them through the handshake, so that a stranger holds up nobody.

    Attributes:
        address: the host and the port.
        key: what a worker must know.
        bell: readable when one has come in.
    """

    def __init__(self, host: str) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, 0), family=family, backlog=128)
        self.address = (host, self._socket.getsockname()[1])
        self.key = secrets.token_bytes(32)
        self.bell, self._rope = multiprocessing.Pipe(duplex=False)
        self._arrived: queue.SimpleQueue[tuple[str, Connection]] = queue.SimpleQueue()
        threading.Thread(target=self._keep, daemon=True).start()

    def arrived(self) -> tuple[str, Connection]:
        """Who has come in, by its token; to be called when the bell has rung, once for each ring."""
        self.bell.recv_bytes()
        return self._arrived.get()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread, as closing alone does not
        self._socket.close()

    def _keep(self) -> None:
        while True:
            try:
                knocking, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._admit, args=(knocking,), daemon=True).start()

    def _admit(self, knocking: socket.socket) -> None:
        _set_timeouts(knocking, HANDSHAKE_SECONDS)
        connection = Connection(knocking.detach())
        try:
            deliver_challenge(connection, self.key)
            answer_challenge(connection, self.key)
            token = connection.recv_bytes(64).decode("ascii", "replace")
        except (OSError, EOFError, ValueError, multiprocessing.AuthenticationError):
            connection.close()
            return
        with socket.socket(fileno=os.dup(connection.fileno())) as admitted:
            _set_timeouts(admitted, 0)
        self._arrived.put((token, connection))
        with contextlib.suppress(OSError):
            self._rope.send_bytes(b"!")


class RayPool(Pool):
    """Workers wherever a Ray cluster has room for them; one that has to wait for its place holds up nobody.

    Args:
        cluster: left, or ended where the sweep has started it, when the pool is closed.
        demand: of each trial.
        slots: trials at once; None for as many as fit, also into nodes that come later.
        wanted: how many trials there will be, where that is known.

    Raises:
        UserError: no node has what a trial asks for.
    """

    def __init__(self, cluster: Cluster, demand: Demand, slots: int | None, wanted: int | None) -> None:
        places = demand.places(cluster.nodes)
        # A node that dies takes all of its workers with it, those too that are not ready yet.
        super().__init__(slots or places, MOST_UNREADY + (slots or places))
        self._cluster, self._demand, self._grows = cluster, demand, slots is None
        self._wanted = wanted if wanted is not None else sys.maxsize
        self._door = Door(import_ray().util.get_node_ip_address())
        self._task = import_ray().remote(
            num_cpus=demand.num_cpus, num_gpus=demand.num_gpus, resources=dict(demand.resources) or None,
            max_retries=0, max_calls=1,
        )(_task())  # fmt: skip
        self._next_look = time.monotonic() + LOOK_SECONDS
        self._complain_at: float | None = time.monotonic() + PATIENCE_SECONDS
        self.open(self._wanted)

    def start(self, slot: int) -> Worker:
        return Worker(slot, RayProcess(self._submit), None)

    def listening(self) -> list[Any]:
        return [self._door.bell]

    def accept(self, source: Any) -> None:
        token, connection = self._door.arrived()
        for worker in self._workers.values():
            process = worker.process
            if isinstance(process, RayProcess) and process.token == token and process.connection is None:
                worker.connection = process.connection = connection
                return
        connection.close()  # of a worker that was given up in the meantime

    def wait(self, seconds: float) -> list[tuple[int, dict[str, Any]]]:
        heard = super().wait(seconds)
        now = time.monotonic()
        if self._grows and now > self._next_look:
            self._next_look = now + LOOK_SECONDS
            with contextlib.suppress(Exception):  # the workers that are there do not need the cluster's head
                self._slots = max(self._slots, self._demand.places(self._cluster.nodes))
                self.open(self._wanted)
        if any(worker.connection for worker in self._workers.values()):
            self._complain_at = None
        elif self._complain_at is not None and now > self._complain_at:
            self._complain_at = None
            print("warning: the Ray cluster has no room for a trial yet; others use it. The sweep waits.",
                  file=sys.stderr, flush=True)  # fmt: skip
        return heard

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._door.close()
            self._cluster.close()

    def _submit(self, token: str) -> Any:
        threads = str(max(1, int(self._demand.num_cpus)))
        environment = {key: value for key, value in os.environ.items() if key.startswith(PASSED_ON)}
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
        path = [entry or os.getcwd() for entry in sys.path]
        return self._task.remote(environment, path, os.getcwd(), self._door.address, self._door.key, token)


def knock(address: tuple[str, int], key: bytes, token: str) -> None:
    """Connect with the driver, and work for it."""
    connection = Client(address, authkey=key)
    with socket.socket(fileno=os.dup(connection.fileno())) as line:
        _set_timeouts(line, 0)
    connection.send_bytes(token.encode())
    work(connection)


def _task() -> Callable[..., None]:
    """What Ray runs; made here, so that it is sent by value and can prepare the process that imports the rest."""

    def oarlock_worker(environment, path, folder, address, key, token):
        import os
        import sys

        os.environ.update(environment)
        sys.path[:] = list(dict.fromkeys([*path, *sys.path]))
        os.chdir(folder)

        from oarlock_plugins.sweeps.ray_pool import knock

        knock(tuple(address), key, token)

    return oarlock_worker


def _set_timeouts(line: socket.socket, seconds: int) -> None:
    """How long a read may take (0 for any time), and the kernel's own watch over the other side."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", seconds, 0))
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENT_SECONDS // 3)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, SILENT_SECONDS // 6)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_SECONDS * 1000)
