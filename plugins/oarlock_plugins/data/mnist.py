"""MNIST, from its IDX files."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Optional

from oarlock import Arrays, Data, UserError, component, hookimpl
from oarlock_plugins.data.scale import scale
from oarlock_plugins.data.splits import check_seed
from oarlock_plugins.ranges import within

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def read_idx(path, axes):
    """An IDX file of unsigned bytes (LeCun's format), gzipped or not, as an array with so many axes.

    Raises:
        UserError: the file is not one, is empty, ends too early or too late.
    """
    import numpy as np

    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: not a readable file: {error}.") from error
    start = 4 + 4 * axes
    if content[:4] != bytes([0, 0, 8, axes]) or len(content) < start:
        raise UserError(f"{path}: not an IDX file of unsigned bytes with {axes} {'axes' if axes > 1 else 'axis'}.")
    shape = struct.unpack(f">{axes}I", content[4:start])
    if not len(content) - start == math.prod(shape) > 0:
        sizes = " x ".join(map(str, shape))
        raise UserError(f"{path}: its header says {sizes} values, there are {len(content) - start}.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


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
        within(0, 1, valid_fraction=self.valid_fraction)
        check_seed(self.split_seed)

    @hookimpl
    def build_data(self):
        rows, test = self._rows("train"), self._rows("test")
        if rows.inputs.shape[1:] != test.inputs.shape[1:]:
            raise UserError("data=mnist: the images of the training and the test files differ in size.")
        train, valid = rows.split(self.valid_fraction, self.split_seed)
        return Data(
            train, valid if len(valid) else None, test,
            class_names=[str(digit) for digit in range(10)], preprocess=scale(255),
        )  # fmt: skip

    def _rows(self, part):
        image_file, label_file = self._files(part)
        images, labels = read_idx(image_file, 3), read_idx(label_file, 1)
        if len(images) != len(labels):
            raise UserError(f"{label_file}: {len(labels)} labels; {image_file.name} has {len(images)} images.")
        if labels.max() > 9:
            raise UserError(f"{label_file}: a label is {labels.max()}; expected 0 to 9.")
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
