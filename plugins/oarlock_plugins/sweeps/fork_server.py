"""The driver's end of the process that imports Paddle once and forks the workers of a sweep (`forking`).

It is begun before the sweep is composed, where its workers will most likely be forked. Where there are GPUs they are spawned
instead: CUDA does not survive a fork, and each worker sees another GPU.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

from oarlock_plugins.sweeps.forking import PACKET
from oarlock_plugins.sweeps.processes import environment_of, how_it_ended, is_running, memory_of
from oarlock_plugins.sweeps.slots import cores, plan_slots, visible_gpus

# Overrides that may ask for other workers than those that are begun with before the configuration is composed.
DECIDING = ("hydra.launcher", "hydra/launcher", "hydra/sweeper")


class ForkServer:
    """The process that forks, from the outside.

    Args:
        environment: its environment, and that of the workers.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = dict(environment)
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from oarlock_plugins.sweeps.forking import main; main({theirs.fileno()})"],
            env=environment_of(environment), pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        theirs.close()
        self._asked = 0
        self._pids: dict[int, int] = {}
        self._codes: dict[int, int] = {}

    @property
    def gone(self) -> bool:
        return self._process.poll() is not None

    def fork(self, descriptors: Sequence[int]) -> int:
        """Ask for a process with these as its line and its output; returns the number that it goes by.

        Raises:
            OSError: the process that forks is gone.
        """
        self._asked += 1
        message = {"do": "fork", "number": self._asked, "path": sys.path, "folder": os.getcwd()}
        socket.send_fds(self._line, [json.dumps(message).encode()], descriptors)
        return self._asked

    def pid(self, number: int) -> int | None:
        """A process id, waiting for it where it is not known yet; None where the process that forks is gone."""
        while number not in self._pids and self._read(wait=True):
            pass
        return self._pids.get(number)

    def code(self, number: int) -> int | None:
        """What a process ended with; None where that is not known."""
        while number not in self._codes and self._read(wait=False):
            pass
        return self._codes.get(number)

    def reap(self, number: int) -> None:
        """Give a process id back to the system."""
        with contextlib.suppress(OSError):
            self._line.send(json.dumps({"do": "reap", "number": number}).encode())

    def close(self) -> None:
        """End it; workers that it has forked find out that the driver is gone by themselves."""
        self._line.close()
        self._process.kill()
        self._process.wait()

    def _read(self, wait: bool) -> bool:
        """Take in a message; False where there is none, or none will come."""
        if not wait and not select.select([self._line], [], [], 0.0)[0]:
            return False
        try:
            content = self._line.recv(PACKET)
        except ConnectionError:
            return False
        if content:
            message = json.loads(content)
            for told, kept in (("pid", self._pids), ("code", self._codes)):
                if told in message:
                    kept[message["number"]] = message[told]
        return bool(content)


class ForkedProcess:
    """A worker's process, forked.

    Args:
        server: who forks it.

    Raises:
        OSError: the process that forks is gone.
    """

    def __init__(self, server: ForkServer) -> None:
        self._server = server
        ours, theirs = socket.socketpair()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        with theirs:
            try:
                self._number = server.fork([theirs.fileno(), self._output.fileno()])
            except OSError:
                ours.close()
                self._output.close()
                raise
        self.connection = Connection(ours.detach())

    def gone(self) -> str:
        code = self._server.code(self._number)
        if code is not None:
            return how_it_ended(code)
        return "" if not self._server.gone or self._alive() else "the process that started it is gone, and it too"

    def kill(self, patience: float = 0.0) -> None:
        pid = self._server.pid(self._number)
        if pid is None:
            return
        deadline = time.monotonic() + patience
        while not self.gone() and time.monotonic() < deadline:
            time.sleep(0.01)
        for end in (os.killpg, os.kill):  # it is not the leader of a group yet while it is very young
            with contextlib.suppress(ProcessLookupError):
                end(pid, signal.SIGKILL)
        while not self.gone():
            time.sleep(0.001)

    def memory(self) -> int | None:
        pid = self._server.pid(self._number)
        return memory_of(pid) if pid is not None else 0

    def output(self) -> str:
        self._output.seek(0)
        return self._output.read().decode(errors="replace")

    def close(self) -> None:
        self._output.close()
        self._server.reap(self._number)

    def _alive(self) -> bool:
        """Whether it runs, asked of the system; not where it was never forked, or is dead and nobody has noticed."""
        pid = self._server.pid(self._number)
        return pid is not None and is_running(pid)


# --- begun early


_begun: ForkServer | None = None


def begin(overrides: Sequence[str]) -> None:
    """Begin to import Paddle for a sweep that is not composed yet, where its workers will most likely be forked."""
    global _begun
    environment = dict(os.environ)
    decided = any(override.lstrip("+~").startswith(DECIDING) for override in overrides)
    if _begun is None and not decided and forks(environment):
        _begun = ForkServer({**environment, **plan_slots(None, None, 1, [], cores(), environment)[0]})
        atexit.register(discard)


def take(slots: Sequence[dict[str, str]]) -> ForkServer | None:
    """A process that forks workers for these slots, the one that was begun if it is right; None where they are spawned.

    Args:
        slots: what the environment of each has beside this process's own.
    """
    global _begun
    environment = dict(os.environ)
    if not forks(environment) or any(slot != slots[0] for slot in slots):
        return None
    wanted, server = {**environment, **slots[0]}, _begun
    if server is not None and server.environment == wanted and not server.gone:
        _begun = None
        return server
    discard()
    return ForkServer(wanted)


def discard() -> None:
    """End the process that was begun, if nobody has taken it."""
    global _begun
    if _begun is not None:
        _begun.close()
        _begun = None


def forks(environment: dict[str, str]) -> bool:
    """Whether workers can be forked here."""
    return sys.platform == "linux" and not visible_gpus(environment)
