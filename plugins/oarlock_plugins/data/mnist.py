"""MNIST, from its IDX files."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Optional

from oarlock import Arrays, Data, UserError, component, hookimpl
from oarlock_plugins.data.scale import scale

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def read_idx(path):
    """An IDX file of unsigned bytes (LeCun's format), gzipped or not, as an array.

    Raises:
        UserError: the file is not one, or ends too early.
    """
    import numpy as np

    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        zero, kind, axes = struct.unpack(">HBB", content[:4])
        shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * axes)
    except (OSError, EOFError, zlib.error, struct.error, ValueError) as error:
        raise UserError(f"{path}: not a readable IDX file: {error}") from error
    if zero != 0 or kind != 8 or values.size != np.prod(shape, dtype=np.int64):
        raise UserError(f"{path}: not a complete IDX file of unsigned bytes.")
    return values.reshape(shape)


@component
class Mnist:
    """MNIST: 70,000 handwritten digits, 28 x 28 pixels in 10 classes (LeCun et al. 1998).

    Args:
        root: folder with the four IDX files, gzipped or not; null downloads them where the network allows.
        valid_fraction: share of the 60,000 training rows that is held out for validation.
        split_seed: seed of the split, apart from the run's, so that runs share their validation rows.
    """

    root: Optional[str] = None
    valid_fraction: float = 0.1
    split_seed: int = 0

    def __post_init__(self):
        if not 0 <= self.valid_fraction < 1:
            raise ValueError(f"valid_fraction={self.valid_fraction}: expected 0 <= valid_fraction < 1")

    @hookimpl
    def build_data(self):
        train, valid = self._rows("train").split(self.valid_fraction, self.split_seed)
        return Data(
            train, valid if len(valid) else None, self._rows("test"),
            class_names=[str(digit) for digit in range(10)], preprocess=scale(255),
        )  # fmt: skip

    def _rows(self, part):
        images, labels = (read_idx(path) for path in self._files(part))
        return Arrays(images[:, None], labels.astype("int64"))

    def _files(self, part):
        if self.root is None:
            return _downloaded(part)
        found = []
        for name in FILES[part]:
            candidates = [Path(self.root) / name, Path(self.root) / f"{name}.gz"]
            existing = [path for path in candidates if path.is_file()]
            if not existing:
                raise UserError(f"data.root={self.root}: there is no {name} or {name}.gz in it.")
            found.append(existing[0])
        return found


def _downloaded(part):
    """The files in Paddle's own cache, fetched by it when they are not there."""
    from paddle.vision.datasets import MNIST

    try:
        dataset = MNIST(mode=part, download=True)
    except Exception as error:  # whatever the network or Paddle's downloader raises
        raise UserError(
            "data=mnist could not be downloaded; give data.root=FOLDER with the four IDX files.\n"
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no detail'})"
        ) from error
    return Path(dataset.image_path), Path(dataset.label_path)
