"""Measuring a model on a split, in eval mode and without gradients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from oarlock.data import Arrays, Batch, checksums, each
from oarlock.errors import UserError, nearest
from oarlock.feeding import evaluation_batches
from oarlock.step import read_losses

if TYPE_CHECKING:
    import paddle

    from oarlock.run import Run


class Metric(Protocol):
    """A measure over the batches of an evaluation.

    Attributes:
        direction: 'max' when more is better, 'min' when less is.
    """

    direction: str

    def update(self, output: Any, batch: Batch) -> None:
        """Take in one batch; keep the sums on the device, nothing is read until the end."""

    def accumulate(self) -> float:
        """The value over all batches since `reset`."""

    def reset(self) -> None:
        """Forget all batches."""


def evaluate(run: Run, part: Any, keep: bool = False) -> dict[str, float]:
    """The loss and the task's metrics over a split, without the split's name.

    Args:
        run: the run.
        part: the split.
        keep: the split will be evaluated again, so its rows stay on the device if they are in memory.
    """
    import paddle

    own = run.hook.evaluate(run=run, data=part) if run.hook.evaluate.get_hookimpls() else None
    if own is not None:
        if not isinstance(own, Mapping):
            raise UserError(f"evaluate returned {type(own).__name__}; expected a dict of numbers by name.")
        return {name: _number(value) for name, value in own.items()}
    training = run.model.training
    layers = layers_of(run.model)
    set_mode(layers, training=False)
    losses, rows = [], []
    for metric in run.measures.values():
        metric.reset()
    try:
        with paddle.no_grad():
            for batch in _batches(run, part, keep):
                output, loss = run.evaluation_step(batch)
                losses.append(loss)
                rows.append(batch.size)
                for metric in run.measures.values():
                    metric.update(output, batch)
    finally:
        if training:
            set_mode(layers, training=True)
    if not rows:
        raise UserError("There is no row to evaluate.")
    mean = sum(loss * size for loss, size in zip(read_losses(losses), rows, strict=True)) / sum(rows)
    return {"loss": mean, **{name: _number(metric.accumulate()) for name, metric in run.measures.items()}}


def layers_of(model: paddle.nn.Layer) -> list[paddle.nn.Layer]:
    """The model and all layers in it, the model first; what `sublayers` finds by their names."""
    found, seen = [model], {id(model)}
    for layer in found:
        for child in layer._sub_layers.values():
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                found.append(child)
    return found


def set_mode(layers: list[paddle.nn.Layer], training: bool) -> None:
    """What `train()` and `eval()` of a model do, without Paddle's checks of each attribute, on each evaluation.

    Args:
        layers: the model and all layers in it, the model first.
        training: the mode.
    """
    import paddle

    model, plain = layers[0], paddle.nn.Layer
    if type(model).train is not plain.train or type(model).eval is not plain.eval:
        model.train() if training else model.eval()
        return
    for layer in layers:
        vars(layer)["training"] = training


def _batches(run: Run, part: Any, keep: bool) -> Iterable[Batch]:
    size = run.config.trainer.evaluation_batch_size

    def batches() -> Iterator[Batch]:
        return evaluation_batches(run.data, part, size)

    if not (keep and isinstance(part, Arrays)):
        return batches()
    # What is kept holds the arrays and the layer, so that no other object can get their identity.
    preprocess = run.data.preprocess
    if id(part) not in run.checksums:
        run.checksums[id(part)] = checksums(part) if run.kept.lasting else ()
    key = (id(part), id(preprocess), size, run.checksums[id(part)])
    kept = run.kept.find("batches", key)
    if kept is None or _written(kept[0]) != kept[3]:  # a forward may write into what it is given
        made = list(batches())
        kept = made, part, preprocess, _written(made)
        run.kept.keep("batches", key, kept, most=4)
    found: list[Batch] = kept[0]
    return found


def _written(batches: list[Batch]) -> list[int]:
    """How often each tensor of the batches was written to."""
    found: list[int] = []
    for batch in batches:
        for tree in (batch.inputs, batch.targets):
            each(tree, lambda leaf: found.append(leaf.inplace_version))
    return found


def _number(value: Any) -> float:
    """A metric's value, which may be a tensor of one element."""
    return float(value.item() if hasattr(value, "item") else value)


def resolve_monitor(
    monitor: str | None, measures: dict[str, Metric], splits: list[str], option: str = "trainer.monitor"
) -> tuple[str, str]:
    """The monitored metric's full name and its direction.

    Args:
        monitor: the name that was asked for; None for the task's primary metric.
        measures: the metrics of the task.
        splits: which of train, valid and test the data has.
        option: where the name stands in the configuration, for the error.

    Raises:
        UserError: there is no such metric in an evaluation of this run.
    """
    split = "valid" if "valid" in splits else "train"
    directions = {f"{split}/loss": "min"}
    if split == "valid":
        directions |= {f"valid/{name}": metric.direction for name, metric in measures.items()}
    directions.setdefault("train/loss", "min")
    if monitor is None:
        primary = f"{split}/{next(iter(measures), 'loss')}"
        monitor = primary if primary in directions else f"{split}/loss"
    if monitor not in directions:
        raise UserError(f"{option}={monitor}: this run measures no such metric. {nearest(monitor, directions)}")
    return monitor, directions[monitor]
