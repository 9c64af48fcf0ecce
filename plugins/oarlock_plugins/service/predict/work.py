"""The work: one thread cuts files into blocks and writes answers in order, the others parse, compute and encode."""

from __future__ import annotations

import os
import queue
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from oarlock import Exit, RunFailed, stop_signals
from oarlock_plugins.service.bundle import TensorSpec
from oarlock_plugins.service.engines import Engine
from oarlock_plugins.service.predict.answers import answer
from oarlock_plugins.service.predict.journal import Journal
from oarlock_plugins.service.predict.progress import Progress
from oarlock_plugins.service.predict.rows import Parsed
from oarlock_plugins.service.predict.sinks import Sink
from oarlock_plugins.service.predict.sources import Source

SAVE_EVERY = 2.0


class Stopped(Exception):
    """A signal came; what was done is saved."""


def predict(
    journal: Journal,
    sink: Sink,
    files: Sequence[tuple[Path, Source]],
    engines: Sequence[Engine],
    outputs: Sequence[TensorSpec],
    batch_rows: int,
) -> None:
    """Answer all rows that the journal does not have yet; one worker for each engine.

    Raises:
        Stopped: by one of `stop_signals`.
    """
    idle: queue.SimpleQueue[Engine] = queue.SimpleQueue()
    for engine in engines:
        idle.put(engine)

    def work(source: Source, block: Any) -> tuple[Parsed, Any]:
        parsed = source.parse(block)
        engine = idle.get()
        try:
            answers = answer(engine, parsed, outputs, batch_rows)
        finally:
            idle.put(engine)
        parsed.inputs = {}
        return parsed, sink.encode(answers)

    weights = [path.stat().st_size for path, _ in files]
    progress = Progress(journal.progress["total"])
    saved = time.monotonic()
    pool = ThreadPoolExecutor(len(engines), "predict")
    try:
        with stop_requested() as requested:
            for place, position, done in _in_order(pool, work, files, journal, len(engines)):
                path, source = files[place]
                _take_in(journal, place, path, source, position, *_result(done, path, journal))
                if requested():
                    journal.save()
                    raise Stopped(requested())
                if time.monotonic() - saved > SAVE_EVERY:
                    journal.save()
                    saved = time.monotonic()
                read = sum(weights[:place]) + weights[place] * source.fraction(position)
                progress.update(journal.progress["total"], read / max(1, sum(weights)))
            journal.save()
    finally:
        progress.close()
        pool.shutdown(cancel_futures=True)


def _in_order(
    pool: ThreadPoolExecutor,
    work: Callable[..., Any],
    files: Sequence[tuple[Path, Source]],
    journal: Journal,
    workers: int,
) -> Iterator[tuple[int, int, Future[Any]]]:
    """All blocks that are left, in the order of the rows; no more are under way than keep all workers busy."""
    waiting: deque[tuple[int, int, Future[Any]]] = deque()
    first, position = journal.progress["file"], journal.progress["position"]
    for place in range(first, len(files)):
        _, source = files[place]
        for block, end in source.blocks(position if place == first else 0):
            waiting.append((place, end, pool.submit(work, source, block)))
            if len(waiting) > workers + 1:
                yield waiting.popleft()
    while waiting:
        yield waiting.popleft()


def _result(done: Future[Any], path: Path, journal: Journal) -> tuple[Parsed, Any]:
    """A block's rows and encoded answers.

    Raises:
        RunFailed: they could not be computed.
    """
    try:
        result: tuple[Parsed, Any] = done.result()
    except Exception as error:  # whatever an engine raises
        said = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise RunFailed(f"{path}, in the block behind row {journal.progress['rows']:,}: {said}") from error
    return result


def _take_in(
    journal: Journal, place: int, path: Path, source: Source, position: int, parsed: Parsed, encoded: Any
) -> None:
    progress = journal.progress
    if progress["file"] != place:
        progress.update(file=place, rows=0, lines=0)
    faults = []
    for row, text in sorted(parsed.faults.items()):
        if source.first_line is not None:
            text = f"line {source.first_line + progress['lines'] + parsed.line_of[row]}: {text}"
        faults.append((str(path), progress["rows"] + row + 1, text))
    journal.add(encoded, faults)
    progress.update(
        position=position,
        rows=progress["rows"] + parsed.rows,
        lines=progress["lines"] + parsed.lines,
        total=progress["total"] + parsed.rows,
        faulty=progress["faulty"] + len(parsed.faults),
    )


@contextmanager
def stop_requested() -> Iterator[Callable[[], str]]:
    """While open, `stop_signals` only leave their name; a second SIGINT ends the process at once."""
    received: list[str] = []

    def note(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and received:
            os._exit(Exit.INTERRUPTED)
        received.append(signal.Signals(number).name)

    before = {number: signal.signal(number, note) for number in stop_signals()}
    try:
        yield lambda: received[0] if received else ""
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
