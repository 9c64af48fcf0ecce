"""Adaptive micro-batching: whoever computes takes all that waits, up to a bound, and never waits for more.

With an idle server a request is computed at once and alone. While it is computed others arrive, and they are the next
batch: the busier the server, the larger the batches, without a delay that somebody would have to choose.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from oarlock_plugins.service.engines import Engine
from oarlock_plugins.service.server.protocol import InferRequest
from oarlock_plugins.service.server.refusals import Refused, malformed, overloaded
from oarlock_plugins.service.server.settings import Settings

Outputs = dict[str, np.ndarray]
# So many rows may always wait, also where batches are smaller.
_LEAST_ALLOWANCE = 64


@dataclass(slots=True, eq=False)
class Waiting:
    """A request in the queue.

    Attributes:
        key: requests with another one cannot share its batch.
        deadline: as `time.monotonic` counts.
        answer: of the event loop.
    """

    request: InferRequest
    key: tuple[tuple[int, ...], ...]
    deadline: float
    answer: asyncio.Future[Outputs]


class Batcher:
    """A queue and the threads that compute it, each with an engine of its own.

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
        self._standing: float | None = None  # since when no batch took all that waited
        self._allowance = max(settings.max_batch_rows, _LEAST_ALLOWANCE)
        self.rows = 0  # that wait
        self._threads = [threading.Thread(target=self._work, args=(engine,), daemon=True) for engine in engines]
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
        since = self._standing
        if since is not None and self.rows >= self._allowance:
            if time.monotonic() - since > self._settings.standing_seconds:
                raise overloaded("requests arrive faster than this model answers", "overload")

    def submit(self, request: InferRequest, deadline: float) -> asyncio.Future[Outputs]:
        """Put a request into the queue; the future has its outputs, or a Refused.

        Raises:
            Refused: there is no room for its rows.
        """
        if self.rows and self.rows + request.rows > self._settings.max_queue_rows:
            raise overloaded("too many rows wait for this model", "queue_full")
        # In the model's order, whatever that of the request is.
        key = tuple([request.inputs[name].shape[1:] for name in self._names])
        one = Waiting(request, key, deadline, self._loop.create_future())
        with self._lock:
            self._waiting.append(one)
            self.rows += request.rows
            wake = self._idle > 0
            self._idle -= wake
        if wake:
            self._wake.put(None)
        return one.answer

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

    def _work(self, engine: Engine) -> None:
        while True:
            with self._lock:
                batch = self._take()
                if not batch:
                    if self._closed:
                        return
                    self._idle += 1
            if not batch:
                self._wake.get()
                continue
            started = time.perf_counter()
            answers = _compute(engine, batch)
            seconds = time.perf_counter() - started
            try:
                self._loop.call_soon_threadsafe(self._finish, batch, answers, seconds)
            except RuntimeError:  # the loop was closed meanwhile: nobody waits
                return

    def _finish(self, batch: list[Waiting], answers: list[Outputs | Refused], seconds: float) -> None:
        self._on_batch(sum(one.request.rows for one in batch), seconds)
        for one, answer in zip(batch, answers, strict=True):
            _settle(one, answer)


def _compute(engine: Engine, batch: list[Waiting]) -> list[Outputs | Refused]:
    """The outputs of each request; what an engine refuses is tried alone, so that one input fails for itself only."""
    try:
        return list(_run(engine, batch))
    except Exception as error:
        if len(batch) > 1:
            return [answer for one in batch for answer in _compute(engine, [one])]
        text = " ".join(str(error).split())[:300]
        return [malformed(f"the model could not compute these inputs: {type(error).__name__}: {text}")]


def _run(engine: Engine, batch: list[Waiting]) -> list[Outputs]:
    requests = [one.request for one in batch]
    if len(requests) == 1:
        # An engine reads memory as it lies; bytes behind a text lie anywhere.
        inputs = {name: np.require(array, requirements="CA") for name, array in requests[0].inputs.items()}
    else:
        inputs = {name: np.concatenate([one.inputs[name] for one in requests]) for name in requests[0].inputs}
    outputs = engine(inputs)
    rows = sum(one.rows for one in requests)
    if wrong := [name for name, array in outputs.items() if array.shape[:1] != (rows,)]:
        raise ValueError(f"output {', '.join(wrong)} does not have a row for each of {rows} rows")
    answers, start = [], 0
    for one in requests:
        answers.append({name: array[start : start + one.rows] for name, array in outputs.items()})
        start += one.rows
    return answers


def _settle(one: Waiting, answer: Outputs | Refused) -> None:
    if one.answer.done():
        return
    if isinstance(answer, Refused):
        one.answer.set_exception(answer)
    else:
        one.answer.set_result(answer)


def _too_late() -> Refused:
    return overloaded("not answered within its deadline", "deadline")
