"""The one layer that is exported: raw inputs, preprocessing, the model, the task's predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from oarlock import Batch, Run
from oarlock_plugins.service.bundle import DATATYPES, TensorSpec
from oarlock_plugins.service.export.errors import NotExportable, reason
from oarlock_plugins.service.export.rows import RealRows

if TYPE_CHECKING:
    import paddle


class Answers:
    """What the trained model answers, computed eagerly.

    Attributes:
        layer: from a tensor or a dict of them to a list of predictions.
        inputs, outputs: what goes in and out.
    """

    def __init__(self, run: Run, rows: RealRows) -> None:
        self.layer, self._rows = _layer(run), rows
        self.names = self._predict(_first(rows.inputs, 2))[0]
        shapes = run.data.inputs if run.data.inputs is not None else {}
        self.inputs = tuple(
            TensorSpec(name, str(array.dtype), _shape(shapes, name, array)) for name, array in rows.inputs.items()
        )
        self.outputs = tuple(self._specs())

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        names, tensors = self._predict(inputs)
        return dict(zip(names, (tensor.numpy() for tensor in tensors), strict=True))

    def _predict(self, inputs: Mapping[str, np.ndarray]) -> tuple[list[str], list[Any]]:
        import paddle

        tree = self._rows.tree({name: paddle.to_tensor(array) for name, array in inputs.items()})
        try:
            with paddle.no_grad():
                tensors = self.layer(tree)
        except Exception as error:  # whatever a model, a task or Paddle raises
            raise NotExportable(f"export: the model does not answer rows without targets: {reason(error)}\n"
                                "`forward` and `compute_predictions` of the task see the inputs alone.") from error  # fmt: skip
        return list(self.layer.names), tensors

    def _specs(self) -> list[TensorSpec]:
        """The outputs' types and shapes; what differs between batches of 2 and 3 rows is the row."""
        specs = []
        (names, two), (_, three) = (self._predict(_first(self._rows.inputs, count)) for count in (2, 3))
        for name, small, large in zip(names, two, three, strict=True):
            dtype = str(small.dtype).removeprefix("paddle.")
            if list(small.shape[:1]) != [2] or list(large.shape) != [3, *small.shape[1:]] or dtype not in DATATYPES:
                raise NotExportable(f"export: the prediction {name} is {dtype}{list(small.shape)} for 2 rows; "
                                    "expected one answer a row.\nThe task's compute_predictions decides it.")  # fmt: skip
            specs.append(TensorSpec(name, dtype, tuple(small.shape[1:])))
        return specs


def _layer(run: Run) -> paddle.nn.Layer:
    from paddle import nn

    class Answering(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.preprocess = run.model, run.data.preprocess
            self.names: list[str] = []

        # paddle2onnx wants a method whose first argument is called self.
        def forward(self, inputs: Any) -> list[Any]:
            batch = run.data.prepared(Batch(inputs))
            predictions = run.compute_predictions(run.forward(self.model, batch))
            self.names = list(predictions)
            return list(predictions.values())

    layer = Answering()
    layer.eval()
    return layer


def _first(inputs: Mapping[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """So many rows, though there may be fewer."""
    return {name: np.resize(array, (count, *array.shape[1:])) for name, array in inputs.items()}


def _shape(declared: Any, name: str, array: np.ndarray) -> tuple[int, ...]:
    """A row's shape, with -1 where the data says that any length will do."""
    spec = declared.get(name) if isinstance(declared, Mapping) else declared
    return tuple(spec.shape) if spec is not None else array.shape[1:]
