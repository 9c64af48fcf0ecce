"""What the hooks that build a run must return; an error that names the component where it is something else."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from oarlock.data import Data, ModelSpec
from oarlock.errors import UserError, warn
from oarlock.evaluation import Metric
from oarlock.paddle_import import import_paddle
from oarlock.run import Run


def built(run: Run, hook: str, path: str, **arguments: Any) -> Any:
    """What the component at a path makes for a run.

    Raises:
        UserError: nothing, or something else.
    """
    made = getattr(run.hook, hook)(**arguments)
    if made is None:
        if not any(implementation.plugin_name == path for implementation in getattr(run.hook, hook).get_hookimpls()):
            raise UserError(f"{run.choice(path)}: its class has no {hook}. Is it registered in the right group?")
        raise UserError(f"{run.choice(path)}: its {hook} returned nothing.")
    paddle = import_paddle()
    kind = {"build_data": Data, "build_model": paddle.nn.Layer, "build_optimizer": paddle.optimizer.Optimizer}[hook]
    if not isinstance(made, kind):
        wanted = f"{kind.__module__.partition('.')[0]}'s {kind.__name__}"
        raise UserError(f"{run.choice(path)}: its {hook} returned {type(made).__name__}; expected {wanted}.")
    if hook == "build_optimizer" and (needed := _needed_by(type(made).step)):
        raise UserError(f"{run.choice(path)}: the step of {type(made).__name__} needs a {needed}, and is given nothing here.\n"
                        "Make the steps in a task with build_training_step, and the optimizer there.")  # fmt: skip
    return made


@functools.cache
def _needed_by(step: Callable[..., Any]) -> str:
    """The first argument that an optimizer's step cannot do without, as LBFGS's a closure; '' where there is none."""
    parameters = list(inspect.signature(step).parameters.values())[1:]
    given = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return next((one.name for one in parameters if one.kind not in given and one.default is one.empty), "")


def measures_of(run: Run) -> dict[str, Metric]:
    """The task's metrics.

    Raises:
        UserError: they are something else, or one does not say whether more is better.
    """
    measures: Any = run.hook.build_metrics(data=run.data) or {}
    where = f"{run.choice('task')}: its build_metrics returned"
    if not isinstance(measures, Mapping):
        raise UserError(f"{where} {type(measures).__name__}; expected a dict of metrics by name.")
    # A task that evaluates by itself only says which metrics there are.
    needed = () if run.hook.evaluate.get_hookimpls() else ("update", "accumulate", "reset")
    for name, metric in measures.items():
        if isinstance(metric, type) or not all(hasattr(metric, one) for one in needed):
            raise UserError(f"{where} {name!r}: {metric!r}; expected an object with update, accumulate and reset.")
        if getattr(metric, "direction", None) not in ("max", "min"):
            raise UserError(f"{where} {name!r} with direction={getattr(metric, 'direction', None)!r}; expected 'max' where "
                            "more is better, or 'min'.")  # fmt: skip
    return dict(measures)


def no_loss(run: Run) -> Callable[..., Any]:
    """In the place of a compute_loss that there is none of, or after one that returned nothing: an error."""

    def refuse(*_: Any) -> Any:
        raise UserError(f"{run.choice('task')}: its compute_loss returned nothing, or it has none.")

    return refuse


def warn_of_doubles(run: Run, spec: ModelSpec) -> None:
    """NumPy's own floating-point numbers are not those of Paddle's layers, whose error does not say whose they are."""
    specs = spec.inputs.values() if isinstance(spec.inputs, Mapping) else [spec.inputs]
    if any(one.dtype == "float64" for one in specs) and import_paddle().get_default_dtype() == "float32":
        warn(f"{run.choice('data')}: its inputs are float64, and layers compute in float32; "
             "give inputs.astype('float32')")  # fmt: skip
