"""The training loop, and what the core keeps watch over: finite numbers, the best weights, the record."""

from __future__ import annotations

import math
import random
import time
from pathlib import Path
from typing import Any

import numpy as np

from oarlock.checkpoint_clock import CheckpointClock
from oarlock.errors import OarlockError, RunFailed, UserError, nearest, warn
from oarlock.evaluation import evaluate
from oarlock.finite_watch import FiniteWatch
from oarlock.hook_stream import HookStream, can_be_saved
from oarlock.record import RunFolder, finite
from oarlock.run import Run, mix
from oarlock.signals import Signals

EPOCH_START, VALIDATION, EPOCH_END, TEST = range(4)
HOOKS = -(2**40)  # no step and no moment has this number


class Interrupted(OarlockError):
    """The run was stopped by a signal, after a checkpoint.

    Attributes:
        folder: the run's folder.
    """

    def __init__(self, signal: str, folder: Path) -> None:
        super().__init__(signal)
        self.folder = folder


def train(run: Run, signals: Signals) -> None:
    """Train from where the run stands to its end, restore the best weights and evaluate the test split.

    Raises:
        Interrupted: a signal came; the state is saved.
        NonFiniteError: loss or weights became infinite or NaN; the last finite weights are back in the model.
    """
    with CheckpointClock(run) as clock:
        _train(run, signals, FiniteWatch(run), clock)
        _finish(run)  # while the last checkpoint is being written
        clock.settle()


def _train(run: Run, signals: Signals, watch: FiniteWatch, clock: CheckpointClock) -> None:
    """The loop."""
    trainer = run.config.trainer
    period, unit = trainer.evaluation_period()
    step_function = run.training_step
    last_step = math.inf if trainer.max_steps is None else trainer.max_steps
    schedules = schedules_by_step(run)

    moved = {parameter.name for built in run.optimizers for parameter in built.parameters}
    fixed = {path: parameter for path, parameter in run.model.named_parameters()
             if parameter.stop_gradient and parameter.name not in moved and run.engine != "custom"}  # fmt: skip
    run.hook.on_run_start(run=run)
    if run.generators is not None:  # behind what that draws, which is what it drew when the run began
        numpy_state, python_state = run.generators
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        run.generators = None
    on_step_end = run.caller("on_step_end")  # a callback may have registered one
    run.hook_stream = _hook_stream(run)
    hooks_draw = _may_draw(run)
    stream = run.hook_stream if hooks_draw else None
    run.model.train()
    while not _finished(run) or _epoch_end_pending(run):
        if run.position == 0:
            call_at(run, EPOCH_START, "on_epoch_start")
            _warn_of_thawed(fixed)
        epoch_complete = True
        # Where hooks have no stream of their own, they draw from what is left of the step's.
        seeds = run.feeder.draws or (hooks_draw and stream is None)
        steps = run.feeder.epoch(run.epoch, run.position, reuse=not getattr(step_function, "keeps_batches", True))
        while True:
            if seeds or getattr(step_function, "draws", True):
                run.seed_step()
            batches = next(steps, None)
            if batches is None:
                break
            loss = step_function(batches)
            run.step += 1
            run.position += 1
            watch.losses.append(loss)
            if run.step >= watch.due:
                watch.check()
            for schedule in schedules:
                schedule.step()
            if on_step_end:
                if stream is not None and stream.away:
                    stream.enter()
                on_step_end(run)
            if unit == "step" and run.step % period == 0:
                _evaluate(run, watch)
            if signals.received or clock.due():
                watch.check()
                clock.save()
                if signals.received:
                    clock.settle()
                    raise Interrupted(signals.received.name, run.folder or Path())
            if run.stop_reason or run.step >= last_step:
                epoch_complete = run.position == run.feeder.steps_per_epoch
                break
        if run.position == 0:
            raise RunFailed(f"epoch {run.epoch + 1} has no training batch; {_why_no_batch(run)}")
        if epoch_complete:
            # A stream's pass may be found to have ended after the evaluation of a run that is being prolonged.
            if unit == "epoch" and (run.epoch + 1) % period == 0 and run.evaluated_step != run.step:
                _evaluate(run, watch)
            call_at(run, EPOCH_END, "on_epoch_end")
            run.epoch += 1
            run.position = 0
            if clock.due(epoch_ended=True):
                watch.check()
                clock.save()
    if run.evaluated_step != run.step:
        _evaluate(run, watch)
    watch.check()
    if isinstance(run.record, RunFolder) or run.keeps(run):
        clock.save()


def schedules_by_step(run: Run) -> list[Any]:
    """The schedules that go on with each step; one that follows a metric steps itself, when there is one."""
    from paddle.optimizer.lr import ReduceOnPlateau

    schedules = [schedule for built in run.optimizers for schedule in built.schedules]
    return [schedule for schedule in schedules if not isinstance(schedule, ReduceOnPlateau)]


