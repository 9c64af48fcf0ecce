"""Files of answers: which kinds there are, and what all of them can do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from oarlock import UserError
from oarlock_plugins.service.bundle import Bundle, TensorSpec
from oarlock_plugins.service.predict.answers import Answers

SUFFIXES = (".npy", ".npz", ".csv", ".parquet")


class Sink(Protocol):
    """A file of answers that grows in a folder, can be cut back to what was synced, and is finished in the end."""

    def encode(self, answers: Answers) -> Any:
        """A block's answers as they will be written; may be called by several threads."""

    def begin(self, state: Any) -> None:
        """Go on from what `sync` returned, or from nothing with None."""

    def write(self, encoded: Any) -> None:
        """Add a block."""

    def sync(self) -> Any:
        """Bring all that was written to the disk; returns where it ends, for the journal."""

    def finish(self) -> Path:
        """The whole file, on the disk, in the folder."""


def make_sink(target: Path, folder: Path, bundle: Bundle, outputs: Sequence[TensorSpec]) -> Sink:
    """What writes a file of the target's kind.

    Raises:
        UserError: there is no such kind, or it cannot hold these outputs.
    """
    if target.suffix in (".npy", ".npz"):
        from oarlock_plugins.service.predict.array_sink import ArraySink

        if target.suffix == ".npy" and len(outputs) > 1:
            names = ", ".join(spec.name for spec in outputs)
            raise UserError(f"--output {target}: a .npy holds one array; the model gives {names}.\n"
                            f"Choose one with --outputs {outputs[-1].name}, or name a .npz.")  # fmt: skip
        return ArraySink(target.suffix, folder, outputs)
    if target.suffix == ".csv":
        from oarlock_plugins.service.predict.table_sinks import CsvSink

        return CsvSink(folder, outputs, bundle.class_names)
    if target.suffix == ".parquet":
        from oarlock_plugins.service.predict.table_sinks import ParquetSink

        return ParquetSink(folder, outputs, bundle.class_names)
    raise UserError(f"--output {target}: expected a file of {', '.join(SUFFIXES)}.")


class GrowingFile:
    """A file that is appended to, and cut back to a size that is known to be whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None

    def begin(self, size: int | None, beginning: bytes = b"") -> None:
        """Go on behind `size` bytes, or anew with a beginning."""
        self._file = self.path.open("wb" if size is None else "r+b")
        if size is None:
            self._file.write(beginning)
        else:
            self._file.truncate(size)
            self._file.seek(size)

    def write(self, content: bytes) -> None:
        self._file.write(content)

    def sync(self) -> int:
        """Bring it to the disk; returns its size."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return int(self._file.tell())

    def overwrite_beginning(self, content: bytes) -> None:
        self._file.seek(0)
        self._file.write(content)
        self._file.seek(0, os.SEEK_END)

    def close(self) -> None:
        self._file.close()
