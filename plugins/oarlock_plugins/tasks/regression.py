"""Regression with one value or one array a row."""

from __future__ import annotations

from typing import Any

from oarlock import UserError, component, hookimpl


class _MeanError:
    """A mean over all values of all rows, kept on the device until it is read."""

    direction = "min"

    def __init__(self, error, finish=lambda mean: mean):
        self._error, self._finish = error, finish
        self.reset()

    def reset(self):
        self._sum: Any
        self._sum, self._count = None, 0

    def update(self, output, batch):
        errors = self._error(output.reshape(batch.targets.shape) - batch.targets)
        total = errors.sum()
        self._sum = total if self._sum is None else self._sum + total
        self._count += int(errors.size)

    def accumulate(self):
        return self._finish(float(self._sum.item()) / self._count)


@component
class Regression:
    """Mean squared error on outputs and targets of one shape; measures root mean squared and mean absolute error."""

    @hookimpl
    def compute_loss(self, output, batch):
        return (output.reshape(batch.targets.shape) - batch.targets).square().mean()

    @hookimpl
    def build_metrics(self, data):
        if data.class_names is not None:
            raise UserError(
                "task=regression needs data with numbers to predict, this has classes. Try task=classification, "
                "or data.target_kind=numbers where data=arrays or data=csv takes numbers for classes."
            )
        return {
            "rmse": _MeanError(lambda error: error.square(), lambda mean: mean**0.5),
            "mae": _MeanError(lambda error: error.abs()),
        }
