"""Lines on standard error, each of them one JSON object or one line of text, written by a thread of its own.

Whoever reads them may be slow; a request never waits for it. What does not fit into the queue is counted.
"""

from __future__ import annotations

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


class Log:
    """Call it to write a line: `log("warning", "version_refused", model="digits", version=4, error="…")`."""

    def __init__(self, form: str = "json", stream: TextIO | None = None) -> None:
        self._form, self._stream = form, stream or sys.stderr
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue(_ROOM)
        self._second = 0
        self._seen: dict[tuple[str, Any], int] = {}
        self._left_out: dict[tuple[str, Any], int] = {}
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def __call__(self, level: str, event: str, **fields: Any) -> None:
        now, kind = time.time(), (event, fields.get("status"))
        if int(now) != self._second:
            self._second, self._seen = int(now), {}
        seen = self._seen[kind] = self._seen.get(kind, 0) + 1
        if seen > _BURST:
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return
        line = {"time": now, "level": level, "event": event, **fields}
        if left_out := self._left_out.pop(kind, 0):
            line["left_out"] = left_out
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._left_out[kind] = left_out + 1

    def close(self) -> None:
        """Write what is left, if somebody reads it."""
        try:
            self._lines.put(None, timeout=1)
        except queue.Full:
            return
        self._thread.join(1)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(self._text(line))
                self._stream.flush()
            except (OSError, ValueError):  # nobody reads any more; the server serves on
                continue

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
