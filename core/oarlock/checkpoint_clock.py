"""When a run is saved, and the thread that writes what was saved."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from oarlock import checkpoint, snapshot
from oarlock.errors import RunFailed
from oarlock.record import Draft, RunFolder
from oarlock.run import Run

log = logging.getLogger("oarlock")


class CheckpointClock:
    """Decides when to save, and saves after all callbacks of a moment.

    A checkpoint is a copy of the state at once, and written by a thread while training goes on, one after another. The
    first of a run that has no folder yet is made with it, which takes less than the thread would save.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._config = run.config.trainer.checkpoint
        self._saved_at = time.monotonic()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[Path] | None = None

    def __enter__(self) -> CheckpointClock:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._writing is not None and kind is not None:
            error = self._writing.exception()  # what ends the run is another thing, and is the one to report
            if error is not None:
                log.error("a checkpoint could not be written: %s", error)
        self._thread.shutdown()

    def due(self, epoch_ended: bool = False) -> bool:
        run, config = self._run, self._config
        if self._writing is not None and self._writing.done():
            self.settle()
        if run.record is None:
            return False
        if run.checkpoint_requested:
            return True
        if config.every_seconds is not None and time.monotonic() - self._saved_at >= config.every_seconds:
            return True
        if epoch_ended:
            return config.every_epochs is not None and run.epoch % config.every_epochs == 0
        return config.every_steps is not None and run.step % config.every_steps == 0

    def save(self) -> None:
        """Begin to save a checkpoint, when the one before is complete.

        Raises:
            RunFailed: the one before could not be written; the earlier ones are untouched.
            UserError: the run has no folder yet, and none can be made.
        """
        self.settle()
        run = self._run
        if run.record is None:
            return
        run.checkpoint_requested = False
        self._step, files = run.step, snapshot.take(run)
        if isinstance(run.record, Draft):
            path = self._with_folder(run.record, files)
            self._writing = Future()
            self._writing.set_result(path)
        else:
            self._writing = self._thread.submit(self._write, run.record, files)
        self._saved_at = time.monotonic()

    def settle(self) -> None:
        """Wait until what was begun is on the disk.

        Raises:
            RunFailed: it cannot be written; the earlier checkpoints are untouched.
        """
        if self._writing is None:
            return
        writing, self._writing = self._writing, None
        try:
            path = writing.result()
        except OSError as error:
            raise RunFailed(f"the checkpoint of step {self._step} cannot be written: {error.strerror}") from error
        if self._run.hook_stream is not None:
            self._run.hook_stream.leave()  # when this happens is the clock's affair
        self._run.hook.on_checkpoint(run=self._run, path=path)
        self._run.pauses += 1

    def _with_folder(self, draft: Draft, files: dict[str, bytes]) -> Path:
        path = Path(checkpoint.FOLDER, checkpoint.name_of(self._step))
        inside = {str(path / name): content for name, content in checkpoint.with_manifest(files).items()}
        self._run.record = folder = draft.on_disk(inside)
        return folder.path / path

    def _write(self, record: RunFolder, files: dict[str, bytes]) -> Path:
        record.sync_metrics()
        return checkpoint.write(record.path / checkpoint.FOLDER, self._step, files, self._config.keep)
