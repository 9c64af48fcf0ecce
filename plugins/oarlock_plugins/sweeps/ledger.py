"""The record of a sweep: every trial's overrides, attempts, evaluations and end, as lines that are only ever added.

Each line is a JSON object whose last key, `sum`, is the CRC-32 of the text before it. A line that was torn by a crash
is cut off when the ledger is opened again; what it said is found again in the trial's own folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oarlock import RunFailed, UserError

LEDGER = "ledger.jsonl"
SYNC_SECONDS = 0.1
# How a trial can have ended for good.
FINISHED = ("completed", "early_stopped", "pruned")
ENDED = (*FINISHED, "failed")


@dataclass
class Trial:
    """One run of a sweep.

    Attributes:
        number: counts the runs; it names the folder.
        point: which combination of values; several trials share one when seeds are repeated.
        values: the value of each parameter, as it is written.
        params: the same for the sampler: numbers as numbers.
        extra: overrides of the sweep's own: the seed of a repetition.
        overrides: all that is typed after `oarlock train` for the same run.
        folder: relative to the sweep's.
        status: waiting, running, interrupted, completed, early_stopped, pruned or failed.
        attempts: how often it was begun, counting from the last one that a stop of the sweep cut short.
        reports: the objective of each evaluation, by the evaluation's number.
        metrics: those of the best weights, and those of the test.
        objective: its value for each objective; None where it has none.
        error: why it failed; ''.
        seconds: how long its last attempt took.
        epochs: how many epochs were trained.
    """

    number: int
    point: int
    values: dict[str, str]
    params: dict[str, Any]
    extra: list[str]
    overrides: list[str]
    folder: str
    status: str = "waiting"
    attempts: int = 0
    reports: dict[int, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    objective: list[float] | None = None
    error: str = ""
    seconds: float = 0.0
    epochs: int = 0


class Ledger:
    """The ledger of a sweep, replayed; one process at a time may hold it.

    Attributes:
        sweep: what the sweep is, as it was begun; empty for a new one.
        objectives: `[name, direction]` of each objective, once a run has said which metrics there are.
        trials: by number.
        counts: how many trials there are of each status.
        damaged: how many lines could not be read and were left out.

    Raises:
        UserError: another process holds it, or it cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LEDGER
        self.sweep: dict[str, Any] = {}
        self.objectives: list[list[str]] = []
        self.trials: dict[int, Trial] = {}
        self.counts: Counter[str] = Counter()
        self.damaged = 0
        try:
            self._file = self.path.open("a+b")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.seek(0)
            content = self._file.read()
        except BlockingIOError as error:
            self._file.close()
            raise UserError(f"{folder}: another process is working on this sweep.") from error
        except OSError as error:
            raise UserError(f"{self.path} cannot be written: {error.strerror}.") from error
        events, self.damaged, good = read(content)
        if good < len(content):
            self._file.truncate(good)
        self._due = False
        self._synced = time.monotonic()
        for event in events:
            apply(event, self)

    def write(self, event: str, *, sync: bool = False, **values: Any) -> None:
        """Add a line, which outlives this process. With `sync` it soon outlives the machine too: see `settle`."""
        record = {"event": event, **finite(values)}
        with written(self.path):
            self._file.write(seal(record))
            self._file.flush()
        self._due = self._due or sync
        apply(record, self)

    def settle(self) -> None:
        """Bring to the disk what asked for it, some times a second at most: a disk takes as long as a short trial."""
        if self._due and time.monotonic() - self._synced >= SYNC_SECONDS:
            self._sync()

    def _sync(self) -> None:
        with written(self.path):
            os.fsync(self._file.fileno())
        self._due, self._synced = False, time.monotonic()

    def close(self) -> None:
        if self._due:
            self._sync()
        with written(self.path):
            self._file.close()


@contextlib.contextmanager
def written(path: Path) -> Iterator[None]:
    """While open, a disk that takes no more ends the sweep, before all that is left of it has failed of the same.

    Raises:
        RunFailed: a file of the sweep cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise RunFailed(f"{path} cannot be written: {error.strerror}.\n"
                        "When it can, 'oarlock resume' goes on with the sweep.") from error  # fmt: skip


def apply(event: dict[str, Any], to: Any) -> None:
    """Bring a state (`sweep`, `objectives`, `trials`, `counts`) to what it is after an event."""
    kind = event["event"]
    if kind == "sweep":
        to.sweep = {key: value for key, value in event.items() if key != "event"}
    elif kind == "objectives":
        to.objectives = event["objectives"]
    elif kind == "trial":
        fields = ("number", "point", "values", "params", "extra", "overrides", "folder")
        trial = to.trials[event["number"]] = Trial(**{name: event[name] for name in fields})
        to.counts[trial.status] += 1
    else:
        trial = to.trials.get(event["number"])
        if trial is None:
            return  # its line was damaged; its folder is looked at when the sweep goes on
        before = trial.status
        if kind == "attempt":
            trial.status, trial.attempts, trial.error = "running", event["attempt"], ""
        elif kind == "report":
            if event["value"] is not None:  # it was not finite
                trial.reports[event["evaluation"]] = event["value"]
        elif kind == "end":
            trial.status, trial.error, trial.seconds = event["status"], event["error"], event["seconds"]
            trial.metrics, trial.objective, trial.epochs = event["metrics"], event["objective"], event["epochs"]
        elif kind == "again":
            trial.status, trial.attempts = "waiting", event["attempts"]
        to.counts[before] -= 1
        to.counts[trial.status] += 1


def seal(record: dict[str, Any]) -> bytes:
    """A record as a line with its checksum."""
    text = json.dumps(record, separators=(",", ":"), allow_nan=False)[:-1]
    return f'{text},"sum":"{zlib.crc32(text.encode()):08x}"}}\n'.encode()


def unseal(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None where it is not what was written."""
    text, separator, check = line.rpartition(b',"sum":"')
    if not separator or check != f'{zlib.crc32(text):08x}"}}\n'.encode():
        return None
    record = json.loads(text + b"}")
    return record if isinstance(record, dict) else None


def read(content: bytes) -> tuple[list[dict[str, Any]], int, int]:
    """The records of a ledger, how many lines are damaged, and how many bytes there are up to the last good one."""
    events, damaged, good, position = [], 0, 0, 0
    for line in content.splitlines(keepends=True):
        position += len(line)
        event = unseal(line)
        if event is None:
            damaged += 1
            # Where it is the line's end that is damaged, the next line is joined to it and whole.
            event = unseal(line[max(0, line.rfind(b'{"event":')) :])
        if event is not None:
            events.append(event)
            good = position
    return events, damaged, good


def finite(value: Any) -> Any:
    """The value with infinities and NaN as None, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(child) for child in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Replay:
    """A ledger that is only read, as a report does while the sweep goes on.

    Raises:
        UserError: there is none.
    """

    def __init__(self, folder: Path) -> None:
        self.sweep: dict[str, Any] = {}
        self.objectives: list[list[str]] = []
        self.trials: dict[int, Trial] = {}
        self.counts: Counter[str] = Counter()
        try:
            events, self.damaged, _ = read((folder / LEDGER).read_bytes())
        except OSError as error:
            raise UserError(f"{folder / LEDGER} cannot be read: {error.strerror}.") from error
        for event in events:
            apply(event, self)
