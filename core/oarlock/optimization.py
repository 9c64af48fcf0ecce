"""Which parameters decay, who decides, and optimizers whose state can be stored by parameter path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

from oarlock.errors import RunFailed, UserError, warn

if TYPE_CHECKING:
    import paddle


def decays(parameter: paddle.Tensor) -> bool:
    """Whether weight decay applies to a parameter: to matrices and kernels, not to biases and norms' scales.

    The usual practice (Loshchilov & Hutter 2019 leave it open; Brown et al. 2020, He et al. 2019 exclude them).
    """
    return bool(parameter.ndim > 1)


def trainable(model: paddle.nn.Layer) -> dict[str, paddle.Tensor]:
    """The parameters that an optimizer moves, by path. Paddle counts BatchNorm's statistics as parameters."""
    return {path: parameter for path, parameter in model.named_parameters() if not parameter.stop_gradient}


def claim_parameters(manager: pluggy.PluginManager, model: paddle.nn.Layer) -> dict[str, str]:
    """Let every component prepare the parameters; who decays which, as {parameter path: config path}.

    Raises:
        UserError: two components claim the decay of one parameter.
    """
    claims: dict[str, str] = {}
    for implementation in reversed(manager.hook.prepare_parameters.get_hookimpls()):
        refuse_wrapper(implementation, "prepare_parameters", "is asked one component at a time")
        claimed: Any = implementation.function(*[model for name in implementation.argnames if name == "model"]) or ()
        claim(claims, claimed, implementation.plugin_name, model)
    return claims


def claim(claims: dict[str, str], parameters: Sequence[Any], owner: str, model: paddle.nn.Layer) -> None:
    """Add what a component decays to the claims.

    Raises:
        UserError: another one decays a parameter of it.
    """
    paths = {parameter.name: path for path, parameter in trainable(model).items()}
    for parameter in parameters:
        path = paths.get(parameter.name)
        if path is None:
            continue
        if path in claims:
            raise UserError(
                f"{claims[path]} and {owner} both decay '{path}'.\nLeave one of them out, or give it a coefficient of 0."
            )
        claims[path] = owner


def claim_groups(claims: dict[str, str], groups: Sequence[dict[str, Any]], model: paddle.nn.Layer) -> None:
    """Add the parameters that decay by their group's own `weight_decay` to the claims.

    Raises:
        UserError: somebody but the optimizer has claimed one of them.
    """
    paths = {parameter.name: path for path, parameter in trainable(model).items()}
    apart = (
        "optimizer" in claims.values()
    )  # one that decays apart from the gradient leaves the same ones out of a group
    for group in groups:
        for parameter in group["params"] if group.get("weight_decay") else []:
            path = paths.get(parameter.name, parameter.name)
            if apart and path not in claims:
                continue
            if claims.setdefault(path, "a parameter group") not in ("a parameter group", "optimizer"):
                raise UserError(
                    f"{claims[path]} and a parameter group with weight_decay both decay '{path}'.\n"
                    f"Leave {claims[path]} out, or the group's weight_decay."
                )


def refuse_wrapper(implementation: pluggy.HookImpl, hook: str, why: str) -> None:
    """Raise a UserError for an implementation that wraps the others, of a hook where that makes no sense."""
    if implementation.hookwrapper or implementation.wrapper:
        raise UserError(f"{implementation.plugin_name}: {hook} {why} and cannot be a wrapper.")


def flat_parameters(parameters: Sequence[Any]) -> list[Any]:
    """Parameters, or parameter groups, as a flat list."""
    return [
        parameter for group in parameters for parameter in (group["params"] if isinstance(group, dict) else [group])
    ]


