"""A process that imports Paddle once and forks the workers of a sweep, each of which then starts in some milliseconds.

It has one thread and makes no operation of Paddle's, so that its forks are whole. Where there are GPUs workers are spawned
instead: CUDA does not survive a fork, and each worker sees another GPU.

Messages are JSON objects over a socket, a packet each. From the driver: `fork` with a worker's line and its output beside
it, `reap` when nobody needs the process id any more. To the driver: the `pid` of what was forked, and the `code` that it
ended with, negative for a signal.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from oarlock_plugins.sweeps.processes import environment_of, how_it_ended, is_running, memory_of
from oarlock_plugins.sweeps.slots import cores, plan_slots, visible_gpus

PACKET = 1 << 20
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
            [sys.executable, "-c", f"from oarlock_plugins.sweeps.fork_server import main; main({theirs.fileno()})"],
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


# --- the process itself


def main(descriptor: int) -> NoReturn:
    """Fork for the driver at the other end of a socket, until that is closed."""
    line = socket.socket(fileno=descriptor)
    with _leaving_with(line), contextlib.suppress(Exception):  # what cannot be imported is the workers' to report
        _import()
    gc.freeze()  # a collection in a worker would copy the pages that it shares with the others
    bell, ringer = os.pipe()
    os.set_blocking(ringer, False)
    signal.set_wakeup_fd(ringer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}
    ended: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([line, bell], [], [])
        if bell in ready:
            os.read(bell, PACKET)
            for number, pid in list(running.items()):
                # It stays a zombie, so that its id is nobody else's, until the driver has no more use for it.
                found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if found is not None:
                    ended[number] = running.pop(number)
                    code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
                    _tell(line, number=number, code=code)
        if line in ready:
            content, descriptors, _, _ = socket.recv_fds(line, PACKET, 2)
            if not content:
                os._exit(0)
            message = json.loads(content)
            if message["do"] == "reap":
                if (pid := ended.pop(message["number"], 0)) or (pid := running.pop(message["number"], 0)):
                    os.waitpid(pid, 0)
                continue
            pid = os.fork()
            if pid == 0:
                line.close()
                for descriptor in (bell, ringer):
                    os.close(descriptor)
                _worker(message, *descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            running[message["number"]] = pid
            _tell(line, number=message["number"], pid=pid)


def _import() -> None:
    """All that a worker needs but plugins of others, in which a fork may not be foreseen."""
    from oarlock import Runner, import_paddle  # noqa: F401

    import_paddle()
    from oarlock_plugins import callbacks, data, models, optimizers, regularizers, schedules, tasks  # noqa: F401
    from oarlock_plugins.engines import step  # noqa: F401
    from oarlock_plugins.sweeps import worker  # noqa: F401


def _tell(line: socket.socket, **values: Any) -> None:
    with contextlib.suppress(OSError):  # the driver is gone, which the next `recv` finds
        line.send(json.dumps(values).encode())


def _worker(message: dict[str, Any], line: int, output: int) -> NoReturn:
    """What was forked: a worker like one that was spawned."""
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for standard in (1, 2):
            os.dup2(output, standard)
        os.close(output)
        os.chdir(message["folder"])
        sys.path[:] = message["path"]
        importlib.invalidate_caches()
        from oarlock_plugins.sweeps import worker

        worker.main(line)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(1)


@contextlib.contextmanager
def _leaving_with(line: socket.socket) -> Iterator[None]:
    """While open, this process ends as soon as the driver does; a thread looks, since the importing takes a second."""
    over, end = os.pipe()

    def look() -> None:
        poll = select.poll()
        poll.register(line, select.POLLRDHUP)
        poll.register(over, select.POLLIN)
        if all(descriptor != over for descriptor, _ in poll.poll()):
            os._exit(0)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        os.write(end, b".")
        thread.join()
        os.close(over)
        os.close(end)
