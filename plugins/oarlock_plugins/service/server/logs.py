"""Lines on standard error, each of them one JSON object or one line of text, written by a thread of its own.

Whoever reads them may be slow; a request never waits for it. What does not fit into the queue is counted.
"""

from __future__ import annotations

import collections
import datetime
import logging
import queue
import sys
import threading
import time
from typing import Any, TextIO

import orjson

FORMS = ("json", "text")
_ROOM = 10_000
# Of one kind in a second: errors that somebody provokes by the thousand must not fill a disk.
_BURST = 50

Kind = tuple[str, str, Any]  # level, event and status


class Log:
    """Call it to write a line: `log("warning", "version_refused", model="digits", version=4, error="…")`."""

    def __init__(self, form: str = "json", stream: TextIO | None = None) -> None:
        self._form, self._stream = form, stream or sys.stderr
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue(_ROOM)
        self._second = 0
        self._seen: collections.Counter[Kind] = collections.Counter()
        self._left_out: collections.Counter[Kind] = collections.Counter()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def __call__(self, level: str, event: str, **fields: Any) -> None:
        now, kind = time.time(), (level, event, fields.get("status"))
        with self._lock:
            if int(now) != self._second:
                self._begin_second(now)
            self._seen[kind] += 1
            if self._seen[kind] > _BURST or not self._put({"time": now, "level": level, "event": event, **fields}):
                self._left_out[kind] += 1

    def _begin_second(self, now: float) -> None:
        """Count anew, and write how many were left out; with the lock held."""
        self._second = int(now)
        self._seen.clear()
        for (level, event, status), count in list(self._left_out.items()):
            of_status = {} if status is None else {"status": status}
            if self._put({"time": now, "level": level, "event": event, **of_status, "left_out": count}):
                del self._left_out[level, event, status]

    def _put(self, line: dict[str, Any]) -> bool:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """Write what is left, if somebody reads it."""
        with self._lock:
            self._begin_second(time.time())
        try:
            self._lines.put(None, timeout=1)
        except queue.Full:
            return
        self._thread.join(1)

    def _write(self) -> None:
        while True:
            try:
                line = self._lines.get(timeout=1)
            except queue.Empty:
                self._end_second()
                continue
            if line is None:
                return
            try:
                self._stream.write(self._text(line))
                self._stream.flush()
            except (OSError, ValueError):  # nobody reads any more; the server serves on
                continue

    def _end_second(self) -> None:
        """Where no other line does."""
        now = time.time()
        with self._lock:
            if int(now) != self._second:
                self._begin_second(now)

    def _text(self, line: dict[str, Any]) -> str:
        moment = datetime.datetime.fromtimestamp(line.pop("time"), datetime.timezone.utc)
        stamp = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if self._form == "json":
            return orjson.dumps({"time": stamp, **line}, default=str).decode() + "\n"
        rest = " ".join(f"{key}={orjson.dumps(value, default=str).decode()}" for key, value in line.items()
                        if key not in ("level", "event"))  # fmt: skip
        return f"{stamp} {line['level']:7} {line['event']} {rest}\n"


class ToLog(logging.Handler):
    """What libraries log, in the same lines; of an exception, what it says and where, without a traceback."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        more = {"error": where(error)} if error is not None else {}
        self._log(record.levelname.lower(), "library", logger=record.name, message=record.getMessage().strip(), **more)


def where(error: BaseException) -> str:
    """An error in one line, with the place that raised it."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        code = trace.tb_frame.f_code
        place, trace = f" at {code.co_filename}:{trace.tb_lineno}", trace.tb_next
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{place}"
