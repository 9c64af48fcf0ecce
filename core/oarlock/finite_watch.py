"""The watch over losses and weights: what is not finite ends a run before it is recorded."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from oarlock.errors import NonFiniteError
from oarlock.run import Run


class FiniteWatch:
    """Reads the losses and looks at the weights once in a while; a device is not waited for in between."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._every = run.config.trainer.check_finite_every
        self._losses: list[Any] = []
        self._overflows = 0
        weights = run.model.state_dict()
        self._snapshot = self._taken(weights)
        numbers = {name: self._snapshot[name] for name, tensor in weights.items() if tensor.is_floating_point()}
        # A buffer may be infinite by design, as the mask of an attention is.
        infinite = self._not_finite(numbers)
        self._watched = [name for name in numbers if name not in infinite]

    def add(self, loss: Any) -> None:
        """Take in the loss of the step that was just made."""
        self._losses.append(loss)
        if len(self._losses) >= self._every:
            self.check()

    def check(self) -> None:
        """Look now.

        Raises:
            NonFiniteError: it says at which step, and the weights are those of the last good check.
        """
        if not self._losses:
            return
        run = self._run
        first = run.step - len(self._losses) + 1
        losses = run.read_losses(self._losses)
        self._losses.clear()
        for step, loss in enumerate(losses, first):
            if math.isfinite(loss):
                run.loss_sum += loss
                run.loss_count += 1
                self._overflows = 0
            else:
                # A scaler skips the update of an overflow, so a few of them are its normal work.
                self._overflows += 1
                if run.scaler is None or self._overflows >= self._every:
                    self._fail(f"the loss of step {step} is {loss}")
        snapshot = self._taken(run.model.state_dict())
        names = self._not_finite({name: snapshot[name] for name in self._watched})
        if names:
            self._fail(f"the weights {', '.join(names[:3])} are not finite after steps {first} to {run.step}")
        self._snapshot = snapshot

    def _taken(self, weights: dict[str, Any]) -> dict[str, Any]:
        """A copy of the weights where they are; on the CPU as arrays, with which NumPy is quicker."""
        if self._run.device == "cpu":
            return {name: tensor.numpy() for name, tensor in weights.items()}
        return {name: tensor.detach().clone() for name, tensor in weights.items()}

    def _not_finite(self, weights: dict[str, Any]) -> list[str]:
        """The names of those with a number that is not finite.

        A sum is finite only where all of its terms are, and one pass instead of two; if it merely overflowed, the
        closer look finds nothing.
        """
        import paddle

        if self._run.device == "cpu":
            with np.errstate(over="ignore", invalid="ignore"):
                return [name for name, array in weights.items()
                        if not math.isfinite(np.add.reduce(array, axis=None)) and not np.isfinite(array).all()]  # fmt: skip
        if not weights or math.isfinite(
            paddle.stack([one.sum(dtype="float32") for one in weights.values()]).sum().item()
        ):
            return []
        return [name for name, tensor in weights.items() if not bool(paddle.isfinite(tensor).all().item())]

    def _fail(self, what: str) -> None:
        for name, tensor in self._run.model.state_dict().items():
            tensor.set_value(self._snapshot[name])
        raise NonFiniteError(f"{what}; the last finite weights are restored")
