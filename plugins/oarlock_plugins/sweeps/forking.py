"""A process that imports Paddle once and forks the workers of a sweep, each of which then starts in some milliseconds.

It has one thread and makes no operation of Paddle's, so that its forks are whole.

Messages are JSON objects over a socket, a packet each. From the driver: `fork` with a worker's line and its output beside
it, `reap` when nobody needs the process id any more. To the driver: the `pid` of what was forked, and the `code` that it
ended with, negative for a signal.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

PACKET = 1 << 20


def main(descriptor: int) -> NoReturn:
    """Fork for the driver at the other end of a socket, until that is closed."""
    line = socket.socket(fileno=descriptor)
    gc.disable()
    with _leaving_with(line), contextlib.suppress(Exception):  # what cannot be imported is the workers' to report
        _import()
    gc.freeze()  # a collection in a worker would copy the pages that it shares with the others
    gc.enable()
    bell, ringer = os.pipe()
    os.set_blocking(ringer, False)
    signal.set_wakeup_fd(ringer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}
    ended: dict[int, int] = {}
    while True:
        waited: list[Any] = [line, bell]
        ready, _, _ = select.select(waited, [], [])
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
