"""Adaptive micro-batching: whoever computes takes all that waits, up to a bound, and never waits for more.

With an idle server a request is computed at once and alone. While it is computed others arrive, and they are the next
batch: the busier the server, the larger the batches, without a delay that somebody would have to choose.

Threads compute, so that the event loop is free. Only what is known to take less than handing it to a thread and back is
computed in the loop itself, when a turn of it has taken in all requests that were there.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from oarlock_plugins.service.engines import Engine
from oarlock_plugins.service.server.admission import LEAST, Patience
from oarlock_plugins.service.server.computing import Outputs, compute
from oarlock_plugins.service.server.protocol import InferRequest
from oarlock_plugins.service.server.refusals import Refused, overloaded
from oarlock_plugins.service.server.settings import Settings

# What handing a batch to a thread and back costs on a machine that does other things too.
_QUICK_SECONDS = 100e-6
_WEIGHT = 0.05


class Answer(Protocol):
    """What a request gets its outputs by, in the event loop: a future, or the like of it."""

    def done(self) -> bool:
        """Whether it has them, or nobody wants them any more."""

    def cancelled(self) -> bool:
        """Whether nobody wants them any more."""

    def set_result(self, outputs: Outputs, /) -> None:
        """Here they are."""

    def set_exception(self, refused: Refused, /) -> None:
        """There are none."""


@dataclass(slots=True, eq=False)
class Waiting:
    """A request in the queue.

    Attributes:
        key: requests with another one cannot share its batch.
        size: how many numbers its inputs have.
        deadline: as `time.monotonic` counts.
    """

    request: InferRequest
    key: tuple[tuple[int, ...], ...]
    size: int
    deadline: float
    answer: Answer


class Batcher:
    """A queue and the threads that compute it, with an engine for each.

    Args:
        engines: one a thread.
        names: of the inputs.
        settings: the bounds.
        on_batch: is told the rows and the seconds of each batch, in the event loop.
    """

    def __init__(
        self, engines: Sequence[Engine], names: Sequence[str], settings: Settings,
        on_batch: Callable[[int, float], None],
    ) -> None:  # fmt: skip
        self._names = names
        self._settings, self._on_batch = settings, on_batch
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Waiting] = deque()
        self._lock = threading.Lock()
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._idle, self._closed = 0, False
        self._patience = Patience(settings.standing_seconds)
        self._standing: float | None = None  # since when no batch took all that waited
        self._allowed = max(settings.max_batch_rows, LEAST)
        self.rows = 0  # that wait
        self._engines = list(engines)  # that nobody uses now
        self._seconds: dict[int, float] = {}  # of a batch, by the binary magnitude of its inputs' size
        self._turn_due = False
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in engines]
        for thread in self._threads:
            thread.start()

    @property
    def requests(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def check_room(self) -> None:
        """Refuse before anything is spent on a request.

        Raises:
            Refused: the queue is full; or it has stood for a while, and has a batch already. A queue that stands makes
                every answer late and not one more of them; a short burst only fills it for a moment.
        """
        if self.rows >= self._settings.max_queue_rows or len(self._waiting) >= self._settings.max_queue_requests:
            raise overloaded("too many requests wait for this model", "queue_full")
        if self.rows < self._allowed:
            return
        now = time.monotonic()
        if self._patience.ended(self._standing if self._standing is not None else now, now):
            raise overloaded("requests arrive faster than this model answers", "overload")

    def submit(self, request: InferRequest, deadline: float, answer: Answer) -> None:
        """Put a request into the queue.

        Args:
            request: the request.
            deadline: as `time.monotonic` counts.
            answer: gets the outputs, or a Refused.

        Raises:
            Refused: there is no room for its rows.
        """
        if self.rows and self.rows + request.rows > self._settings.max_queue_rows:
            raise overloaded("too many rows wait for this model", "queue_full")
        # In the model's order, whatever that of the request is.
        arrays = [request.inputs[name] for name in self._names]
        one = Waiting(request, tuple([array.shape[1:] for array in arrays]), sum([array.size for array in arrays]),
                      deadline, answer)  # fmt: skip
        with self._lock:
            self._waiting.append(one)
            self.rows += request.rows
            idle = self._idle > 0
        if idle and not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def expire(self, now: float) -> None:
        """Answer those whose deadline has passed, also where the engine hangs."""
        with self._lock:
            late = [one for one in self._waiting if one.deadline < now]
            if late:
                self._waiting = deque(one for one in self._waiting if one.deadline >= now)
                self.rows = sum(one.request.rows for one in self._waiting)
        for one in late:
            _settle(one, _too_late())

    def close(self) -> None:
        """Let the threads end when nothing waits any more; what waits is still computed."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, 0
        for _ in range(idle):
            self._wake.put(None)

    def join(self, seconds: float) -> None:
        """Wait until the threads have ended."""
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _take(self) -> list[Waiting]:
        """The next batch; with the lock held."""
        batch: list[Waiting] = []
        others: list[Waiting] = []
        rows, now = 0, time.monotonic()
        while self._waiting:
            one = self._waiting[0]
            if one.answer.cancelled() or one.deadline < now:
                self._waiting.popleft()
                self.rows -= one.request.rows
                self._loop.call_soon_threadsafe(_settle, one, _too_late())
            elif batch and one.key != batch[0].key:
                others.append(self._waiting.popleft())
            elif batch and rows + one.request.rows > self._settings.max_batch_rows:
                break
            else:
                batch.append(self._waiting.popleft())
                rows += one.request.rows
        self._waiting.extendleft(reversed(others))
        self.rows -= rows
        if not self._waiting:
            self._standing = None
        elif self._standing is None:
            self._standing = now
        return batch

    def _turn(self) -> None:
        """All requests that were there are in the queue: compute them here, if that is quick, or wake a thread."""
        self._turn_due = False
        with self._lock:
            if not self._idle or not self._waiting:
                return
            quick = self._seconds.get(self._next_size().bit_length(), 1.0) < _QUICK_SECONDS
            if quick:
                batch = self._take()
                # An idle thread has no engine, so there is one more than threads that compute.
                engine = self._engines.pop()
            else:
                self._idle -= 1
        if not quick:
            self._wake.put(None)
            return
        started = time.perf_counter()
        answers = compute(engine, [one.request for one in batch]) if batch else []
        with self._lock:
            self._engines.append(engine)
            more = bool(self._waiting) and self._idle > 0
        if batch:
            self._finish(batch, answers, time.perf_counter() - started)
        if more and not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def _next_size(self) -> int:
        """How many numbers the next batch may have; with the lock held."""
        rows = size = 0
        for one in self._waiting:
            rows += one.request.rows
            if size and rows > self._settings.max_batch_rows:
                break
            size += one.size
        return size

    def _work(self) -> None:
        while True:
            with self._lock:
                batch = self._take()
                if batch:
                    engine = self._engines.pop()
                elif self._closed:
                    return
                else:
                    self._idle += 1
            if not batch:
                self._wake.get()
                continue
            started = time.perf_counter()
            answers = compute(engine, [one.request for one in batch])
            seconds = time.perf_counter() - started
            with self._lock:
                self._engines.append(engine)
            try:
                self._loop.call_soon_threadsafe(self._finish, batch, answers, seconds)
            except RuntimeError:  # the loop was closed meanwhile: nobody waits
                return

    def _finish(self, batch: list[Waiting], answers: list[Outputs | Refused], seconds: float) -> None:
        rows = sum(one.request.rows for one in batch)
        self._on_batch(rows, seconds)
        # The least counts: a thread that had to wait for the interpreter says nothing of the engine.
        size = sum([one.size for one in batch]).bit_length()
        known = self._seconds.get(size, seconds)
        self._seconds[size] = min(seconds, known + _WEIGHT * (seconds - known))
        for one, answer in zip(batch, answers, strict=True):
            _settle(one, answer)


def _settle(one: Waiting, answer: Outputs | Refused) -> None:
    if one.answer.done():
        return
    if isinstance(answer, Refused):
        one.answer.set_exception(answer)
    else:
        one.answer.set_result(answer)


def _too_late() -> Refused:
    return overloaded("not answered within its deadline", "deadline")
