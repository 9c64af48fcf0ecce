"""Signals only set a flag; the loop looks at it where its state can be saved."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from oarlock.errors import Exit


def stop_signals() -> tuple[signal.Signals, ...]:
    """Those that ask a process to save and end: a scheduler's, Ctrl-C, and a terminal's that closes, but not under `nohup`."""
    hang_up = (signal.SIGHUP,) if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL else ()
    return (signal.SIGTERM, signal.SIGINT, *hang_up)


class Signals:
    """While open, `stop_signals` and SIGUSR1 are noted in `received`; a second SIGINT ends the process at once.

    Args:
        last: the process ends with this run, so no signal may change its exit code any more: they stay ignored.
    """

    def __init__(self, last: bool = False) -> None:
        self._last = last
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        # Python delivers signals to the main thread only; elsewhere there is nothing to watch.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (*stop_signals(), signal.SIGUSR1)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_IGN if self._last else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received is not None:
            os._exit(Exit.INTERRUPTED)
        self.received = signal.Signals(number)
