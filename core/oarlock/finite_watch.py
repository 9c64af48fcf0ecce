"""The watch over losses and weights: what is not finite ends a run before it is recorded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from oarlock.device import numpy_knows, numpy_sees
from oarlock.errors import NonFiniteError
from oarlock.run import Run

Weights = Mapping[str, Any]


class FiniteWatch:
    """Reads the losses and looks at the weights once in a while; a device is not waited for in between.

    Attributes:
        losses: of the steps since they were last read; each step adds its own.
        due: the step after which `check` has to be called.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._every = run.config.trainer.check_finite_every
        self.losses: list[Any] = []
        self._checked, self.due = run.step, run.step + self._every
        self._overflows = 0
        copies = ArrayCopies if numpy_sees(run.device) else TensorCopies
        self._copies: ArrayCopies | TensorCopies = copies(run.model.state_dict())

    def check(self) -> None:
        """Look at losses and weights now.

        Raises:
            NonFiniteError: it says at which step, and the weights are those of the last good check.
        """
        self.read()
        if self._run.step > self._checked:
            self._look()

    def take(self) -> dict[str, Any]:
        """Look at losses and weights now, also where they were after this step; a callback may have put others there.

        Returns:
            the weights as tensors or arrays by name, which stay what they are.

        Raises:
            NonFiniteError: as of `check`.
        """
        self.read()
        self._look()
        return self._copies.lasting()

    def _look(self) -> None:
        run, first = self._run, min(self._checked + 1, self._run.step)
        self._checked, self.due = run.step, run.step + self._every
        names = self._copies.renew(run.model.state_dict())
        if names:
            self._fail(f"the weights {', '.join(names[:3])} are not finite after steps {first} to {run.step}")

    def read(self) -> None:
        """Look at the losses alone.

        Raises:
            NonFiniteError: as of `check`.
        """
        if not self.losses:
            return
        run = self._run
        losses = run.read_losses(self.losses)
        self.losses.clear()
        total, count, overflows = run.loss_sum, run.loss_count, self._overflows
        for step, loss in enumerate(losses, run.step - len(losses) + 1):
            if math.isfinite(loss):
                total += loss
                count += 1
                overflows = 0
            else:
                # A scaler skips the update of an overflow, so a few of them are its normal work.
                overflows += 1
                if run.scaler is None or overflows >= self._every:
                    self._fail(f"the loss of step {step} is {loss}")
        run.loss_sum, run.loss_count, self._overflows = total, count, overflows

    def _fail(self, what: str) -> None:
        for name, tensor in self._run.model.state_dict().items():
            tensor.set_value(self._copies.good[name])
        raise NonFiniteError(f"{what}; the last finite weights are restored")


class TensorCopies:
    """The last finite weights, where they are computed with.

    What is not finite at first is not watched: a buffer may be infinite by design, as the mask of an attention is.

    Attributes:
        good: the weights by name.
    """

    def __init__(self, weights: Weights) -> None:
        self.good = self._taken(weights)
        numbers = {name: tensor for name, tensor in weights.items() if tensor.is_floating_point()}
        self._watched = [name for name in numbers if name not in self._not_finite(numbers)]

    def renew(self, weights: Weights) -> list[str]:
        """Take the present weights, unless some are not finite; returns the names of these."""
        copies = self._taken(weights)
        found = self._not_finite({name: copies[name] for name in self._watched})
        if not found:
            self.good = copies
        return found

    def lasting(self) -> dict[str, Any]:
        """The good ones, which no renewal changes."""
        return dict(self.good)

    def _taken(self, weights: Weights) -> dict[str, Any]:
        return {name: tensor.detach().clone() for name, tensor in weights.items()}

    def _not_finite(self, weights: Weights) -> list[str]:
        """A sum is finite only where all of its terms are; if it merely overflowed, the closer look finds nothing."""
        import paddle

        if not weights or math.isfinite(
            paddle.stack([one.sum(dtype="float32") for one in weights.values()]).sum().item()
        ):
            return []
        return [name for name, tensor in weights.items() if not bool(paddle.isfinite(tensor).all().item())]


class ArrayCopies:
    """The same on the CPU, where NumPy is quicker, and reads the weights where they are.

    Attributes:
        good: the weights by name.
    """

    def __init__(self, weights: Weights) -> None:
        # By name: the tensor, where its numbers are, and NumPy's view of them.
        self._views: dict[str, tuple[Any, int, np.ndarray[Any, Any]]] = {}
        self._start(weights)

    def _start(self, weights: Weights) -> None:
        views = self._seen(weights)
        watched = [name for name, tensor in weights.items()
                   if tensor.is_floating_point() and np.isfinite(views[name]).all()]  # fmt: skip
        self._room, self._spare = Room(views, watched), Room(views, watched)
        self._room.fill(views)

    @property
    def good(self) -> dict[str, np.ndarray[Any, Any]]:
        return self._room.arrays

    def lasting(self) -> dict[str, np.ndarray[Any, Any]]:
        """The good ones, which no renewal changes."""
        return {name: array.copy() for name, array in self.good.items()}

    def renew(self, weights: Weights) -> list[str]:
        """Take the present weights, unless some are not finite; returns the names of these."""
        views = self._seen(weights)
        if any(views[name].shape != array.shape for name, array in self._room.arrays.items()):
            self._start(weights)  # another layer has the name now
            return []
        self._spare.fill(views)
        found = self._spare.not_finite()
        if not found:
            self._room, self._spare = self._spare, self._room
        return found

    def _seen(self, weights: Weights) -> dict[str, np.ndarray[Any, Any]]:
        """The weights as arrays, without a copy where NumPy knows the dtype."""
        for name, tensor in weights.items():
            before, place = self._views.get(name), tensor.data_ptr()
            if before is None or before[0] is not tensor or before[1] != place:
                if numpy_knows(tensor.dtype):
                    self._views[name] = tensor, place, np.from_dlpack(tensor.detach())
                else:
                    self._views[name] = tensor, 0, tensor.numpy()
        return {name: self._views[name][2] for name in weights}


class Room:
    """Memory for a copy of the weights; what is watched lies one behind the other, so that one sum is enough.

    Attributes:
        arrays: the copies by name.
    """

    def __init__(self, views: Mapping[str, np.ndarray[Any, Any]], watched: Sequence[str]) -> None:
        self.arrays = {name: np.empty_like(view) for name, view in views.items() if name not in watched}
        self._watched, self._rows = watched, []
        for dtype in {views[name].dtype for name in watched}:
            names = [name for name in watched if views[name].dtype == dtype]
            row, start = np.empty(sum(views[name].size for name in names), dtype), 0
            self._rows.append(row)
            for name in names:
                stop = start + views[name].size
                self.arrays[name] = row[start:stop].reshape(views[name].shape)
                start = stop

    def fill(self, views: Mapping[str, np.ndarray[Any, Any]]) -> None:
        for name, array in self.arrays.items():
            array[...] = views[name]

    def not_finite(self) -> list[str]:
        """A sum is finite only where all of its terms are; if it merely overflowed, the closer look finds nothing."""
        with np.errstate(over="ignore", invalid="ignore"):
            if all(math.isfinite(np.add.reduce(row)) for row in self._rows):
                return []
        return [name for name in self._watched if not np.isfinite(self.arrays[name]).all()]
