"""The folder of a run: who made it, with what, and every evaluation. It appears whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from oarlock.errors import UserError, shown_path, warn
from oarlock.sealed import is_sealed, scratch_folder, sync_folder, write_all, write_atomically
from oarlock.selection import with_flags

CONFIG, RUN, METRICS, LOG = "config.yaml", "run.json", "metrics.jsonl", "train.log"


class RunFolder:
    """An existing run folder, with its record read."""

    def __init__(self, path: Path) -> None:
        self.path = self.wanted = path.absolute()
        self._metrics: TextIO | None = None
        self._held = contextlib.ExitStack()
        try:
            self.record: dict[str, Any] = json.loads((path / RUN).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UserError(f"{path}: not a run's folder (it has no {RUN}).{_near(path)}") from error
        except (ValueError, OSError) as error:
            raise UserError(f"{path / RUN} cannot be read: {error}") from error
        if not _is_record(self.record):
            raise UserError(f"{path / RUN} is not the record of a run.")

    @classmethod
    def create(
        cls, path: Path, config: str, record: dict[str, Any], *, number: bool, inside: dict[str, bytes] | None = None
    ) -> RunFolder:
        """Make the folder with its record inside, in one rename, so that two runs can never share it.

        Args:
            path: where it should be.
            config: the text of config.yaml.
            record: the content of run.json.
            number: choose `path-2`, `path-3`, … where `path` is taken; otherwise that is an error.
            inside: what else shall be in it, by the paths of the files.

        Raises:
            UserError: the path is taken or cannot be written.
        """
        path = path.absolute()
        if path.resolve() == Path.cwd():
            raise UserError(f"{path}: the folder that you are in cannot become the run's; name one inside it.")
        try:
            with scratch_folder(path.parent, path.name) as scratch:
                text = json.dumps(record, indent=2) + "\n"
                files = {CONFIG: config.encode(), RUN: text.encode(), METRICS: b"", **(inside or {})}
                folders = sorted({folder for name in files for folder in Path(name).parents})
                for folder in folders[1:]:  # the first is the run's own
                    (scratch / folder).mkdir()
                write_all(scratch, files)
                for folder in folders:
                    sync_folder(scratch / folder)
                return cls(_named(scratch, path, number))
        except OSError as error:
            raise UserError(f"{path}: the run's folder cannot be made: {error.strerror}.") from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run against a second process.

        Raises:
            UserError: another process holds it, or it cannot be held, as on a disk that is read-only; or it is a part of
                a sealed folder, a bundle for instance.
        """
        shown = shown_path(self.path)
        if is_sealed(self.path):
            raise UserError(f"{shown}: the folder that it is in is sealed, and would be damaged.\n"
                            f"Resume a copy of it, or begin another run with trainer.init_from={shown}.")  # fmt: skip
        try:
            file = (self.path / ".lock").open("w")
        except OSError as error:
            raise UserError(f"{shown}: the run cannot be written: {error.strerror}.") from error
        with file:
            try:
                # A record lock belongs to this process; a loader process that outlives it must not inherit it.
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                held = error.errno in (errno.EAGAIN, errno.EACCES)
                why = "another process is working on this run" if held else f"it cannot be locked: {error.strerror}"
                raise UserError(f"{shown}: {why}.") from error
            try:
                yield
            finally:
                self.close()

    def hold(self) -> None:
        """Hold the run against a second process until it is closed; raises what `locked` does."""
        self._held.enter_context(self.locked())

    def close(self) -> None:
        """Close metrics.jsonl, and let go of the run."""
        held, self._held = self._held, contextlib.ExitStack()
        held.close()
        if self._metrics is not None:
            with contextlib.suppress(OSError):  # a full disk was reported when the line was written
                self._metrics.close()
            self._metrics = None

    def on_disk(self) -> RunFolder:
        return self

    def note(self, **values: Any) -> None:
        """Change the record, on the disk with the next `update`."""
        self.record.update(values)

    def update(self, **values: Any) -> None:
        """Change the record on the disk, atomically."""
        self.record.update(values)
        write_atomically(self.path / RUN, json.dumps(finite(self.record), indent=2) + "\n")

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add a line to metrics.jsonl; its numbers are finite."""
        if self._metrics is None:
            self._metrics = (self.path / METRICS).open("a", encoding="utf-8", buffering=1)
        self._metrics.write(json.dumps(row) + "\n")

    def sync_metrics(self) -> None:
        """Bring the written lines to the disk; a checkpoint that counts them comes after."""
        if self._metrics is not None:
            os.fsync(self._metrics.fileno())

    def read_metrics(self) -> list[dict[str, Any]]:
        """The evaluations so far; a torn last line is left out, and there are none where the file is gone."""
        rows: list[dict[str, Any]] = []
        try:
            text = (self.path / METRICS).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return rows
        for line in text.splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    def truncate_metrics(self, rows: int) -> list[dict[str, Any]]:
        """Keep the first `rows` lines, and return them; nothing depends on those that are lost."""
        kept = self.read_metrics()[:rows]
        if len(kept) < rows:
            warn(f"{shown_path(self.path / METRICS)}: {rows} evaluations were recorded, {len(kept)} are there; "
                 "the run goes on without the others")  # fmt: skip
        write_atomically(self.path / METRICS, "".join(json.dumps(row) + "\n" for row in kept))
        return kept


class Draft:
    """The record of a run that has no folder until there is something to keep: a checkpoint, or a failure.

    Args:
        path: where the folder will be.
        config: makes the text of config.yaml.
        record: the content of run.json.
    """

    path = None

    def __init__(self, path: Path, config: Callable[[], str], record: dict[str, Any]) -> None:
        self.record = record
        self.wanted, self._config, self._rows = path.absolute(), config, list[dict[str, Any]]()

    def note(self, **values: Any) -> None:
        """Change the record."""
        self.record.update(values)

    update = note

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Note an evaluation."""
        self._rows.append(row)

    def close(self) -> None:
        """Nothing is open."""

    def on_disk(self, inside: dict[str, bytes] | None = None) -> RunFolder:
        """Make the folder, with all that was noted, and hold it.

        Args:
            inside: what else shall be in it, by the paths of the files.

        Raises:
            UserError: the path is taken or cannot be written.
        """
        rows = "".join(json.dumps(row) + "\n" for row in self._rows)
        files = {METRICS: rows.encode(), **(inside or {})}
        made = RunFolder.create(self.wanted, self._config(), finite(self.record), number=False, inside=files)
        made.hold()
        return made


