"""Workers and what they are given: whoever starts their processes, here they are spoken with."""

from __future__ import annotations

import json
import multiprocessing.connection
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Protocol

from oarlock import RunFailed

# A worker that was told to leave and does not is ended after so many seconds.
LEAVE_SECONDS = 5.0
# So many workers may end, one after another, before one of them was ready.
MOST_UNREADY = 2
# What is kept of the figures that a worker tells.
TOLD = ("step", "first_step", "epoch", "memory", "total_steps")


class Process(Protocol):
    """A worker's process, wherever it runs."""

    def gone(self) -> str:
        """Why it is not there any more; '' while it is."""

    def kill(self, patience: float = 0.0) -> None:
        """End it, and its children; it may take so many seconds to end by itself."""

    def memory(self) -> int | None:
        """Bytes that it holds; None where only the worker itself knows."""

    def output(self) -> str:
        """What it printed before it was ready."""

    def close(self) -> None:
        """Let go of what this process holds of it; it is gone."""


@dataclass
class Worker:
    """One slot: a process, the line to it, and the trial that it trains.

    Attributes:
        trial: the number of its trial, or None.
        ready: whether it can take one.
        since: when its trial was given to it (time.monotonic).
        told: the last figures that it told of itself.
    """

    slot: int
    process: Process
    connection: Connection | None
    trial: int | None = None
    ready: bool = False
    since: float = 0.0
    told: dict[str, Any] = field(default_factory=dict)


class Pool:
    """Workers in a number of slots. A worker that is lost is replaced; its trial gets a `lost` message.

    Args:
        slots: how many workers there are at most.
        most_unready: how many of them may end, one after another, before one was ready.

    Raises:
        RunFailed: workers cannot be started at all.
    """

    def __init__(self, slots: int, most_unready: int = MOST_UNREADY) -> None:
        self._slots, self._most_unready = slots, most_unready
        self._workers: dict[int, Worker] = {}
        self._unready = 0

    def start(self, slot: int) -> Worker:
        """Start a worker for a slot; its connection may come later."""
        raise NotImplementedError

    def listening(self) -> list[Any]:
        """What else to wait for: a socket at which workers knock."""
        return []

    def accept(self, source: Any) -> None:
        """Something came from one of `listening`."""

    def open(self, wanted: int) -> None:
        """Have workers for so many trials, as far as there are slots."""
        for slot in range(min(wanted, self._slots)):
            if slot not in self._workers:
                self._workers[slot] = self.start(slot)

    @property
    def running(self) -> dict[int, Worker]:
        """The workers that train, by trial."""
        return {worker.trial: worker for worker in self._workers.values() if worker.trial is not None}

    @property
    def idle(self) -> Worker | None:
        """A worker that can take a trial now."""
        ready = (one for one in self._workers.values() if one.ready and one.connection is not None)
        return next((one for one in ready if one.trial is None), None)

    def submit(self, trial: int, job: dict[str, Any]) -> None:
        """Give a trial to an idle worker."""
        worker = self.idle
        assert worker is not None
        worker.trial, worker.since, worker.told = trial, time.monotonic(), {}
        self._tell(worker, {"do": "train", "trial": trial, **job})

    def tell(self, trial: int, message: dict[str, Any]) -> None:
        """Say something to the worker of a trial; it may have been lost since it was heard of last."""
        worker = self.running.get(trial)
        if worker is not None:
            self._tell(worker, message)

    def kill(self, trial: int) -> None:
        """End the worker of a trial at once; the next `wait` says that it is lost."""
        self.running[trial].process.kill()

    def memory(self, trial: int) -> int:
        worker = self.running[trial]
        measured = worker.process.memory()
        return measured if measured is not None else int(worker.told.get("memory", 0))

    def wait(self, seconds: float) -> list[tuple[int, dict[str, Any]]]:
        """What the workers have said, by trial; waits until there is something, or so many seconds."""
        by_connection = {worker.connection: worker for worker in self._workers.values() if worker.connection}
        heard: list[tuple[int, dict[str, Any]]] = []
        listening = self.listening()
        for source in multiprocessing.connection.wait([*by_connection, *listening], seconds):
            if source in listening:
                self.accept(source)
            else:
                self._hear(by_connection[source], heard)  # type: ignore[index]
        for worker in list(self._workers.values()):
            if why := worker.process.gone():
                while worker.connection is not None and worker.connection.poll():
                    if not self._hear(worker, heard):
                        break
                self._lost(worker, why, heard)
        return heard

    def close(self) -> None:
        """Have all workers leave; one that is training is ended at once."""
        for worker in self._workers.values():
            if worker.trial is not None or not worker.ready:
                worker.process.kill()
            elif worker.connection is not None:
                self._tell(worker, {"do": "leave"})
        deadline = time.monotonic() + LEAVE_SECONDS
        for worker in self._workers.values():
            while not worker.process.gone() and time.monotonic() < deadline:
                time.sleep(0.01)
            worker.process.kill()
            self._release(worker)
        self._workers.clear()

    @staticmethod
    def _release(worker: Worker) -> None:
        if worker.connection is not None:
            worker.connection.close()
        worker.process.close()

    def _tell(self, worker: Worker, message: dict[str, Any]) -> None:
        if worker.connection is None:
            return  # it is lost already, and the next `wait` may say so
        try:
            worker.connection.send_bytes(json.dumps(message).encode())
        except OSError:
            worker.process.kill()  # it has left the line; the next `wait` says so

    def _hear(self, worker: Worker, heard: list[tuple[int, dict[str, Any]]]) -> bool:
        assert worker.connection is not None
        try:
            messages = json.loads(worker.connection.recv_bytes())
        except (EOFError, OSError):
            worker.connection.close()
            worker.connection = None
            worker.process.kill(LEAVE_SECONDS)  # it is dying, and how is worth knowing
            return False
        for message in messages:
            self._take_in(worker, message, heard)
        return True

    def _take_in(self, worker: Worker, message: dict[str, Any], heard: list[tuple[int, dict[str, Any]]]) -> None:
        kind = message["is"]
        if kind == "ready":
            worker.ready, self._unready = True, 0
        elif kind == "unable":
            raise RunFailed(message["error"])
        elif worker.trial is not None:
            worker.told |= {key: message[key] for key in TOLD if key in message}
            heard.append((worker.trial, message))
            if kind in ("done", "failed", "interrupted"):
                worker.trial = None

    def _lost(self, worker: Worker, why: str, heard: list[tuple[int, dict[str, Any]]]) -> None:
        worker.process.kill()  # the children that it may have left
        if worker.trial is not None:
            heard.append((worker.trial, {"is": "lost", "error": why}))
        elif not worker.ready:
            self._unready += 1
            if self._unready > self._most_unready:
                said = worker.process.output().strip().splitlines()
                raise RunFailed(f"{self._unready} workers ended before they were ready ({why}): "
                                f"{said[-1] if said else ''}")  # fmt: skip
        self._release(worker)
        self._workers[worker.slot] = self.start(worker.slot)
