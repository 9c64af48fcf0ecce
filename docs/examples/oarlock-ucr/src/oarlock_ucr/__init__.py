"""Time series in the format of the UCR archive, for oarlock."""

from __future__ import annotations

from pathlib import Path

from oarlock import Arrays, Data, InputSpec, UserError, component, hookimpl


@component
class Ucr:
    """A data set of the UCR time series archive (Dau et al. 2019): classes of series that all have one length.

    A folder NAME has NAME_TRAIN.tsv and NAME_TEST.tsv, with one series a line: its class, then its values. Training
    series are augmented by jittering and scaling (Um et al. 2017).

    Args:
        folder: the folder of the data set.
        valid_fraction: share of the training rows that is held out for validation.
        split_seed: seed of the split, apart from the run's, so that runs share their validation rows.
        jitter: standard deviation of the noise that is added to each value.
        scaling: standard deviation of the factor, around 1, by which a series is multiplied.
    """

    folder: str
    valid_fraction: float = 0.2
    split_seed: int = 0
    jitter: float = 0.03
    scaling: float = 0.1

    def __post_init__(self):
        if not 0 <= self.valid_fraction < 1:
            raise ValueError(f"valid_fraction={self.valid_fraction}: expected 0 <= valid_fraction < 1")
        for name in ("jitter", "scaling"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least 0")

    @hookimpl
    def build_data(self):
        import numpy as np

        folder = Path(self.folder)
        (series, labels), (test_series, test_labels) = (
            read_series(folder / f"{folder.name}_{part}.tsv") for part in ("TRAIN", "TEST")
        )
        if series.shape[1] != test_series.shape[1] or not np.isin(test_labels, labels).all():
            raise UserError(
                f"data.folder={self.folder}: TEST has another length of series, or classes that TRAIN has not."
            )
        classes, targets = np.unique(labels, return_inverse=True)
        train, valid = Arrays(series, targets.astype("int64")).split(self.valid_fraction, self.split_seed)
        test = Arrays(test_series, np.searchsorted(classes, test_labels).astype("int64"))

        def transform(sample, rng):
            values, target = sample
            factor, noise = rng.normal(1, self.scaling), rng.normal(0, self.jitter, values.shape)
            return (values * factor + noise).astype("float32"), target

        return Data(
            train, valid if len(valid) else None, test, inputs=InputSpec(series.shape[1:], "float32"),
            class_names=[f"{label:g}" for label in classes], transform=transform,
        )  # fmt: skip


def read_series(path):
    """The series [rows, length] and the labels [rows] of one file.

    Raises:
        UserError: it cannot be read, or its series are not of one length.
    """
    import numpy as np

    try:
        rows = np.loadtxt(path, delimiter="\t", ndmin=2)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {error}") from error
    if rows.shape[1] < 2 or not np.isfinite(rows).all():  # shorter series are padded with NaN
        raise UserError(f"{path}: expected a class and the values of a series on each line, all of one length.")
    return rows[:, 1:].astype("float32"), rows[:, 0]


@hookimpl
def register_components(register):
    register("data/ucr", Ucr)
