"""Where a prediction stands: a small file that is replaced whole, so that a kill at any moment loses no row.

.FILE.partial/journal.json    what is predicted, and how far it is on the disk
.FILE.partial/output…         the answers so far, and a little more
.FILE.partial/errors.csv      the faulty rows so far, and a little more
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import hashlib
import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from oarlock import UserError, shown_path, write_atomically
from oarlock_plugins.service.predict.sinks import GrowingFile, Sink

JOURNAL = "journal.json"


class Journal:
    """The record of a prediction and its unfinished files.

    Attributes:
        progress: `file`, `position` in it, its `rows` and `lines` so far, and `total` and `faulty` rows of all files.
    """

    def __init__(self, target: Path, folder: Path, sink: Sink, job: Mapping[str, Any]) -> None:
        self._target, self.folder, self._sink, self._job = target, folder, sink, job
        self._errors = GrowingFile(folder / "errors.csv")
        self.progress = {"file": 0, "position": 0, "rows": 0, "lines": 0, "total": 0, "faulty": 0}
        self.finished, self._whole = False, ""

    def begin(self) -> bool:
        """Go on where an earlier process stopped; returns whether there was one.

        Raises:
            UserError: what it predicted was something else.
        """
        try:
            written = json.loads((self.folder / JOURNAL).read_text(encoding="utf-8"))
        except FileNotFoundError:
            self._sink.begin(None)
            self._errors.begin(None, b"file,row,reason\n")
            self.save()
            return False
        except ValueError as error:
            raise UserError(f"{shown_path(self.folder / JOURNAL)} cannot be read.\n{self._anew()}") from error
        if difference := changed(written["job"], self._job):
            raise UserError(
                f"{shown_path(self._target)} was begun before, and {difference} since then.\n{self._anew()}"
            )
        self.progress, self.finished = written["progress"], written["finished"]
        if self.finished:
            self._whole = written["whole"]
        else:
            self._sink.begin(written["output"])
            self._errors.begin(written["errors"])
        return True

    def add(self, encoded: Any, faults: Sequence[tuple[str, int, str]]) -> None:
        """Take in a block."""
        self._sink.write(encoded)
        if faults:
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(faults)
            self._errors.write(text.getvalue().encode("utf-8", "replace"))

    def save(self) -> None:
        """Bring what was taken in to the disk, and only then say so."""
        self._write({"output": self._sink.sync(), "errors": self._errors.sync()})

    def finish(self) -> None:
        """Give the files their names, the answers last; a kill in between is made up for by the next call.

        Raises:
            UserError: they had their names already, and somebody has taken the answers away.
        """
        if not self.finished:
            # It keeps its name until the journal says that it is whole: else a kill in between would leave a journal
            # that knows where to go on, and nothing to go on with.
            self._whole = self._sink.finish().name
            self._errors.sync()
            self._errors.close()
            self.finished = True
            self._write({"whole": self._whole})
        with contextlib.suppress(FileNotFoundError):  # renamed before the kill
            if self.progress["faulty"]:
                (self.folder / "errors.csv").rename(errors_path(self._target))
        with contextlib.suppress(FileNotFoundError):
            (self.folder / self._whole).rename(self._target)
        if not self._target.exists():
            raise UserError(f"{shown_path(self._target)} was finished before, and is gone since then.\n{self._anew()}")
        for path in self.folder.iterdir():
            if path.name != JOURNAL:
                path.unlink()
        shutil.rmtree(self.folder)

    def _write(self, sizes: Mapping[str, Any]) -> None:
        record = {"job": self._job, "progress": self.progress, "finished": self.finished, **sizes}
        write_atomically(self.folder / JOURNAL, json.dumps(record) + "\n")

    def _anew(self) -> str:
        return f"Remove {shown_path(self.folder)} to begin anew, or name another --output."


def describe_job(bundle: Path, inputs: Sequence[Path], options: Mapping[str, Any]) -> dict[str, Any]:
    """What an output depends on; as JSON gives it back."""
    files = [[str(path.absolute()), path.stat().st_size, path.stat().st_mtime_ns] for path in inputs]
    manifest = hashlib.sha256((bundle / "MANIFEST.json").read_bytes()).hexdigest()
    described: dict[str, Any] = json.loads(json.dumps({"bundle": manifest, "inputs": files, "options": options}))
    return described


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What makes two jobs different, in words; '' where nothing does."""
    if before["bundle"] != now["bundle"]:
        return "the bundle has changed"
    if [name for name, *_ in before["inputs"]] != [name for name, *_ in now["inputs"]]:
        return "other input files are named"
    for old, new in zip(before["inputs"], now["inputs"], strict=True):
        if old != new:
            return f"{shown_path(Path(new[0]))} has changed"
    for name, value in now["options"].items():
        if before["options"].get(name) != value:
            return f"{name} has changed from {before['options'].get(name)} to {value}"
    return ""


def partial_folder(target: Path) -> Path:
    """Where the answers grow until they are whole."""
    return target.with_name(f".{target.name}.partial")


@contextlib.contextmanager
def working_folder(target: Path) -> Iterator[Path]:
    """The folder beside the output, held against a second process.

    Raises:
        UserError: the output is there already, another process makes it, or the folder cannot be made.
    """
    folder = partial_folder(target)
    if not (folder / JOURNAL).exists():
        for path in (target, errors_path(target)):
            if path.exists():
                raise UserError(f"--output {target}: {shown_path(path)} exists already.\n"
                                "Remove it, or name another --output.")  # fmt: skip
    try:
        folder.mkdir(exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        reason = "there is no such folder" if isinstance(error, FileNotFoundError) else error.strerror
        raise UserError(f"--output {target}: cannot be written: {reason}.") from error
    with lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"--output {target}: another process is predicting into it.") from error
        yield folder


def errors_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.errors.csv")