def _finish(run: Run) -> None:
    """Restore the best weights and evaluate the test split, once."""
    if run.best_weights:
        own = run.model.state_dict()
        for name, weights in run.best_weights.items():
            own[name].set_value(weights)
    run.model.eval()
    run.seed_generator(_number(run, TEST))
    if run.data.test is not None:
        run.metrics.update({f"test/{name}": value for name, value in evaluate(run, run.data.test).items()})
    if run.status == "running":
        run.status = "completed"


def _warn_of_thawed(fixed: dict[str, Any]) -> None:
    """Say once which parameters are to be trained now that were frozen when the optimizers were made: none moves them."""
    thawed = [path for path, parameter in fixed.items() if not parameter.stop_gradient]
    if thawed:
        warn(f"{', '.join(thawed[:3])}: no optimizer moves what was frozen when it was made; "
             "freeze what is to be trained later in on_run_start")  # fmt: skip
    for path in thawed:
        del fixed[path]


def _why_no_batch(run: Run) -> str:
    trainer = run.config.trainer
    if run.epoch:
        return "an iterator that can be passed only once needs trainer.epochs=1"
    rows = trainer.batch_size * trainer.accumulate_steps
    less = f", and trainer.drop_last=true leaves out fewer than {rows}" if trainer.drop_last else ""
    return f"its data gave no rows{less}"


def _may_draw(run: Run) -> bool:
    """Whether a hook on each step may draw Paddle's random numbers; one that says `changes_run = False` does not."""
    return any(getattr(hook.plugin, "changes_run", True) for hook in run.hook.on_step_end.get_hookimpls())


def _hook_stream(run: Run) -> HookStream | None:
    """What hooks draw from; None where it cannot be saved."""
    if run.device != "cpu" or not can_be_saved():
        return None
    return run.hook_stream or HookStream(mix(run.config.seed, HOOKS))


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
    watch.read()
    epoch = run.epoch + (run.position > 0)  # how many have begun; after the last one none has
    run.evaluated_step = run.step
    prepare_moment(run, VALIDATION)
    if call := run.caller("on_evaluation_start"):
        call(run)
    metrics = {"train/loss": run.loss_sum / run.loss_count} if run.loss_count else {}
    run.loss_sum, run.loss_count = 0.0, 0
    if run.data.valid is not None:
        try:
            found = evaluate(run, run.data.valid, keep=True)
        except Exception:
            watch.check()  # what is made of numbers that are not finite may fail in any way
            raise
        metrics |= {f"valid/{name}": value for name, value in found.items()}
    run.metrics = metrics
    if run.monitor not in metrics and run.monitor.startswith("valid/"):
        raise UserError(
            f"trainer.monitor={run.monitor}: the evaluation did not measure it. {nearest(run.monitor, metrics)}"
        )
    value = metrics.get(run.monitor, math.nan)
    better = improves(value, run.best["value"] if run.best else None, run.direction)
    if better:
        run.best_weights = watch.take()
        run.best = {"step": run.step, "epoch": epoch, "monitor": run.monitor, "value": value}
    elif not all(map(math.isfinite, metrics.values())):  # otherwise the weights are looked at when it is time
        watch.check()
    row: dict[str, Any] = {"epoch": epoch, "step": run.step, "time": round(time.time(), 3)}
    row |= {"learning_rate": run.learning_rate(), **metrics}
    row = finite(row)
    run.history.append(row)
    if run.record is not None:
        run.record.append_metrics(row)
    run.log_line(f"epoch {epoch} step {run.step} {' '.join([f'{key}={metrics[key]:.6g}' for key in metrics])}")
    if call := run.caller("on_evaluation_end"):
        call(run, dict(metrics))
    run.pauses += 1


def improves(value: float, best: float | None, direction: str) -> bool:
    """Whether a value is better than the best so far; NaN and infinity never are."""
    if not math.isfinite(value):
        return False
    return best is None or (value > best if direction == "max" else value < best)


def call_at(run: Run, moment: int, hook: str) -> None:
    """Call a hook at a moment beside the steps, where somebody implements it."""
    if call := run.caller(hook):
        prepare_moment(run, moment)
        call(run)
        run.pauses += 1


def prepare_moment(run: Run, moment: int) -> None:
    """Have what happens now draw the numbers that it would draw after a resume too."""
    if run.hook_stream is None:
        run.seed_generator(_number(run, moment))
    elif run.hook_stream.away:
        run.hook_stream.enter()


def _number(run: Run, moment: int) -> int:
    """The number of a moment beside the steps, which no other has."""
    return -(4 * run.step + moment + 1)
