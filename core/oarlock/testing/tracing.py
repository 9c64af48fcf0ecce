"""Whether what a component does on each step is the same in a static program, which freezes what Python does."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np

from oarlock.data import Batch, each
from oarlock.errors import one_line
from oarlock.experiment import build_run
from oarlock.run import Run, call
from oarlock.testing.subject import Nonconforming, Subject

STEPS, TOLERANCE = 4, 1e-4
TRACED = ("build_model", "forward", "compute_loss", "compute_penalty", "build_grad_clip", "build_optimizer")
ADVICE = "or say `traceable = False` in the class, and its runs will be eager."


def compare_traced(subject: Subject) -> None:
    """Compare losses and weights of some steps, eager and as a static program.

    Raises:
        Nonconforming: it does not trace, or its numbers differ.
    """
    cls = subject.entry.cls
    if not any(hasattr(getattr(cls, hook, None), "oarlock_impl") for hook in TRACED):
        return
    # Without the run's own optimizer, since Paddle writes the rates of its groups into the parameters.
    run = build_run(subject.host, subject.compose())
    if run.hook.build_training_step.get_hookimpls():
        return  # a task's own training step is always eager
    batches = [step[0] for step in islice(run.feeder.epoch(0, 0), STEPS)]
    weights = {name: tensor.numpy().copy() for name, tensor in run.model.state_dict().items()}
    optimizer = _optimizer_of(subject, run)
    eager_losses, eager_weights = _eager(run, batches, optimizer)
    try:
        with _static():
            losses, traced_weights = _traced(run, batches, weights, optimizer)
    except Exception as error:
        raise Nonconforming(
            f"{subject.path} does not trace into a static program: {type(error).__name__}: {one_line(error)} Keep "
            f"decisions on a tensor's value and reads of it out of what is called on each step, {ADVICE}"
        ) from error
    numbers = zip([*losses, *traced_weights.values()], [*eager_losses, *eager_weights.values()], strict=True)
    if not all(np.allclose(traced, eager, rtol=TOLERANCE, atol=TOLERANCE) for traced, eager in numbers):
        raise Nonconforming(
            f"{subject.path} computes otherwise in a static program: losses {np.round(losses, 6).tolist()}, eager "
            f"{np.round(eager_losses, 6).tolist()}. What Python counts or draws on each step is frozen there; keep it in "
            f"tensors, {ADVICE}"
        )


def _optimizer_of(subject: Subject, run: Run) -> Callable[[Any], Any]:
    """What makes the optimizer from parameters: the component itself where it is one, else plain SGD."""
    if subject.group == "optimizer":
        build = subject.component(run).build_optimizer
        return lambda parameters: call(build, parameters=parameters, schedule=lambda learning_rate: learning_rate)

    def sgd(parameters: Any) -> Any:
        from paddle.optimizer import SGD

        return SGD(0.05, parameters=parameters)

    return sgd


def _loss(run: Run, model: Any, batch: Batch) -> Any:
    loss = run.compute_loss(run.forward(model, batch), batch)
    for penalty in run.flat("compute_penalty", "model"):
        extra = penalty(model)
        loss = loss if extra is None else loss + extra
    return loss


def _eager(run: Run, batches: list[Batch], optimizer_of: Callable[[Any], Any]) -> tuple[list[float], dict[str, Any]]:
    import paddle

    run.model.train()
    optimizer, losses = optimizer_of(run.model.parameters()), []
    for number, batch in enumerate(batches):
        paddle.seed(number)
        loss = _loss(run, run.model, batch)
        loss.backward()
        pairs = [(one, one.grad) for one in run.model.parameters() if one.grad is not None and not one.stop_gradient]
        for clip in run.grad_clips:
            pairs = clip(pairs)
        for parameter, gradient in pairs:
            parameter.grad = gradient
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss.item()))
    return losses, {name: tensor.numpy() for name, tensor in run.model.state_dict().items()}


def _traced(
    run: Run, batches: list[Batch], weights: dict[str, Any], optimizer_of: Callable[[Any], Any]
) -> tuple[list[float], dict[str, Any]]:
    import paddle

    feeds: dict[str, Any] = {}

    def placeholder(kind: str) -> Callable[[Any], Any]:
        def make(leaf: Any) -> Any:
            feeds[f"{kind}{len(feeds)}"] = None
            return paddle.static.data(list(feeds)[-1], list(leaf.shape), str(leaf.dtype).removeprefix("paddle."))

        return make

    with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
        model = run.hook.build_model(spec=run.data.model_spec())
        model.train()
        batch = Batch(each(batches[0].inputs, placeholder("inputs")), each(batches[0].targets, placeholder("targets")))
        loss = _loss(run, model, batch)
        optimizer = optimizer_of([one for one in model.parameters() if not one.stop_gradient])
        pairs = optimizer.backward(loss)
        for clip in run.grad_clips:
            pairs = clip(pairs)
        optimizer.apply_gradients(pairs)
        program = paddle.static.default_main_program()
        executor = paddle.static.Executor(paddle.CPUPlace())
        executor.run(paddle.static.default_startup_program())
        scope = paddle.static.global_scope()
        names = {path: value.name for path, value in model.state_dict().items()}
        for path, value in weights.items():
            scope.find_var(names[path]).get_tensor().set(value, paddle.CPUPlace())
        losses = []
        for number, given in enumerate(batches):
            leaves: list[Any] = []
            each(given.inputs, lambda leaf, leaves=leaves: leaves.append(leaf.numpy()))
            each(given.targets, lambda leaf, leaves=leaves: leaves.append(leaf.numpy()))
            paddle.seed(number)
            (value,) = executor.run(program, feed=dict(zip(feeds, leaves, strict=True)), fetch_list=[loss])
            losses.append(float(np.asarray(value).reshape(())))
        return losses, {path: np.array(scope.find_var(names[path]).get_tensor()) for path in weights}


@contextmanager
def _static() -> Iterator[None]:
    import paddle

    paddle.enable_static()
    try:
        # Paddle warns of its own internals while it traces.
        with (
            warnings.catch_warnings(),
            paddle.static.scope_guard(paddle.static.Scope()),
            paddle.utils.unique_name.guard(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        paddle.disable_static()
