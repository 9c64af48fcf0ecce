"""A bundle: a finished model as a folder that answers without the code that trained it.

    bundle.json              inputs, outputs, class names, metrics, versions, how far the engines agree
    model.onnx               for onnxruntime; the preprocessing is inside
    paddle/                  the same for Paddle's inference engine
    reference.safetensors    a few inputs and what they must give: `input/NAME` and `output/NAME`
    run/                     the run that it was made of, with the weights, for an update
    MANIFEST.json            the SHA-256 of every file

It holds no pickle. To open one imports neither Paddle nor an engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from oarlock import Damaged, UserError, shown_path, verify

FORMAT = 1
BUNDLE, ONNX, PADDLE, REFERENCE, RUN = "bundle.json", "model.onnx", "paddle", "reference.safetensors", "run"
# NumPy's names of what the Open Inference Protocol calls datatypes.
DATATYPES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "int8": "INT8",
    "int16": "INT16", "int32": "INT32", "int64": "INT64", "float16": "FP16", "float32": "FP32", "float64": "FP64",
}  # fmt: skip


@dataclass(frozen=True)
class TensorSpec:
    """An input or an output of a model.

    Attributes:
        name: what the model calls it.
        dtype: NumPy's name.
        shape: without the batch axis; -1 where any length will do.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def datatype(self) -> str:
        """What the Open Inference Protocol calls the dtype."""
        return DATATYPES[self.dtype]


@dataclass(frozen=True)
class Bundle:
    """What bundle.json says, and where it is.

    Attributes:
        path: the bundle's folder.
        inputs, outputs: in the model's order.
        class_names: of a classifier, by class number.
        columns: the names of the input's values, where it was a table with names.
        metrics: of the run's best weights.
        monitor, direction: which of them decided, and whether 'max' or 'min' is better.
        tolerance: how far two engines may differ, absolute and relative.
        parity: the greatest absolute difference from the trained model, by engine, and over how many rows.
        components, versions: what it was made with.
        created: seconds since 1970.
    """

    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    class_names: tuple[str, ...] | None
    metrics: Mapping[str, float]
    monitor: str
    direction: str
    tolerance: float
    parity: Mapping[str, float]
    components: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0
    columns: tuple[str, ...] | None = None

    def text(self) -> str:
        """The text of bundle.json."""
        values = {key: value for key, value in asdict(self).items() if key != "path"}
        return json.dumps({"format": FORMAT, **values}, indent=2) + "\n"

    @property
    def onnx(self) -> Path:
        return self.path / ONNX

    @property
    def run(self) -> Path:
        """The folder of the run that it was made of."""
        return self.path / RUN

    def reference(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Inputs, and the outputs that they must give, by name; the first axis is the row."""
        import safetensors.numpy

        arrays = safetensors.numpy.load_file(self.path / REFERENCE)
        found: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = ({}, {})
        for key, array in arrays.items():
            kind, _, name = key.partition("/")
            found[kind == "output"][name] = array
        return found


def resized(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Rows of another shape: the values are repeated along each axis, or cut off."""
    for axis, size in enumerate(shape, 1):
        array = array.take(np.arange(size) % max(1, array.shape[axis]), axis)
    return array


def open_bundle(path: Path) -> Bundle:
    """A bundle whose every file is what was written.

    Raises:
        UserError: it is none.
        Damaged: a file is missing or changed.
    """
    if not (path / BUNDLE).is_file():
        found = [one.parent for depth in ("*", "*/*") for one in path.glob(f"{depth}/{BUNDLE}")]
        # What is being written is hidden.
        found = [one for one in found if not any(part.startswith(".") for part in one.relative_to(path).parts)]
        instead = "Make one with: oarlock export RUN --to DIR"
        if found:
            newest = max(found, key=lambda one: (int(one.name) if one.name.isdecimal() else -1, one))
            instead = f"The newest in it is {shown_path(newest)}."
        raise UserError(f"{shown_path(path)}: not a bundle (it has no {BUNDLE}).\n{instead}")
    verify(path)
    try:
        values = json.loads((path / BUNDLE).read_text(encoding="utf-8"))
        if (version := values.pop("format")) != FORMAT:
            raise UserError(f"{shown_path(path)}: a bundle of format {version}; this oarlock reads {FORMAT}.")
        inputs, outputs = (
            tuple(TensorSpec(one["name"], one["dtype"], _tuple(one["shape"])) for one in _tuple(values.pop(key)))
            for key in ("inputs", "outputs")
        )
        names, columns = (
            None if (one := values.pop(key)) is None else _tuple(one) for key in ("class_names", "columns")
        )
        bundle = Bundle(path, inputs, outputs, names, **values, columns=columns)
        _check_types(bundle)
        return bundle
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"{path.name}: {BUNDLE} is not what an export writes: {error}") from error


def _tuple(values: Any) -> tuple[Any, ...]:
    if not isinstance(values, list):
        raise TypeError(f"{values!r} should be a list")
    return tuple(values)


def _check_types(bundle: Bundle) -> None:
    """Have nothing in a bundle that is of another type than it says.

    Raises:
        TypeError: it names what is.
    """
    tensors, tables = (*bundle.inputs, *bundle.outputs), (bundle.metrics, bundle.parity)
    numbers = [*(value for table in tables for value in table.values()), bundle.tolerance, bundle.created]
    words = [
        *(one.name for one in tensors),
        *(bundle.class_names or ()),
        *(bundle.columns or ()),
        bundle.monitor,
        *bundle.versions.values(),
    ]
    sizes = [size for one in tensors for size in one.shape]
    for values, kinds in ((words, str), (numbers, (int, float)), (sizes, int), ([bundle.components], dict)):
        for value in values:
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise TypeError(f"{value!r} is of another type than it should be")
    for one in tensors:
        if one.dtype not in DATATYPES:
            raise TypeError(f"{one.name} is of type {one.dtype!r}")
    if bundle.direction not in ("min", "max"):
        raise TypeError(f"direction is {bundle.direction!r}")
