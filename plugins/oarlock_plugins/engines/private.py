"""All that the compiled engine takes from Paddle beyond its documented interface, in one place.

Tried with the versions in TESTED. Where something is missing, `available` says so before anything depends on it.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

TESTED = ("3.3",)
# One interpreter that goes through the operators in order: a small step takes a third of the time.
FLAGS = {"FLAGS_enable_pir_in_executor_trace_run": True}
# Keep intermediate results from one step to the next instead of freeing and allocating them again.
KEEP, FREE = {"FLAGS_eager_delete_tensor_gb": -1.0}, {"FLAGS_eager_delete_tensor_gb": 0.0}


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


def simplify(program: Any) -> None:
    """Drop what a program computes twice; an optimizer writes its constants out for each parameter."""
    from paddle.base.libpaddle.pir import PassManager

    passes = PassManager(2)
    passes.add_pass("common_subexpression_elimination_pass", {})
    passes.run(program)


def learning_rate(optimizer: Any) -> float:
    """The present one, without the checks of `get_lr`."""
    rate = optimizer._learning_rate
    return rate if type(rate) is float else rate() if callable(rate) else float(rate)


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

    Args:
        program: the program.
        scope: where its variables are.
        place: where it computes.
        feeds: the names that it is fed with.
        fetches: what it returns.
        keep: whether intermediate results stay allocated.
    """

    def __init__(
        self, program: Any, scope: Any, place: Any, feeds: Sequence[str], fetches: Sequence[Any], keep: bool
    ) -> None:
        import paddle

        paddle.set_flags({**FLAGS, **(KEEP if keep else FREE)})
        executor = paddle.static.Executor(place)
        paddle.enable_static()
        try:
            _, made, _ = executor._executor_cache.get_pir_program_and_executor(
                program, dict.fromkeys(feeds), list(fetches), "feed", "fetch", executor.place, scope, None
            )
        finally:
            paddle.disable_static()
        self._run, self._set = made._new_exe.run, paddle.base.core.set_feed_variable
        self._scope, self._feeds, self._executor = scope, list(feeds), made

    def __call__(self, storages: Sequence[Any]) -> list[Any]:
        """Run it on what holds the feeds' numbers; returns what holds the results'."""
        scope, put = self._scope, self._set
        for name, one in zip(self._feeds, storages, strict=True):
            put(scope, one, name, 0)
        results: list[Any] = self._run(self._feeds, False)._move_to_list()
        return results


def reader(place: Any, dtype: str) -> Callable[[Any], Any]:
    """What takes a scalar from a result, which the next run of its program overwrites.

    On the CPU that is a number; elsewhere a tensor of its own, since to read it would be to wait for the device.
    """
    import numpy as np
    import paddle

    if not isinstance(place, paddle.CPUPlace):
        return lambda result: paddle.Tensor(result).clone()
    if dtype == "float32":
        return lambda result: result._get_float_element(0)
    return lambda result: float(np.asarray(result).reshape(()))


def cut(whole: Any, start: int, stop: int) -> Any:
    """Rows of what holds a tensor's numbers, without a copy."""
    return whole._slice(start, stop)
