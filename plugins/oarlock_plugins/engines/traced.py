"""A whole training step, or an evaluation's forward and loss, traced into a program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from oarlock import Batch, Rows
from oarlock_plugins.engines import private
from oarlock_plugins.engines.flat import FlatMemory
from oarlock_plugins.engines.programs import Program, Untraceable, leaves


class StepProgram(Program):
    """Forward, loss, penalties, backward, clips and the optimizer's step.

    Attributes:
        draws: whether it draws random numbers.

    Args:
        run: the run.
        batches: the micro-batches of a step.
        place: where it computes.
        memory: what the run's tensors may be moved to.
    """

    draws = True

    def __init__(self, run: Any, batches: Sequence[Batch], place: Any, memory: FlatMemory | None = None) -> None:
        import paddle

        super().__init__(place, batches)
        built = run.optimizers[0]
        penalties = run.flat("compute_penalty", "model")
        rows = sum(batch.size for batch in batches) if len(batches) > 1 else 0
        with private.tracing(self.main, self.startup, run.model) as captured:
            losses = []
            for batch in self.placeholders(batches):
                loss = run.compute_loss(run.forward(run.model, batch), batch)
                for penalty in penalties:
                    extra = penalty(run.model)
                    loss = loss if extra is None else loss + extra
                if rows:
                    loss = loss * (batch.size / rows)
                losses.append(loss)
            if not all(map(private.is_variable, losses)):
                raise Untraceable("the loss does not depend on the batch")
            live = captured()
            variables = {tensor.name: variable for tensor, variable in live}
            optimizer = built.rebuild(lambda parameter: variables.get(parameter.name))
            for tensor, variable in live:
                # Paddle overwrites them with a group's weight decay, also where the group has none.
                variable.regularizer = getattr(tensor, "regularizer", None)
                variable.need_clip = getattr(tensor, "need_clip", True)
                variable.optimize_attr = dict(getattr(tensor, "optimize_attr", {"learning_rate": 1.0}))
            # By name: of groups Paddle would take the dicts for parameters.
            moved = [variables[one.name] for one in built.parameters
                     if one.name in variables and variables[one.name].all_used_ops()]  # fmt: skip
            pairs = _sum([optimizer.backward(loss, parameters=moved) for loss in losses])
            for clip in run.grad_clips:
                pairs = clip(pairs)
            optimizer.apply_gradients(pairs)
            rate = optimizer._global_learning_rate()
            rate_name, self._dtype = rate.name, paddle.base.data_feeder.convert_dtype(rate.dtype)
            total = sum(losses[1:], losses[0])
            live += captured()
        shared = {tensor.name: tensor for tensor, _ in live}
        if len(shared) < len(live):
            raise Untraceable("two tensors of the model have one name")
        for accumulator, by_parameter in optimizer._accumulators.items():
            for name, variable in by_parameter.items():
                tensor = built.optimizer._accumulators.get(accumulator, {}).get(name)
                if tensor is None or list(tensor.shape) != list(variable.shape):
                    raise Untraceable(f"the optimizer's {accumulator} of {name} is another one in eager")
                shared[variable.name] = tensor
        self.finish(shared, [total], memory)
        self._optimizer = built.optimizer
        self._rate: float | None = None
        self._rate_tensor = self.scope.find_var(rate_name).get_tensor()
        self._read = private.reader(self._run.results[0], self._run.dtypes[0], place)
        # Of the rows that it was last called with: the whole, what holds its numbers, and by identity the batches, which
        # are held so that no others get theirs, with what makes a step on them.
        self._whole: Batch | None = None
        self._storages: list[Any] = []
        self._steps: dict[tuple[int, ...], tuple[Sequence[Batch], Callable[[], Any]]] = {}

    def adopt(self, run: Any, memory: FlatMemory | None = None) -> bool:
        self._optimizer, self._rate = run.optimizer, None
        return super().adopt(run, memory)

    def step_of(self, batches: Sequence[Batch]) -> Callable[[], Any]:
        """What makes a step on these batches at the optimizer's present learning rate; it returns a handle of the loss.

        For rows it is kept until there are rows of another whole: runs of one process may have theirs in the same memory.
        """
        whole = batches[0].whole if type(batches[0]) is Rows else None
        if whole is None:
            return self._bound([private.storage(leaf) for batch in batches for leaf in leaves(batch)])
        if whole is not self._whole:
            self._whole, self._storages = whole, [private.storage(leaf) for leaf in leaves(whole)]
            self._steps.clear()
        key = tuple(map(id, batches))
        if key not in self._steps:
            rows = [(batch.start, batch.stop) for batch in batches if isinstance(batch, Rows)]
            cuts = [private.cut(one, start, stop) for start, stop in rows for one in self._storages]
            self._steps[key] = tuple(batches), self._bound(cuts)
        return self._steps[key][1]

    def _bound(self, storages: Sequence[Any]) -> Callable[[], Any]:
        """What makes a step on what holds the numbers of its batches.

        All that it calls is at hand: what Python does between two runs of a small program has to be fetched into the
        processor's caches anew.
        """
        calls, read = self._run.bind(self._run.feeds(storages)), self._read

        def step() -> Any:
            optimizer = self._optimizer
            rate = optimizer._learning_rate
            if type(rate) is not float:
                rate = private.learning_rate(optimizer)
            if rate != self._rate:
                self._enter_rate(rate)
            for call in calls:
                call()
            return read()

        return step

    def _enter_rate(self, rate: float) -> None:
        self._rate_tensor.set(np.full(self._rate_tensor.shape(), rate, self._dtype), self._place)
        self._rate = rate


class EvaluationProgram(Program):
    """Forward and loss of one batch in eval mode."""

    def __init__(self, run: Any, batch: Batch, place: Any) -> None:
        super().__init__(place, [batch])
        with private.tracing(self.main, self.startup, run.model) as captured:
            (variables,) = self.placeholders([batch])
            output = run.forward(run.model, variables)
            loss = run.compute_loss(output, variables)
            live = captured()
        if not (private.is_variable(output) and private.is_variable(loss)):
            raise Untraceable("its output is not one tensor")
        self.finish({tensor.name: tensor for tensor, _ in live}, [output, loss])
        kept_output, kept_loss = self._run.results
        self._copy, self._read = private.copier(kept_output), private.reader(kept_loss, self._run.dtypes[1], place)

    def bind(self, feeds: Sequence[Any]) -> Callable[[], tuple[Any, Any]]:
        """What evaluates these feeds; it returns the output, which is the caller's, and a handle of the loss."""
        calls, copy, read = self._run.bind(feeds), self._copy, self._read

        def evaluate() -> tuple[Any, Any]:
            for call in calls:
                call()
            return copy(), read()

        return evaluate


def _sum(gradients: Sequence[Sequence[tuple[Any, Any]]]) -> list[tuple[Any, Any]]:
    """The gradients of all micro-batches by parameter, added in their order as eager does."""
    added: dict[str, tuple[Any, Any]] = {}
    for parameter, gradient in (pair for pairs in gradients for pair in pairs):
        before = added.get(parameter.name)
        added[parameter.name] = (parameter, gradient if before is None else before[1] + gradient)
    return list(added.values())
