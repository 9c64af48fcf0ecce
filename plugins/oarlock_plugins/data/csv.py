"""Rows of a table in a CSV file."""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import Optional

from oarlock import Arrays, Data, UserError, component, hookimpl
from oarlock_plugins.data.labels import ASK, MOST_NUMBERED, WHOLE, TargetKind, encode, infer_classes
from oarlock_plugins.data.splits import check_split, split_rows
from oarlock_plugins.data.standardise import standardise
from oarlock_plugins.data.tables import read_table


class Delimiter(Enum):
    """What separates two fields; by name, since an override cannot hold all of them as they are."""

    comma = ","
    semicolon = ";"
    tab = "\t"
    bar = "|"
    space = " "


@component
class CsvFile:
    """Rows of a CSV file with a header: columns of numbers, and a column to predict.

    A target column of texts or of whole numbers is taken for classes, other numbers for values.

    Args:
        path: the file, in UTF-8.
        target: the column to predict.
        features: the columns that the model sees, in this order; by default all others as they stand in the file.
        target_kind: classes or numbers, where `auto` is wrong.
        delimiter: what separates two fields.
        valid_path: a file with the rows for validation, instead of a share of the others.
        test_path: a file with the rows for the test, instead of a share of the others.
        valid_fraction: share of the rows that is held out for validation.
        test_fraction: share of the rows that is held out for the test.
        split_seed: seed of the split, apart from the run's, so that runs share their validation rows.
        class_names: the classes by number; by default those in the files, sorted.
        standardise: bring each column to mean 0 and deviation 1 over the training rows; it is a part of the model that
            is exported.
    """

    reads = (".csv",)

    path: str = "???"
    target: str = "???"
    features: list[str] = field(default_factory=list)
    target_kind: TargetKind = TargetKind.auto
    delimiter: Delimiter = Delimiter.comma
    valid_path: Optional[str] = None
    test_path: Optional[str] = None
    valid_fraction: float = 0.2
    test_fraction: float = 0.2
    split_seed: int = 0
    class_names: Optional[list[str]] = None
    standardise: bool = True

    def __post_init__(self):
        check_split(self.valid_fraction, self.test_fraction, self.split_seed)
        if self.target in self.features:
            raise ValueError(f"features={self.features}: '{self.target}' is the target")
        if self.class_names is not None and len({*self.class_names}) < len(self.class_names):
            raise ValueError(f"class_names={self.class_names}: a name stands there twice")

    @hookimpl
    def build_data(self):
        import numpy as np

        table = self._table(self.path, "data.path")
        self._features = self.features or [name for name in table.columns if name != self.target]
        if not self._features:
            raise UserError(f"{table.name}: it has no column beside '{self.target}'.")
        tables = {"train": table}
        for split in ("valid", "test"):
            path = getattr(self, f"{split}_path")
            if path is not None:
                tables[split] = self._table(path, f"data.{split}_path")
        for one in tables.values():
            self._check_targets(one)
        names = self._classes([one.column(self.target, "data.target") for one in tables.values()])
        given = {split: self._rows(one, names) for split, one in tables.items()}
        train, valid, test = split_rows(
            given["train"], 0 if "valid" in given else self.valid_fraction,
            0 if "test" in given else self.test_fraction, self.split_seed,
        )  # fmt: skip
        return Data(
            train, given.get("valid", valid), given.get("test", test), class_names=names, columns=self._features,
            output_shape=None if names is not None else (1,),
            preprocess=standardise(np.asarray(train.inputs)) if self.standardise else None,
        )  # fmt: skip

    def read_rows(self, path, option):
        """The rows of another file with the same columns, after `build_data`; targets as they stand in it.

        Args:
            path: the file.
            option: what was typed for it, `--data`.

        Returns:
            the rows, and from the place of a row to what a person calls it.

        Raises:
            UserError: it is no such file.
        """
        import numpy as np

        table = self._table(path, option)
        texts = np.array(table.column(self.target, "data.target"))
        return Arrays(self._inputs(table), texts), table.where

    def _table(self, path, option):
        table = read_table(path, self.delimiter.value, option)
        table.column(self.target, "data.target")
        return table

    def _check_targets(self, table):
        """A row without a target is none; an empty text would become a class."""
        texts = table.column(self.target, "data.target")
        if "" in texts and "" not in (self.class_names or ()):
            raise UserError(f"{table.where(texts.index(''))}: {self.target} is missing.")

    def _classes(self, columns):
        """The names of the classes, or None for numbers to predict."""
        import numpy as np

        texts = np.concatenate([np.array(column) for column in columns])
        if self.class_names is not None:
            return self.class_names
        if self.target_kind is TargetKind.auto:
            whole = [text for text in texts if WHOLE.fullmatch(text)]
            if len(whole) == len(texts) and len({*whole}) > MOST_NUMBERED:
                raise UserError(f"data.target={self.target}: it has {len({*whole})} different whole numbers.\n{ASK}")
            return infer_classes(texts) if len(whole) == len(texts) or not any(map(_is_number, texts)) else None
        return infer_classes(texts) if self.target_kind is TargetKind.classes else None

    def _rows(self, table, names):
        import numpy as np

        if names is None:
            try:
                targets = table.numbers(self.target, "data.target")[:, None]
            except UserError as error:
                if self.target_kind is TargetKind.auto:
                    raise UserError(f"{error}\nIf these are classes, say data.target_kind=classes.") from error
                raise
        else:
            targets = encode(np.array(table.column(self.target, "data.target")), names, table.where)
        try:
            return Arrays(self._inputs(table), targets)
        except UserError as error:
            if self.features:
                raise
            raise UserError(
                f"{error}\nIf this column is not for the model, name the others: data.features=[…]."
            ) from error

    def _inputs(self, table):
        import numpy as np

        return np.stack([table.numbers(name, "data.features") for name in self._features], axis=1)


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True
