"""A built run, trained to its end, with how it ended in its record and what was logged in its train.log."""

from __future__ import annotations

import contextlib
import logging
import time
import traceback
from collections.abc import Iterator
from typing import TextIO

from oarlock.errors import RunFailed, UserError, one_line, raised_at, shown_path
from oarlock.record import LOG
from oarlock.run import Run
from oarlock.signals import Signals
from oarlock.training import Interrupted, train

log = logging.getLogger("oarlock")


def execute(run: Run, signals: Signals) -> None:
    """Train a built run, recorded as running, to its end, and record how it ended.

    Raises:
        Interrupted: a signal came.
        RunFailed: anything else that was raised.
    """
    with _logged(run):
        try:
            train(run, signals)
            run.hook.on_run_end(run=run)
            _record_end(run, run.status, run.stop_reason)
        except Interrupted as stop:
            run.status = "interrupted"
            _record_end(run, "interrupted", str(stop))
            try:
                run.hook.on_run_end(run=run)
            except Exception:
                log.exception("on_run_end raised")
            raise
        except (Exception, SystemExit) as error:  # a component that exits is one that fails
            reason = f"{type(error).__name__}: {one_line(error)}"
            where = f"epoch {run.epoch + 1}, step {run.step}"
            log.error("failed at %s: %s\n%s", where, reason, traceback.format_exc())
            run.status = "failed"
            with contextlib.suppress(OSError, UserError):  # a full disk must not hide the reason itself
                run.on_disk()
                _record_end(run, "failed", f"{where}: {reason}")
            try:
                run.hook.on_failure(run=run, error=error)
            except Exception:
                log.exception("on_failure raised")  # the first error is the one to report
            if isinstance(error, (RunFailed, UserError)):
                raise
            raise RunFailed(
                f"{reason} (at {where}){raised_at(error)}; traceback: {shown_path(run.record.wanted / LOG)}"  # type: ignore[union-attr]
            ) from error


def _record_end(run: Run, status: str, reason: str) -> None:
    assert run.record is not None
    now, times = time.time(), run.record.record["times"]
    # Of a run that was resumed, the seconds of all parts that came to an end of some kind.
    times = {**times, "ended": now, "seconds": round(times.get("seconds", 0.0) + now - times["started"], 3)}
    run.record.update(status=status, reason=reason, metrics=run.metrics, best=run.best, step=run.step, times=times)


class RunLog(logging.Handler):
    """Writes to train.log in the run's folder, as soon as it has one."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run, self._waiting = run, list[str]()
        self._file: TextIO | None = None
        self._second, self._stamp = -1, ""

    def emit(self, record: logging.LogRecord) -> None:
        self._waiting.append(self.format(record) + "\n")
        self.flush()

    def line(self, text: str) -> None:
        """Write what `log.info` would; to make a record of each evaluation takes as long as a small step."""
        if log.handlers != [self] or log.filters or not log.isEnabledFor(logging.INFO):
            log.info("%s", text)
            return
        now = time.time()
        if int(now) != self._second:
            self._second = int(now)
            self._stamp = time.strftime(logging.Formatter.default_time_format, time.localtime(now))
        self.acquire()
        try:
            self._waiting.append(f"{self._stamp},{int(now % 1 * 1000):03d} INFO {log.name}: {text}\n")
            self.flush()
        finally:
            self.release()

    def flush(self) -> None:
        folder = self._run.record.path if self._run.record is not None else None
        if folder is None or not self._waiting:
            return
        try:
            if self._file is None:
                self._file = (folder / LOG).open("a", encoding="utf-8", buffering=1)
            self._file.write("".join(self._waiting))
        except OSError:  # the disk is full: the run itself will say so, or go on without its log
            return
        self._waiting.clear()

    def close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        super().close()


@contextlib.contextmanager
def _logged(run: Run) -> Iterator[None]:
    """Write what oarlock and the components log to the run's train.log."""
    handler = RunLog(run)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    level, propagate = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    run.log_line = handler.line
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate
        handler.flush()
        handler.close()
