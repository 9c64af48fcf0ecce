"""The plain eager training step: forward, loss, backward, clip, update. A compiled one is a plugin's business."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Union

from oarlock.data import Batch
from oarlock.errors import UserError

if TYPE_CHECKING:
    import paddle

    from oarlock.run import Run

# A loss, which nobody has to read: a scalar tensor, or a number where nothing is waited for.
Loss = Union["paddle.Tensor", float]
# The micro-batches of one optimizer step -> its loss, or what the step's own `read_losses(losses) -> [float]` understands.
Step = Callable[[Sequence[Batch]], Any]
# A batch of an evaluation -> the model's output and its loss.
EvaluationStep = Callable[[Batch], "tuple[Any, Loss]"]


def build_eager_step(run: Run) -> Step:
    """The ordinary step of a run, gradients averaged over all rows of its micro-batches."""
    import paddle

    model, optimizer = run.model, run.optimizer
    forward, compute_loss = run.forward, run.compute_loss
    penalties, after_backward = run.flat("compute_penalty", "model"), run.flat("after_backward", "run")
    clips = run.grad_clips
    parameters = run.optimizers[0].parameters
    precision, scaler = run.precision, run.scaler

    task, tried = run.choice("task"), False

    def loss_of(batch: Batch) -> paddle.Tensor:
        loss = compute_loss(forward(model, batch), batch)
        if not tried and getattr(loss, "size", 0) != 1:
            shape = list(getattr(loss, "shape", [])) or type(loss).__name__
            raise UserError(
                f"{task}: its compute_loss returned {shape}; expected a tensor of one number, as mean() gives."
            )
        for penalty in penalties:
            extra = penalty(model)
            loss = loss if extra is None else loss + extra
        return loss

    def step(batches: Sequence[Batch]) -> paddle.Tensor:
        nonlocal tried
        total = None
        rows = sum(batch.size for batch in batches) if len(batches) > 1 else 0
        for batch in batches:
            if precision.enabled:
                with paddle.amp.auto_cast(dtype=precision.dtype):
                    loss = loss_of(batch)
            else:
                loss = loss_of(batch)
            if rows:
                loss = loss * (batch.size / rows)
            (scaler.scale(loss) if scaler is not None else loss).backward()
            loss = loss.detach()
            total = loss if total is None else total + loss
        if not tried and all(parameter.grad is None for parameter in parameters):
            raise UserError(
                f"{task}: no parameter has a gradient of its loss; a tensor on the way was detached, or made anew."
            )
        tried = True
        if scaler is not None and (clips or after_backward):
            scaler.unscale_(optimizer)
        for hook in after_backward:
            hook(run)
        if clips:
            clip_gradients(parameters, clips)
        if scaler is not None:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step()
        optimizer.clear_grad(set_to_zero=False)
        assert total is not None
        return total

    return step


def read_losses(losses: Sequence[Loss]) -> list[float]:
    """The values of losses; of tensors on another device all at once, since each reading waits for it."""
    import paddle

    tensors = [loss for loss in losses if not isinstance(loss, float)]
    if not tensors or tensors[0].place.is_cpu_place():
        return [loss if isinstance(loss, float) else float(loss.item()) for loss in losses]
    stacked = paddle.stack([loss.detach().reshape([]) if loss.ndim else loss.detach() for loss in tensors])
    values = iter(stacked.astype("float64").numpy().tolist())
    return [loss if isinstance(loss, float) else float(next(values)) for loss in losses]


def build_eager_evaluation(run: Run) -> EvaluationStep:
    """The ordinary forward and loss of a batch."""

    def step(batch: Batch) -> tuple[Any, paddle.Tensor]:
        output = run.forward(run.model, batch)
        return output, run.compute_loss(output, batch)

    return step


def clip_gradients(parameters: Sequence[Any], clips: Sequence[Callable[[list[Any]], list[Any]]]) -> None:
    """Apply the clips in order, once over all parameters that have a gradient."""
    pairs = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
    for clip in clips:
        pairs = clip(pairs)
    for parameter, gradient in pairs:
        parameter.grad = gradient


def build_custom_step(run: Run, training_step: Callable[[Batch], paddle.Tensor]) -> Step:
    """A task's own training step in the place of the ordinary one.

    Raises:
        UserError: accumulation or mixed precision are asked for, which such a step does itself.
    """
    trainer = run.config.trainer
    if trainer.accumulate_steps > 1 or run.precision.enabled:
        raise UserError(
            f"{run.choice('task')} brings its own training step; it works with "
            "trainer.accumulate_steps=1 and trainer.precision=fp32."
        )

    def step(batches: Sequence[Batch]) -> paddle.Tensor:
        loss = training_step(batches[0])
        if loss is None:
            raise UserError(f"{run.choice('task')}: its training step returned nothing; "
                            "expected the loss.")  # fmt: skip
        return loss

    return step
