"""Rows in NumPy's files."""

from __future__ import annotations

from dataclasses import field
from typing import Optional

from oarlock import Arrays, Data, UserError, component, hookimpl
from oarlock_plugins.data.labels import ASK, MOST_NUMBERED, TargetKind, encode, infer_classes
from oarlock_plugins.data.npy_files import read_npy, read_npz
from oarlock_plugins.data.scale import scale
from oarlock_plugins.data.splits import check_split, split_rows

# What NumPy calls a kind of type, as one of text, whole number, number.
KINDS = str.maketrans("SUbiuf", "ttwwwn")
# Each has a name in memory and in each checkpoint, and numbers beyond it are rather amounts or times.
MOST_CLASSES = 1_000_000


@component
class ArrayFiles:
    """Rows from NumPy's files: an .npz with inputs and targets, or an .npy for each.

    Targets that are whole numbers or texts are taken for classes, other numbers for values to predict. Double precision
    becomes single precision.

    Args:
        path: an .npz file.
        inputs: the array of the inputs in it; without `path`, an .npy file.
        targets: the array of the targets in it; without `path`, an .npy file.
        target_kind: classes or numbers, where `auto` is wrong.
        several_inputs: for a model that takes several inputs by name, their arrays in `path`, instead of `inputs`.
        valid_path: an .npz file with the rows for validation, instead of a share of the others.
        test_path: an .npz file with the rows for the test, instead of a share of the others.
        valid_fraction: share of the rows that is held out for validation.
        test_fraction: share of the rows that is held out for the test.
        split_seed: seed of the split, apart from the run's, so that runs share their validation rows.
        class_names: the classes by number; by default the texts in the files, sorted, or 0 to the largest number.
        scale: inputs are divided by it, which makes them float32; the division is a part of the model that is exported.
    """

    reads = (".npz",)

    path: Optional[str] = None
    inputs: str = "inputs"
    targets: str = "targets"
    target_kind: TargetKind = TargetKind.auto
    several_inputs: list[str] = field(default_factory=list)
    valid_path: Optional[str] = None
    test_path: Optional[str] = None
    valid_fraction: float = 0.2
    test_fraction: float = 0.2
    split_seed: int = 0
    class_names: Optional[list[str]] = None
    scale: Optional[float] = None

    def __post_init__(self):
        check_split(self.valid_fraction, self.test_fraction, self.split_seed)
        if self.scale is not None and not self.scale > 0:
            raise ValueError(f"scale={self.scale}: expected more than 0")
        if self.scale is not None and self.several_inputs:
            raise ValueError("scale: it is for a single input; store several inputs as they shall be used")
        if self.class_names is not None and len({*self.class_names}) < len(self.class_names):
            raise ValueError(f"class_names={self.class_names}: a name stands there twice")

    @hookimpl
    def build_data(self):
        everything = self._read(self.path, "data.path") if self.path is not None else self._read_pair()
        valid, test = (
            self._read(path, option) if path is not None else None
            for path, option in ((self.valid_path, "data.valid_path"), (self.test_path, "data.test_path"))
        )
        names = self._classes([part.targets for part in (everything, valid, test) if part is not None])
        everything = self._ready(everything, names, "path" if self.path is not None else "targets")
        valid, test = self._ready(valid, names, "valid_path"), self._ready(test, names, "test_path")
        train, drawn_valid, drawn_test = split_rows(
            everything, 0 if valid is not None else self.valid_fraction,
            0 if test is not None else self.test_fraction, self.split_seed,
        )  # fmt: skip
        valid, test = valid or drawn_valid, test or drawn_test
        shape = train.targets.shape[1:]
        return Data(
            train, valid, test, class_names=names, output_shape=None if names is not None else shape,
            preprocess=scale(self.scale) if self.scale is not None else None,
        )  # fmt: skip

    def read_rows(self, path, option):
        """The rows of another file of the same form, targets as they stand in it.

        Args:
            path: the file.
            option: what was typed for it, `--data`.

        Returns:
            the rows, and from the place of a row to what a person calls it.

        Raises:
            UserError: it is no such file.
        """
        return self._read(path, option), lambda row: f"{option} {path}: row {row}"

    def _read(self, path, option):
        names = self.several_inputs or [self.inputs]
        arrays = read_npz(path, [*names, self.targets], option)
        targets = arrays.pop(self.targets)
        return _rows(arrays if self.several_inputs else arrays[self.inputs], targets, f"{option}={path}")

    def _read_pair(self):
        if not self.inputs.endswith(".npy") or not self.targets.endswith(".npy"):
            raise UserError("data=arrays needs its files: data.path=FILE.npz, or data.inputs=X.npy data.targets=Y.npy.")
        if self.several_inputs:
            raise UserError("data.several_inputs: they are arrays of one file; give data.path=FILE.npz.")
        arrays = read_npy(self.inputs, "data.inputs"), read_npy(self.targets, "data.targets")
        return _rows(*arrays, f"data.inputs={self.inputs}")

    def _classes(self, targets):
        """The names of the classes, or None for numbers to predict."""
        import numpy as np

        if self.class_names is not None:
            return self.class_names
        kinds = {array.dtype.kind.translate(KINDS) for array in targets}
        if self.target_kind is TargetKind.numbers:
            if "t" in kinds:
                raise UserError(f"data.target_kind=numbers: data.targets={self.targets} holds texts.")
            return None
        if len(kinds) > 1:
            raise UserError("data=arrays: its files have different targets: texts, whole numbers or other numbers.")
        values = np.concatenate([array.reshape(-1) for array in targets])
        if kinds == {"t"}:
            return infer_classes(values)
        auto, largest = self.target_kind is TargetKind.auto, int(values.max(initial=0))
        if auto and kinds == {"n"}:
            return None
        if auto and largest >= MOST_NUMBERED:
            raise UserError(f"data.targets={self.targets}: its whole numbers go up to {largest}.\n{ASK}")
        if largest >= MOST_CLASSES:
            raise UserError(f"data.target_kind=classes: data.targets={self.targets} goes up to {largest}; expected classes from 0 "
                            f"to {MOST_CLASSES - 1} at most.\nNumber them anew, or store them as texts.")  # fmt: skip
        return infer_classes(values)

    def _ready(self, part, names, option):
        """The rows as a task takes them: class numbers, or values [rows, values]."""
        if part is None:
            return None
        targets = part.targets
        if names is not None:
            try:
                targets = encode(targets, names, lambda row: f"data.{option}={getattr(self, option)}: row {row}")
            except UserError as error:
                if self.target_kind is TargetKind.auto and self.class_names is None:
                    raise UserError(f"{error}\nIf they are no classes, say data.target_kind=numbers.") from error
                raise
        else:
            targets = (targets[:, None] if targets.ndim == 1 else targets).astype("float32")
        return Arrays(part.inputs, targets)


def _rows(inputs, targets, where):
    """The rows, if there is a target for each.

    Raises:
        UserError: there is not, or the inputs are texts.
    """
    named = inputs if isinstance(inputs, dict) else {"inputs": inputs}
    for name, array in named.items():
        if array.dtype.kind not in "biuf":
            raise UserError(f"{where}: {name} is of type {array.dtype}; expected numbers.")
        if len(array) != len(targets):
            raise UserError(f"{where}: there are {len(array)} rows of {name} and {len(targets)} targets.")
    return Arrays(inputs, targets)
