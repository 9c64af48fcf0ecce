"""Workers on this machine: forked from one process where that is safe, spawned where it is not."""

from __future__ import annotations

import contextlib
import multiprocessing.connection
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from oarlock_plugins.sweeps import fork_server
from oarlock_plugins.sweeps.pool import MOST_UNREADY, Pool, Worker
from oarlock_plugins.sweeps.processes import environment_of, how_it_ended, memory_of


class SpawnedProcess:
    """A worker's process, the leader of a session of its own, so that Ctrl-C does not reach it.

    Args:
        environment: its environment variables, beside this process's.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        ours, theirs = multiprocessing.connection.Pipe()
        self.connection = ours
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        # Without multiprocessing, which would import the driver's own main module.
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from oarlock_plugins.sweeps.worker import main; main({theirs.fileno()})"],
            env=environment_of({**os.environ, **environment}), pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
            stdout=self._output, stderr=self._output, start_new_session=True,
        )  # fmt: skip
        theirs.close()

    def gone(self) -> str:
        code = self._process.poll()
        return how_it_ended(code) if code is not None else ""

    def kill(self, patience: float = 0.0) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def memory(self) -> int | None:
        return memory_of(self._process.pid)

    def output(self) -> str:
        self._output.seek(0)
        return self._output.read().decode(errors="replace")

    def close(self) -> None:
        self._output.close()


class LocalPool(Pool):
    """Workers on this machine.

    Args:
        environments: the environment variables of each slot, beside this process's.
    """

    def __init__(self, environments: Sequence[dict[str, str]]) -> None:
        # All that were asked of the process that forks are lost with it, and that says nothing of those after them.
        super().__init__(len(environments), len(environments) + MOST_UNREADY)
        self._environments = environments
        self._server = fork_server.take(environments)

    def start(self, slot: int) -> Worker:
        process = self._forked() or SpawnedProcess(self._environments[slot])
        return Worker(slot, process, process.connection)

    def close(self) -> None:
        super().close()
        if self._server is not None:
            self._server.close()

    def _forked(self) -> fork_server.ForkedProcess | None:
        """None where workers are spawned, or the process that forks them was killed."""
        if self._server is None:
            return None
        try:
            return fork_server.ForkedProcess(self._server)
        except OSError:
            return None
