"""What the compiled engine takes from Paddle beyond its documented interface, but for the rewriting of programs.

Tried with the versions in TESTED. Where something is missing, `available` says so before anything depends on it.
"""

from __future__ import annotations

import contextlib
import functools
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from oarlock_plugins.engines import rewriting

TESTED = ("3.3",)
# One interpreter that goes through the operators in order: a small step takes a third of the time.
FLAGS = {"FLAGS_enable_pir_in_executor_trace_run": True}
# Keep intermediate results from one step to the next instead of freeing and allocating them again.
KEEP, FREE = {"FLAGS_eager_delete_tensor_gb": -1.0}, {"FLAGS_eager_delete_tensor_gb": 0.0}

# A learning rate that a trial raises a smaller one to.
VISIBLE = 1e-4


def unavailable() -> str:
    """Why this Paddle cannot be used; '' where it can."""
    import paddle

    version = paddle.__version__
    if version.rsplit(".", 1)[0] not in TESTED:
        return f"Paddle {version} is not one that it was tried with ({', '.join(TESTED)})"
    return ""


@contextlib.contextmanager
def tracing(program: Any, startup: Any, model: Any) -> Iterator[Callable[[], list[tuple[Any, Any]]]]:
    """Static mode, in which live tensors become variables of the program under their own names.

    Those of the model are variables at once; whoever traces puts the model's own attributes back afterwards.

    Yields:
        what returns them so far, as (live tensor, variable of the program).
    """
    import paddle
    from paddle.jit.dy2static.parameter_recorder import _global_inplace_map, _global_parameter_recorder
    from paddle.pir.core import _convert_into_value, static_op_arg_cast_guard

    def captured() -> list[tuple[Any, Any]]:
        return list(zip(*_global_parameter_recorder.pop(program), strict=True))

    paddle.enable_static()
    try:
        # Paddle warns of its own internals while it traces.
        with (
            warnings.catch_warnings(),
            paddle.utils.unique_name.guard(),
            paddle.static.program_guard(program, startup),
            static_op_arg_cast_guard(_convert_into_value),
            _without_stacks(),
        ):
            warnings.simplefilter("ignore")
            for layer in model.sublayers(include_self=True):
                for tensors in (layer._parameters, layer._buffers):
                    tensors.update({name: _convert_into_value(tensor) for name, tensor in tensors.items()})
            yield captured
    finally:
        _global_parameter_recorder.pop(program)
        _global_inplace_map.pop(program)
        paddle.disable_static()


@contextlib.contextmanager
def _without_stacks() -> Iterator[None]:
    """Paddle notes the stack in which each operator is made, with its source: as long as all the rest of tracing takes."""
    before = getattr(sys, "tracebacklimit", None)
    sys.tracebacklimit = 0
    try:
        yield
    finally:
        if before is None:
            del sys.tracebacklimit
        else:
            sys.tracebacklimit = before


def learning_rate(optimizer: Any) -> float:
    """The present one, without the checks of `get_lr`."""
    rate = optimizer._learning_rate
    return rate if type(rate) is float else rate() if callable(rate) else float(rate)


@contextlib.contextmanager
def visible_rate(optimizer: Any) -> Iterator[None]:
    """A schedule's rate large enough for steps to be seen in the weights; that of a warm-up may begin at nothing."""
    schedule = optimizer._learning_rate
    if not callable(schedule):
        yield
        return
    present = schedule.last_lr
    schedule.last_lr = max(present, min(VISIBLE, max(schedule.base_lr, getattr(schedule, "end_lr", 0.0))))
    try:
        yield
    finally:
        schedule.last_lr = present


def is_variable(value: Any) -> bool:
    """Whether this is a variable of a program, left behind by tracing."""
    from paddle.pir import Value

    return isinstance(value, Value)


def storage(tensor: Any) -> Any:
    """What holds a live tensor's numbers."""
    return tensor.get_tensor()


def share(scope: Any, name: str, tensor: Any) -> None:
    """Let a variable of the scope have the live tensor's numbers as its own."""
    scope.var(name).get_tensor()._share_data_with(storage(tensor))


