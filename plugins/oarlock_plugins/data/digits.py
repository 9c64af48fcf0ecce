"""The 1,797 handwritten digits of the UCI repository."""

from __future__ import annotations

from importlib import resources

from oarlock import Arrays, Data, component, hookimpl
from oarlock_plugins.data.scale import scale
from oarlock_plugins.data.splits import check_split, split_rows


@component
class Digits:
    """Handwritten digits, 8 x 8 pixels in 10 classes (Alpaydin & Kaynak 1998); comes with oarlock.

    Args:
        valid_fraction: share of the rows that is held out for validation.
        test_fraction: share of the rows that is held out for the test.
        split_seed: seed of the split, apart from the run's, so that runs share their validation rows.
    """

    valid_fraction: float = 0.2
    test_fraction: float = 0.2
    split_seed: int = 0

    def __post_init__(self):
        check_split(self.valid_fraction, self.test_fraction, self.split_seed)

    @hookimpl
    def build_data(self):
        import numpy as np

        with resources.files("oarlock_plugins.data").joinpath("digits.npz").open("rb") as file:
            stored = np.load(file, allow_pickle=False)
            everything = Arrays(stored["images"], stored["labels"].astype("int64"))
        train, valid, test = split_rows(everything, self.valid_fraction, self.test_fraction, self.split_seed)
        return Data(
            train, valid, test, class_names=[str(digit) for digit in range(10)], preprocess=scale(16),
        )  # fmt: skip