class BuiltOptimizer:
    """An optimizer with the schedules of its learning rate, and its state by parameter path."""

    def __init__(self, parameters: Sequence[Any], build: Callable[..., Any], schedule: Callable[..., Any]) -> None:
        from paddle.optimizer import Optimizer
        from paddle.optimizer.lr import LRScheduler

        self.schedules: list[Any] = []

        def scheduled(learning_rate: float) -> Any:
            rate = schedule(learning_rate)
            if isinstance(rate, LRScheduler):
                self.schedules.append(rate)
            return rate

        self.given, self._build = parameters, build
        self.parameters = flat_parameters(parameters)
        penalties = [parameter.regularizer for parameter in self.parameters]
        self.optimizer = build(parameters, scheduled)
        if any(isinstance(value, Optimizer) for value in vars(self.optimizer).values()):
            # As paddle.incubate.LookAhead does.
            warn(f"{type(self.optimizer).__name__} keeps an optimizer inside, whose state no checkpoint holds: a resumed "
                 "run will not be exact")  # fmt: skip
        for parameter, penalty in zip(self.parameters, penalties, strict=True):
            # Paddle overwrites them with a group's weight decay, also where the group has none.
            if parameter.regularizer is None:
                parameter.regularizer = penalty

    def rebuild(self, replace: Callable[[Any], Any]) -> Any:
        """The same optimizer over other parameters, at a constant learning rate and without this one's state.

        Args:
            replace: from one of this optimizer's parameters to another's, or to None to leave it out.
        """

        def replaced(parameters: Sequence[Any]) -> list[Any]:
            return [other for other in map(replace, parameters) if other is not None]

        grouped = any(isinstance(one, dict) for one in self.given)
        parameters = ([{**one, "params": replaced(one["params"])} for one in self.given]
                      if grouped else replaced(self.given))  # fmt: skip
        return self._build(parameters, lambda learning_rate: learning_rate)

    def create_accumulators(self) -> None:
        """Make the optimizer's state before its first step, which would otherwise do it."""
        import paddle
        from paddle.base.layer_helper import LayerHelper

        if self.optimizer.helper is None:  # Paddle 2.6 makes it at the first step
            self.optimizer.helper = LayerHelper(type(self.optimizer).__name__)
        self.optimizer._create_accumulators(
            paddle.static.default_main_program().global_block(),
            [parameter for parameter in self.parameters if not parameter.stop_gradient],
        )

    def state_dict(self, paths: dict[str, str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Tensors as {'path::accumulator': tensor}, and the schedules' states. `paths` maps names to paths.

        Paddle keys its state by automatic names that differ from one model to the next in a process.
        """
        tensors = {}
        for accumulator, by_parameter in self.optimizer._accumulators.items():
            for name, tensor in by_parameter.items():
                tensors[f"{paths[name]}::{accumulator}"] = tensor
        for name, tensor in getattr(self.optimizer, "_master_weights", {}).items():
            tensors[f"{paths[name]}::master_weight"] = tensor
        return tensors, [_state_of(schedule) for schedule in self.schedules]

    def load_state_dict(self, tensors: dict[str, Any], schedules: list[dict[str, Any]], paths: dict[str, str]) -> None:
        """Restore what `state_dict` gave, with arrays for tensors, into an optimizer that has not made a step yet.

        Raises:
            RunFailed: the state is not one of this optimizer.
        """
        import paddle

        if tensors:
            self.create_accumulators()
        missing = dict(tensors)
        for accumulator, by_parameter in self.optimizer._accumulators.items():
            for name, tensor in by_parameter.items():
                saved = missing.pop(f"{paths[name]}::{accumulator}", None)
                if saved is not None:
                    tensor.set_value(saved)
        masters = getattr(self.optimizer, "_master_weights", {})
        for key in list(missing):
            path, _, accumulator = key.partition("::")
            name = next((name for name, known in paths.items() if known == path), None)
            if accumulator == "master_weight" and name is not None:
                masters[name] = paddle.to_tensor(missing.pop(key))
        if missing or len(schedules) != len(self.schedules):
            raise RunFailed(f"the checkpoint's optimizer state does not fit this optimizer: {', '.join(missing)[:200]}")
        for schedule, state in zip(self.schedules, schedules, strict=True):
            _restore(schedule, state)


# Where a schedule's own numbers are in its state.
NUMBERS = "numbers"


def _state_of(schedule: Any) -> dict[str, Any]:
    """A schedule's state in types that JSON has, with all of its numbers: Paddle's own leaves some out, as where a restart is."""
    return {**_plain(schedule.state_dict()), NUMBERS: [_numbers(one) for one in _with_inner(schedule)]}


def _restore(schedule: Any, state: dict[str, Any]) -> None:
    state = dict(state)
    for one, numbers in zip(_with_inner(schedule), state.pop(NUMBERS, ()), strict=False):
        vars(one).update(numbers)
    schedule.set_state_dict(state)


def _with_inner(schedule: Any) -> list[Any]:
    """A schedule and those that it holds, as a warm-up holds the one after it."""
    from paddle.optimizer.lr import LRScheduler

    inner = [one for one in vars(schedule).values() if isinstance(one, LRScheduler)]
    return [schedule, *(found for one in inner for found in _with_inner(one))]


def _numbers(schedule: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(schedule).items() if type(value) in (int, float)}


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """A schedule's state with single numbers in types that JSON has."""
    return {key: _plain(value) if isinstance(value, dict) else value.item() if getattr(value, "size", 0) == 1 else value
            for key, value in state.items()}  # fmt: skip
