"""The process in which trials run, one after another: Paddle is imported once, and the driver is listened to.

Messages are JSON objects. From the driver, each as one block of bytes: `train` a trial, `stop` what is training, `verdict`
on an evaluation, `leave`. From the worker, several in one block where they come soon after one another: `ready` or
`unable`, then for each trial `started`, `report` after each evaluation, `progress` twice a second, and `done`, `failed`
or `interrupted`.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from oarlock import Experiment, Interrupted, OarlockError, Runner, hookimpl, leave
from oarlock_plugins.sweeps.held import GRACE_SECONDS, hold

PROGRESS_SECONDS = 0.5
# What need not be known at once waits for another message where one was sent less than so long ago.
GATHER_SECONDS = 0.1


class Line:
    """The connection with the driver. A thread listens, so that a stop is heard in the middle of a run.

    Attributes:
        stopping: whether what is training shall be saved and left.
        bare: whether what is training has no folder, as far as is known here.
    """

    def __init__(self, connection: Connection) -> None:
        self.stopping = self.bare = False
        self.run: Any = None
        self._training = False
        self._connection = connection
        self._inbox: queue.Queue[dict[str, Any]] = queue.Queue()
        self._sending = threading.Lock()
        self._waiting: list[dict[str, Any]] = []
        self._sent = 0.0
        signal.signal(signal.SIGTERM, lambda *_: None)  # outside of a run there is nothing to save
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._tell_progress, daemon=True).start()

    def send(self, message: str, **values: Any) -> None:
        """Tell the driver; when it is gone, the run in progress is stopped by the listening thread."""
        with self._sending:
            self._waiting.append({"is": message, **values})
            self._flush()

    def send_soon(self, message: str, **values: Any) -> None:
        """Tell the driver, in half a second at the latest: each message wakes it up, beside the trials."""
        with self._sending:
            self._waiting.append({"is": message, **values})
            if time.monotonic() - self._sent > GATHER_SECONDS:
                self._flush()

    def _flush(self) -> None:
        self._sent, block = time.monotonic(), json.dumps(self._waiting).encode()
        self._waiting.clear()
        with contextlib.suppress(OSError):
            self._connection.send_bytes(block)

    def next(self) -> dict[str, Any]:
        """Wait for the driver."""
        return self._inbox.get()

    @contextlib.contextmanager
    def training(self, bare: bool) -> Iterator[None]:
        # `stopping` may be set already: who asks for the end of a trial may do so just when it begins.
        self._training, self.bare = True, bare
        try:
            yield
        finally:
            self._training, self.stopping, self.bare, self.run = False, False, False, None

    def interrupt(self) -> None:
        """Have the run saved and left after its present step."""
        self.stopping = True
        if self._training:
            os.kill(os.getpid(), signal.SIGTERM)

    def _listen(self) -> None:
        while True:
            try:
                message = json.loads(self._connection.recv_bytes())
            except (EOFError, OSError):
                if self.bare:
                    os._exit(1)  # there is nothing to save, and the next driver begins this trial anew
                self._inbox.put({"do": "leave"})
                self.interrupt()
                time.sleep(GRACE_SECONDS)
                os._exit(1)
            if message["do"] == "stop":
                self.interrupt()
            else:
                self._inbox.put(message)

    def _tell_progress(self) -> None:
        while True:
            time.sleep(PROGRESS_SECONDS)
            run = self.run
            if run is not None:
                self.send("progress", step=run.step, epoch=run.epoch, memory=memory())


class Reporter:
    """What a run tells the driver, through hooks that any plugin has."""

    changes_run = False

    def __init__(self, line: Line, prunes: bool) -> None:
        self._line, self._prunes = line, prunes
        self.outcome: dict[str, Any] | None = None

    @hookimpl
    def on_run_start(self, run):
        self._line.send_soon("started", monitor=run.monitor, directions=run.directions, total_steps=run.total_steps,
                             step=run.step, first_step=run.step)  # fmt: skip
        self._line.run = run
        if self._line.stopping:
            self._line.interrupt()  # the first time was too early for the run to hear it

    @hookimpl
    def on_evaluation_end(self, run, metrics):
        send = self._line.send if self._prunes else self._line.send_soon
        send(
            "report",
            evaluation=len(run.history),
            epoch=run.history[-1]["epoch"],
            step=run.step,
            metrics=run.history[-1],
        )
        if self._prunes:
            answer = self._line.next()
            if answer["do"] == "verdict" and answer["prune"]:
                run.stop(answer["reason"], status="pruned")
            elif answer["do"] == "leave":
                self._prunes = False

    @hookimpl
    def on_run_end(self, run):
        self.outcome = {"status": run.status, "reason": run.stop_reason, "metrics": run.metrics, "best": run.best,
                        "history": run.history, "monitor": run.monitor, "directions": run.directions}  # fmt: skip


def main(descriptor: int) -> NoReturn:
    """Work for the driver at the other end of a socket, in a process that has nothing else to do."""
    work(Connection(descriptor))
    leave(0)


def work(connection: Connection) -> None:
    """Train what comes through a connection until it is closed."""
    line = Line(connection)
    try:
        runner = Runner()
    except OarlockError as error:
        line.send("unable", error=str(error))
        return
    line.send("ready", pid=os.getpid(), host=socket.gethostname())
    while (job := line.next())["do"] == "train":
        reporter = Reporter(line, job["prunes"])
        with written_to(Path(job["log"])), line.training(job["bar"] is not None):
            message, why = _train(runner, job, reporter)
        line.send(message, trial=job["trial"], error=why, outcome=reporter.outcome if message == "done" else None)


def _train(runner: Runner, job: dict[str, Any], reporter: Reporter) -> tuple[str, str]:
    """One trial, begun or taken up where it stands; how it ended, and why it failed."""
    folder, hooks, bar = Path(job["folder"]), [reporter], job["bar"]
    try:
        if (folder / "run.json").is_file():
            runner.resume(folder, hooks)
        else:
            keeps = (lambda run: beyond(run, **bar)) if bar is not None else None
            runner.train(Experiment(**job["experiment"]), folder, hooks, keeps)
    except Interrupted as stop:
        return "interrupted", str(stop)
    except OarlockError as error:
        with _on_a_full_disk():
            print(f"error: {error}", file=sys.stderr)
        return "failed", str(error)
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: the other trials need this process
        with _on_a_full_disk():
            traceback.print_exc()
        return "failed", f"{type(error).__name__}: {error}".strip(": ").splitlines()[0]
    return "done", ""


def beyond(run: Any, name: str, direction: str, value: float | None) -> bool:
    """Whether a run's best weights are better than the worst that has a folder.

    Args:
        run: the run, after its last step.
        name: the metric.
        direction: 'max' or 'min'.
        value: what it must be better than; None where every run gets a folder still.
    """
    if run.status == "pruned":
        return False
    at_best: dict[str, Any] = next((row for row in run.history if run.best and row["step"] == run.best["step"]), {})
    found = run.best["value"] if run.best and run.best["monitor"] == name else at_best.get(name)
    if value is None or found is None:  # a metric of the test is not known yet
        return True
    return bool(found > value if direction == "max" else found < value)


def _on_a_full_disk() -> contextlib.suppress:
    """What a trial's log has no room for is done without: the driver is told how the trial ended, and says it."""
    return contextlib.suppress(OSError)


@contextlib.contextmanager
def written_to(log: Path) -> Iterator[None]:
    """Send what this process prints, and what a library in it prints, to a trial's own log, and hold that."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    before = os.dup(1), os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    hold(1)
    try:
        yield
    finally:
        with _on_a_full_disk():
            sys.stdout.flush()
            sys.stderr.flush()
        for descriptor, kept in zip((1, 2), before, strict=True):
            os.dup2(kept, descriptor)
            os.close(kept)
        if not log.stat().st_size:
            log.unlink()


def memory() -> int:
    """Bytes of memory that this process holds now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
