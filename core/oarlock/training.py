"""The training loop, and what the core keeps watch over: finite numbers, the best weights, the record."""

from __future__ import annotations

import logging
import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from oarlock import checkpoint
from oarlock.device import generator_seeder
from oarlock.errors import NonFiniteError, OarlockError, RunFailed, UserError, nearest
from oarlock.evaluation import evaluate
from oarlock.record import RunFolder, finite
from oarlock.run import Run, mix
from oarlock.signals import Signals

log = logging.getLogger("oarlock")
EPOCH_START, VALIDATION, EPOCH_END, TEST = range(4)


class Interrupted(OarlockError):
    """The run was stopped by a signal, after a checkpoint.

    Attributes:
        folder: the run's folder.
    """

    def __init__(self, signal: str, folder: Path) -> None:
        super().__init__(signal)
        self.folder = folder


def train(run: Run, signals: Signals) -> None:
    """Train from where the run stands to its end.

    Raises:
        Interrupted: a signal came; the state is saved.
        NonFiniteError: loss or weights became infinite or NaN; the last finite weights are back in the model.
    """
    with CheckpointClock(run) as clock:
        _train(run, signals, FiniteWatch(run), clock)


def _train(run: Run, signals: Signals, watch: FiniteWatch, clock: CheckpointClock) -> None:
    """The loop."""
    import paddle

    trainer = run.config.trainer
    period, unit = trainer.evaluation_period()
    step_function, seed, seed_generator = run.training_step, run.config.seed, generator_seeder(run.device)
    # One that follows a metric steps itself, when there is one.
    schedules = [schedule for built in run.optimizers for schedule in built.schedules
                 if not isinstance(schedule, paddle.optimizer.lr.ReduceOnPlateau)]  # fmt: skip

    run.hook.on_run_start(run=run)
    on_step_end = run.flat("on_step_end", "run")  # a callback may have registered one
    # A hook that says `changes_run = False` draws nothing either.
    draws_beside = run.feeder.draws or any(getattr(hook.plugin, "changes_run", True)
                                           for hook in run.hook.on_step_end.get_hookimpls())  # fmt: skip
    run.model.train()
    while not _finished(run) or _epoch_end_pending(run):
        if run.position == 0:
            call_at(run, EPOCH_START, run.hook.on_epoch_start)
        epoch_complete = True
        steps = run.feeder.epoch(run.epoch, run.position)
        while True:
            # The generator's state is a function of (seed, step), so that no resume can lose it.
            if draws_beside or getattr(step_function, "draws", True):
                seed_generator(mix(seed, run.step))
            batches = next(steps, None)
            if batches is None:
                break
            loss = step_function(batches)
            run.step += 1
            run.position += 1
            watch.add(loss)
            for schedule in schedules:
                schedule.step()
            for hook in on_step_end:
                hook(run)
            if unit == "step" and run.step % period == 0:
                _evaluate(run, watch)
            if signals.received or clock.due():
                watch.check()
                clock.save()
                if signals.received:
                    clock.settle()
                    raise Interrupted(signals.received.name, run.folder or Path())
            if _finished(run):
                epoch_complete = run.position == run.feeder.steps_per_epoch
                break
        if run.position == 0:
            raise RunFailed(f"epoch {run.epoch + 1} has no training batch; an iterator that can be passed only once "
                            "needs trainer.epochs=1")  # fmt: skip
        if epoch_complete:
            if unit == "epoch" and (run.epoch + 1) % period == 0:
                _evaluate(run, watch)
            call_at(run, EPOCH_END, run.hook.on_epoch_end)
            run.epoch += 1
            run.position = 0
            if clock.due(epoch_ended=True):
                watch.check()
                clock.save()
    if run.evaluated_step != run.step:
        _evaluate(run, watch)
    watch.check()
    if run.keeps(run):
        clock.save()
    clock.settle()


def finish(run: Run) -> None:
    """Restore the best weights and evaluate the test split, once."""
    if run.best_weights:
        own = run.model.state_dict()
        for name, weights in run.best_weights.items():
            own[name].set_value(weights)
    run.model.eval()
    seed_moment(run, TEST)
    if run.data.test is not None:
        run.metrics.update({f"test/{name}": value for name, value in evaluate(run, run.data.test).items()})
    if run.status == "running":
        run.status = "completed"


def _finished(run: Run) -> bool:
    trainer = run.config.trainer
    if run.stop_reason or (trainer.max_steps is not None and run.step >= trainer.max_steps):
        return True
    return run.epoch >= trainer.epochs


def _epoch_end_pending(run: Run) -> bool:
    """Whether the last step of an epoch was made, but not yet its evaluation and its end."""
    return run.position > 0 and run.position == run.feeder.steps_per_epoch


