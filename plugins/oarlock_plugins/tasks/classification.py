"""Classification with one class a row."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from oarlock import UserError, component, hookimpl
from oarlock_plugins.ranges import within


class Accuracy:
    """The share of targets, mostly one a row, whose class has the largest logit."""

    direction = "max"

    def __init__(self):
        self.reset()

    def reset(self):
        self._correct: Any = 0
        self._targets = 0

    def update(self, output, batch):
        targets = batch.targets
        if output.place.is_cpu_place():  # where NumPy is quicker, and nothing has to be waited for
            predicted = output.numpy().argmax(-1)
            correct = np.count_nonzero(predicted == targets.numpy().reshape(predicted.shape))
        else:
            predicted = output.argmax(axis=-1)
            # Targets of shape [rows, 1], Paddle's custom, would otherwise be compared with every row.
            correct = (predicted == targets.reshape(predicted.shape)).sum()
        self._correct += correct
        self._targets += math.prod(predicted.shape)

    def accumulate(self):
        return int(self._correct) / self._targets


@component
class Classification:
    """Softmax cross-entropy on logits [rows, classes] and integer targets [rows] or [rows, 1]; measures accuracy.

    Args:
        label_smoothing: share of the target that is spread over all classes (Szegedy et al. 2016).
    """

    label_smoothing: float = 0.0

    def __post_init__(self):
        within(0, 1, label_smoothing=self.label_smoothing)

    @hookimpl
    def compute_loss(self, output, batch):
        from paddle.nn import functional

        targets = batch.targets
        if targets.ndim == output.ndim:  # Paddle smooths targets of shape [rows, 1] by another path, which wants floats
            if targets.shape[-1] != 1:
                shown = ", ".join(["rows", *map(str, targets.shape[1:])])
                raise UserError(f"task=classification needs one class a row, [rows] or [rows, 1]; the data has targets "
                                f"[{shown}].\nOf one-hot targets take the argmax.")  # fmt: skip
            targets = targets.squeeze(-1)
        return functional.cross_entropy(output, targets, label_smoothing=self.label_smoothing)

    @hookimpl
    def compute_predictions(self, output):
        from paddle.nn import functional

        return {"class": output.argmax(axis=-1), "probabilities": functional.softmax(output, axis=-1)}

    @hookimpl
    def build_metrics(self, data):
        if data.class_names is None:
            raise UserError("task=classification needs data with class_names. Try task=regression; or, where the numbers are "
                            "classes, data.target_kind=classes, which data=arrays and data=csv have.")  # fmt: skip
        if len(data.class_names) < 2:  # whatever the model, its accuracy would be 1 and its gradient 0
            raise UserError(f"task=classification needs two classes or more; the data has {list(data.class_names)}.")
        return {"accuracy": Accuracy()}