class Direct:
    """A program that is run without `Executor.run`, which costs twice as much as a small step.

    Attributes:
        results: what holds the results' numbers, until the next run.
        dtypes: of the results, as NumPy calls them.

    Args:
        program: the program.
        scope: where its variables are.
        place: where it computes.
        feeds: the names that it is fed with.
        results: what it returns.
        keep: whether intermediate results stay allocated.
    """

    def __init__(
        self, program: Any, scope: Any, place: Any, feeds: Sequence[str], results: Sequence[Any], keep: bool
    ) -> None:
        import paddle

        paddle.set_flags({**FLAGS, **(KEEP if keep else FREE)})
        executor = paddle.static.Executor(place)
        self.dtypes = [paddle.base.data_feeder.convert_dtype(one.dtype) for one in results]
        shapes = rewriting.enter_reshaped(program, feeds)
        names = rewriting.results_into_scope(program, results)
        fetched = [] if names else list(results)  # a copy of each, which takes a tenth of a small step
        plan = _plan(program, rewriting.names_in_scope(program) if keep else set(names))
        paddle.enable_static()
        try:
            _, made, _ = executor._executor_cache.get_pir_program_and_executor(
                program, dict.fromkeys(feeds), fetched, "feed", "fetch", executor.place, scope, plan
            )
        finally:
            paddle.disable_static()
        self._run, self._executor, self._names = made._new_exe.run, made, list(feeds)
        # Variables of the scope, at hand: to find them by name and to make lists of results costs more than to run.
        self._enter = [scope.var(name).get_tensor()._share_data_with for name in feeds]
        self._shapes = [shapes.get(name) for name in feeds]
        names = names or [f"fetch{number}@fetch" for number in range(len(results))]
        self.results = [scope.var(name).get_tensor() for name in names]

    def feeds(self, storages: Sequence[Any]) -> list[Any]:
        """What holds the feeds' numbers, in the shapes that the program takes them in."""
        return [
            one if shape is None else reshaped(one, shape) for one, shape in zip(storages, self._shapes, strict=True)
        ]

    def bind(self, feeds: Sequence[Any]) -> list[Callable[[], Any]]:
        """The calls that run it on its feeds, in their order, as often as they are made."""
        calls = [functools.partial(enter, one) for enter, one in zip(self._enter, feeds, strict=True)]
        return [*calls, functools.partial(self._run, self._names, False)]

    def __call__(self, feeds: Sequence[Any]) -> list[Any]:
        """Run it on its feeds; returns `results`."""
        for call in self.bind(feeds):
            call()
        return self.results


def copier(result: Any) -> Callable[[], Any]:
    """What copies a result of a program, whose next run overwrites it, to a live tensor."""
    import paddle

    tensor = paddle.empty([0])  # to copy one takes a third of the time that it takes to make one
    share = functools.partial(storage(tensor)._share_data_with, result)
    clone = functools.partial(tensor._copy_to, tensor.place, True)  # without what a gradient would need

    def copy() -> Any:
        share()  # each run may have put it elsewhere
        return clone()

    return copy


def _plan(program: Any, staying: set[str]) -> Any:
    """A plan to run a program once.

    Args:
        program: the program.
        staying: variables that an executor need not look at after each operator, to find out whether they can be freed.
    """
    from paddle.base import core

    job = core.Job("default")
    job.set_skip_gc_vars(staying)
    return core.Plan([job], {job.type(): program})


def reshaped(storage: Any, shape: list[int]) -> Any:
    """The same numbers in another shape, without a copy."""
    from paddle.base import core

    other = core.DenseTensor()
    other._share_data_with(storage)
    other._set_dims(shape)
    return other


def reader(result: Any, dtype: str, place: Any) -> Callable[[], Any]:
    """What takes a scalar from a result of a program, whose next run overwrites it.

    On the CPU that is a number; elsewhere a tensor of its own, since to read it would be to wait for the device.
    """
    import paddle

    if not isinstance(place, paddle.CPUPlace):
        return lambda: paddle.Tensor(result).clone()
    if dtype == "float32":
        return functools.partial(result._get_float_element, 0)
    return lambda: float(np.asarray(result).reshape(()))


def cut(whole: Any, start: int, stop: int) -> Any:
    """Rows of what holds a tensor's numbers, without a copy."""
    return whole._slice(start, stop)


def lay(own: Any, whole: Any, start: int, shape: Sequence[int]) -> None:
    """Let what holds a tensor's numbers be a part of another one.

    Args:
        own: what is to lie there.
        whole: the other one, of one axis.
        start: where in it.
        shape: of the part.
    """
    stop = start + math.prod(shape)
    own._share_data_with(reshaped(cut(whole, start, stop), list(shape)))


def move(tensors: Sequence[Any], whole: Any, starts: Sequence[int]) -> None:
    """Copy live tensors of a CPU into another one of one axis, and let them lie there.

    Args:
        tensors: the tensors.
        whole: the other one.
        starts: where in it each begins.
    """
    room, numbers = storage(whole), np.from_dlpack(whole)
    for tensor, start in zip(tensors, starts, strict=True):
        own = storage(tensor)
        shape = own.shape()
        numbers[start : start + math.prod(shape)] = np.asarray(own).reshape(-1)
        lay(own, room, start, shape)
