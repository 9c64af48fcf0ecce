"""Whether a compiled step does what the eager one does: both make a few steps from one state, which is then put back."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import paddle

STEPS, TOLERANCE = 3, 1e-4
# Of the last bits of the largest number of a tensor, how many may be others.
LAST_BITS = 8
# A step may differ by so many times what one other bit in each weight changes.
ROUNDING = 10
MOVING = ("step", "epoch", "position", "metrics", "history", "best")


class Tensors:
    """The numbers of live tensors, to be put back.

    Args:
        tensors: the tensors.
    """

    def __init__(self, tensors: Sequence[Any]) -> None:
        self._tensors = list(tensors)
        self.values = [tensor.numpy().copy() for tensor in self._tensors]

    def put_back(self) -> None:
        for tensor, value in zip(self._tensors, self.values, strict=True):
            tensor.set_value(value)


@contextlib.contextmanager
def reads_of(run: Any) -> Iterator[set[str]]:
    """Notes which of the run's moving numbers are read; a program would freeze them.

    Yields:
        their names so far.
    """
    found: set[str] = set()
    kind, tracer = type(run), threading.get_ident()

    def noted(name: str) -> property:
        def read(run: Any) -> Any:
            if threading.get_ident() == tracer:  # another one may show how far the run is
                found.add(name)
            return vars(run)[name]

        return property(read)

    def learning_rate(run: Any) -> float:
        if threading.get_ident() == tracer:
            found.add("learning_rate()")
        return float(kind.learning_rate(run))

    # Properties of the class come before what is in the object itself.
    own = {"learning_rate": learning_rate, **{name: noted(name) for name in MOVING}}
    run.__class__ = type(kind.__name__, (kind,), own)
    try:
        yield found
    finally:
        run.__class__ = kind


def compare(
    eager: Callable[[], float],
    compiled: Callable[[], float],
    tensors: Sequence[Any],
    seed: Callable[[int], Any],
    steps: int = STEPS,
    tolerance: float = TOLERANCE,
    nudged: Sequence[Any] = (),
) -> tuple[str, bool]:
    """Make some steps each way; every tensor is put back afterwards.

    Args:
        eager: makes a step and returns its loss.
        compiled: likewise.
        tensors: all that a step changes.
        seed: seeds the generator of the device.
        steps: how many.
        tolerance: how far they may differ: losses absolute and relative, tensors by so much of what the steps change in them,
            beside last bits. The first steps of a warm-up are small, and so is what would be wrong in them.
        nudged: tensors of which the last bit may be another one. Where the steps end apart, eager makes them from such
            a start too, and they may differ by `ROUNDING` times what that changes: an optimizer that scales gradients
            makes whole steps of rounding where a gradient is zero but for it. Then eager must make the very same steps
            twice: what else changes them would seem to be rounding.

    Returns:
        what differs beyond that, or '', and whether the compiled step draws random numbers.
    """
    start = Tensors(tensors)

    def end_of(step: Callable[[], float]) -> list[np.ndarray[Any, Any]]:
        """The losses, and the tensors after them."""
        losses = []
        try:
            for number in range(steps):
                seed(number)
                losses.append(step())
            return [np.array(losses), *Tensors(tensors).values]
        finally:
            start.put_back()

    end = end_of(eager)
    if nudged and not all(agree(one, other, 0.0, 0.0) for one, other in zip(end, end_of(eager), strict=True)):
        return (
            "eager steps from the same state differ; they depend on more than tensors and Paddle's random numbers",
            True,
        )
    compiled_end = end_of(compiled)
    after = paddle.rand([1]).item()
    seed(steps - 1)
    draws = paddle.rand([1]).item() != after
    ends = list(zip(end, compiled_end, strict=True))
    allowed = [tolerance, *map(functools.partial(_allowed, tolerance), start.values, end[1:])]
    apart = [place for place, (one, other) in enumerate(ends)
             if not agree(one, other, 0.0 if place else tolerance, allowed[place])]  # fmt: skip
    if apart and nudged:
        for tensor in nudged:
            tensor.set_value(_nudged(tensor.numpy()))
        moved = [ROUNDING * _distance(one, other) for one, other in zip(end, end_of(eager), strict=True)]
        apart = [
            place
            for place in apart
            if not agree(*ends[place], 0.0 if place else tolerance, allowed[place] + moved[place])
        ]
    if not apart:
        return "", draws
    if apart[0] == 0:
        return f"its losses are {_shown(compiled_end[0])}, eager's {_shown(end[0])}", draws
    return f"it leaves other numbers in {tensors[apart[0] - 1].name} than eager", draws


def _allowed(tolerance: float, before: np.ndarray[Any, Any], after: np.ndarray[Any, Any]) -> float:
    """How far a tensor may be from what eager made of it; 0 where it is no floating point number's."""
    if not tolerance or not np.issubdtype(after.dtype, np.inexact):
        return 0.0
    size = float(np.abs(after[np.isfinite(after)]).max(initial=0.0))
    return tolerance * _distance(before, after) + LAST_BITS * float(np.spacing(after.dtype.type(size).real))


def agree(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any], relative: float, absolute: float) -> bool:
    """Whether all numbers of two arrays are the same, NaN where the other has NaN, up to the tolerances."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    # The same bits are the same numbers, which takes a tenth of the time to see.
    return one.tobytes() == other.tobytes() or bool(
        np.allclose(one, other, rtol=relative, atol=absolute, equal_nan=True)
    )


def _nudged(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Every second number a bit larger, the others a bit smaller; zeros stay, and what is no floating point number."""
    if not np.issubdtype(value.dtype, np.floating):
        return value
    towards = np.where(np.arange(value.size).reshape(value.shape) % 2, np.inf, -np.inf).astype(value.dtype)
    return np.where(value == 0, value, np.nextafter(value, towards))


def _distance(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """The largest difference of two numbers in the same place; 0 where there is one that is not finite."""
    if not one.size or not (np.isfinite(one).all() and np.isfinite(other).all()):
        return 0.0
    return float(np.abs(one.astype(np.complex128) - other.astype(np.complex128)).max())


def _shown(losses: np.ndarray[Any, Any]) -> str:
    return ", ".join(f"{loss:.6g}" for loss in losses)
