"""Answers as NumPy's files; a gap is NaN, or -1 among whole numbers."""

from __future__ import annotations

import math
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from oarlock_plugins.service.bundle import TensorSpec
from oarlock_plugins.service.predict.answers import Answers
from oarlock_plugins.service.predict.sinks import GrowingFile

HEADER_BYTES = 256


class ArraySink:
    """Each output is a .npy whose header is written last, when the number of rows is known; a .npz is made of them."""

    def __init__(self, suffix: str, folder: Path, outputs: Sequence[TensorSpec]) -> None:
        self._suffix, self._folder, self._outputs = suffix, folder, outputs
        self._files = {spec.name: GrowingFile(folder / f"output-{place}.npy") for place, spec in enumerate(outputs)}

    def encode(self, answers: Answers) -> Mapping[str, bytes]:
        encoded = {}
        for name, array in answers.outputs.items():
            if answers.faulty is not None:
                array[answers.faulty] = _gap(array.dtype)
            encoded[name] = array.tobytes()
        return encoded

    def begin(self, state: Mapping[str, int] | None) -> None:
        for name, file in self._files.items():
            file.begin(None if state is None else state[name], b"\0" * HEADER_BYTES)

    def write(self, encoded: Mapping[str, bytes]) -> None:
        for name, content in encoded.items():
            self._files[name].write(content)

    def sync(self) -> dict[str, int]:
        return {name: file.sync() for name, file in self._files.items()}

    def finish(self) -> Path:
        for spec in self._outputs:
            file = self._files[spec.name]
            row_bytes = math.prod(spec.shape) * np.dtype(spec.dtype).itemsize
            file.overwrite_beginning(_header(spec, (file.sync() - HEADER_BYTES) // row_bytes))
            file.sync()
            file.close()
        if self._suffix == ".npy":
            return self._files[self._outputs[0].name].path
        whole = self._folder / "output.npz"
        with zipfile.ZipFile(whole, "w", allowZip64=True) as archive:
            for spec in self._outputs:
                with (
                    self._files[spec.name].path.open("rb") as array,
                    archive.open(f"{spec.name}.npy", "w", force_zip64=True) as member,
                ):
                    shutil.copyfileobj(array, member, 1 << 20)
        with whole.open("rb") as written:
            os.fsync(written.fileno())  # the parts are deleted then
        return whole


def _header(spec: TensorSpec, rows: int) -> bytes:
    """NumPy's header, of a length that does not depend on the number of rows."""
    shape = (rows, *spec.shape)
    text = repr({"descr": np.dtype(spec.dtype).str, "fortran_order": False, "shape": shape}).encode()
    length = HEADER_BYTES - 10
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + text.ljust(length - 1) + b"\n"


def _gap(dtype: np.dtype) -> float | int | bool:
    if np.issubdtype(dtype, np.floating):
        return math.nan
    if np.issubdtype(dtype, np.signedinteger):
        return -1
    return False if dtype == np.bool_ else int(np.iinfo(dtype).max)