def _evaluate(run: Run, watch: FiniteWatch) -> None:
    """One evaluation: metrics, best weights, a line in the record, and only then the callbacks."""
    watch.check()
    epoch = run.epoch + (run.position > 0)  # how many have begun; after the last one none has
    run.evaluated_step = run.step
    seed_moment(run, VALIDATION)
    run.hook.on_evaluation_start(run=run)
    metrics = {"train/loss": run.loss_sum / run.loss_count} if run.loss_count else {}
    run.loss_sum, run.loss_count = 0.0, 0
    if run.data.valid is not None:
        metrics |= {f"valid/{name}": value for name, value in evaluate(run, run.data.valid, keep=True).items()}
    run.metrics = metrics
    if run.monitor not in metrics and run.monitor.startswith("valid/"):
        raise UserError(
            f"trainer.monitor={run.monitor}: the evaluation did not measure it. {nearest(run.monitor, metrics)}"
        )
    value = metrics.get(run.monitor, math.nan)
    if improves(value, run.best["value"] if run.best else None, run.direction):
        run.best = {"step": run.step, "epoch": epoch, "monitor": run.monitor, "value": value}
        run.best_weights = {name: tensor.clone().detach() for name, tensor in run.model.state_dict().items()}
    row: dict[str, Any] = {"epoch": epoch, "step": run.step, "time": round(time.time(), 3)}
    row |= {"learning_rate": run.learning_rate(), **metrics}
    row = finite(row)
    run.history.append(row)
    if run.record is not None:
        run.record.append_metrics(row)
    log.info("epoch %d step %d %s", epoch, run.step, " ".join(f"{key}={metrics[key]:.6g}" for key in metrics))
    run.hook.on_evaluation_end(run=run, metrics=dict(metrics))


def improves(value: float, best: float | None, direction: str) -> bool:
    """Whether a value is better than the best so far; NaN and infinity never are."""
    if not math.isfinite(value):
        return False
    return best is None or (value > best if direction == "max" else value < best)


def seed_moment(run: Run, moment: int) -> None:
    """Seed Paddle for what happens beside the steps, as a function of (seed, step, moment)."""
    generator_seeder(run.device)(mix(run.config.seed, -(4 * run.step + moment + 1)))


def call_at(run: Run, moment: int, hook: Any) -> None:
    """Call a hook at a moment, after seeding for it where somebody implements it."""
    if hook.get_hookimpls():
        seed_moment(run, moment)
        hook(run=run)


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


class CheckpointClock:
    """Decides when to save, and saves after all callbacks of a moment.

    A checkpoint is a copy of the state at once, and written by a thread while training goes on, one after another.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._config = run.config.trainer.checkpoint
        self._saved_at = time.monotonic()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[Path] | None = None

    def __enter__(self) -> CheckpointClock:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._writing is not None and kind is not None:
            error = self._writing.exception()  # what ends the run is another thing, and is the one to report
            if error is not None:
                log.error("a checkpoint could not be written: %s", error)
        self._thread.shutdown()

    def due(self, epoch_ended: bool = False) -> bool:
        run, config = self._run, self._config
        if self._writing is not None and self._writing.done():
            self.settle()
        if run.record is None:
            return False
        if run.checkpoint_requested:
            return True
        if config.every_seconds is not None and time.monotonic() - self._saved_at >= config.every_seconds:
            return True
        if epoch_ended:
            return config.every_epochs is not None and run.epoch % config.every_epochs == 0
        return config.every_steps is not None and run.step % config.every_steps == 0

    def save(self) -> None:
        """Begin to save a checkpoint, when the one before is complete.

        Raises:
            RunFailed: the one before could not be written; the earlier ones are untouched.
        """
        self.settle()
        run = self._run
        if run.record is None:
            return
        run.checkpoint_requested = False
        self._step, files = run.step, run.checkpoint_files()
        self._writing = self._thread.submit(self._write, run.on_disk(), files)
        self._saved_at = time.monotonic()

    def settle(self) -> None:
        """Wait until what was begun is on the disk.

        Raises:
            RunFailed: it cannot be written; the earlier checkpoints are untouched.
        """
        if self._writing is None:
            return
        writing, self._writing = self._writing, None
        try:
            path = writing.result()
        except OSError as error:
            raise RunFailed(f"the checkpoint of step {self._step} cannot be written: {error.strerror}") from error
        self._run.hook.on_checkpoint(run=self._run, path=path)

    def _write(self, record: RunFolder, files: dict[str, bytes]) -> Path:
        record.sync_metrics()
        return checkpoint.write(record.path / "checkpoints", self._step, files, self._config.keep)
