"""How far a prediction is, on stderr: in place on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time


class Progress:
    """Says how many rows are done, how fast, and how much of the input that is."""

    def __init__(self, rows: int) -> None:
        self._tty = sys.stderr.isatty()
        self._began = self._said = time.monotonic()
        self._from = rows

    def update(self, rows: int, fraction: float) -> None:
        now = time.monotonic()
        if now - self._said < (0.2 if self._tty else 10):
            return
        self._said = now
        rate = (rows - self._from) / max(now - self._began, 1e-9)
        line = f"{rows:,} rows, {rate:,.0f} a second, {fraction:.0%}"
        print(f"\r{line:<60}" if self._tty else line, end="" if self._tty else "\n", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._tty:
            print(f"\r{'':<60}\r", end="", file=sys.stderr, flush=True)