def _named(scratch: Path, path: Path, number: bool) -> Path:
    """Give a folder its name, or one with a number behind it.

    Raises:
        UserError: it is taken.
    """
    for attempt in range(1, 10_000):
        target = path if attempt == 1 else path.with_name(f"{path.name}-{attempt}")
        try:
            # Renaming onto a folder that is not empty fails: this is the lock between two runs.
            scratch.rename(target)
        except OSError as error:
            if number:
                continue
            shown = shown_path(path)
            raise UserError(f"{shown} exists already.\n"
                            f"Continue it with '{with_flags('resume', shown)}', or choose another hydra.run.dir.") from error  # fmt: skip
        sync_folder(target.parent)
        return target
    raise UserError(f"{path}: ten thousand runs have this name; choose another hydra.run.dir.")


def _is_record(record: Any) -> bool:
    """Whether it has what is read of every run."""
    kinds = {"status": str, "components": dict, "versions": dict, "times": dict, "total_steps": int | None}
    return (
        isinstance(record, dict)
        and all(key in record and isinstance(record[key], kind) for key, kind in kinds.items())
        and all(isinstance(part, dict) and {"component", "distribution", "version"} <= set(part)
                for part in record["components"].values())
    )  # fmt: skip


def finite(value: Any) -> Any:
    """The value with infinities and NaN as None, so that any JSON reader takes it."""
    if isinstance(value, dict):
        return {key: finite(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(child) for child in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _near(path: Path) -> str:
    """The newest run below a folder that is not one itself."""
    runs = sorted(path.glob("**/" + RUN), key=lambda file: file.stat().st_mtime) if path.is_dir() else []
    return f" The newest run in it is {shown_path(runs[-1].parent)}." if runs else ""
