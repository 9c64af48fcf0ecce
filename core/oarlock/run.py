"""A run: what is built for one training, where it stands, and what can be saved and restored of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from oarlock.calls import adapt, call, in_order
from oarlock.config_text import config_text
from oarlock.device import generator_seeder
from oarlock.errors import RunFailed, UserError, warn
from oarlock.evaluation import resolve_monitor
from oarlock.optimization import BuiltOptimizer, claim, flat_parameters, refuse_wrapper
from oarlock.step import read_losses

if TYPE_CHECKING:
    import paddle

    from oarlock.data import Batch, Data
    from oarlock.device import PrecisionPolicy
    from oarlock.evaluation import Metric
    from oarlock.feeding import Feeder
    from oarlock.hook_stream import HookStream
    from oarlock.kept import Kept
    from oarlock.record import Draft, RunFolder
    from oarlock.schema import RootConfig
    from oarlock.step import EvaluationStep, Step


class Run:
    """What a callback may read, and the few things that it may ask for.

    Attributes:
        config: seed, device and trainer, typed.
        values: the whole resolved configuration, as plain containers.
        components: the components by config path (`optimizer`, `callback.early_stopping`).
        components_chosen: which ones they are, as `group/name`, by config path.
        model, data, optimizer: what the components built; `optimizer` is the first of `optimizers`.
        epoch, step, position: epochs begun before this one, optimizer steps made, steps made in this epoch.
        metrics: the last value of every metric, `valid/accuracy` and so on.
        history: one dict per evaluation, as in metrics.jsonl.
        monitor, direction: the metric that decides which weights are best, and 'max' or 'min'.
        best: `{"step", "epoch", "monitor", "value"}` of the best evaluation so far, or None.
        folder: the run's folder, or None before it is made.
        destination: where that is or will be; a trial of a large sweep may never get it.
        status: running, completed, early_stopped, pruned, interrupted or failed; checked after `oarlock check`.
        kept: what a process that makes several runs keeps between them: `run.kept.get(kind, key, make)`.
        manager, hook: pluggy's manager of the run's own components, and its relay, through which a new group's hooks are called.
    """

    model: paddle.nn.Layer
    data: Data
    task: Any
    feeder: Feeder
    training_step: Step
    evaluation_step: EvaluationStep
    engine: str
    total_steps: int | None
    measures: dict[str, Metric]
    monitor: str
    direction: str
    runtime: dict[str, str]
    precision: PrecisionPolicy
    scaler: Any
    forward: Callable[[paddle.nn.Layer, Batch], Any]
    compute_loss: Callable[[Any, Batch], paddle.Tensor]
    compute_predictions: Callable[[Any], dict[str, paddle.Tensor]]
    grad_clips: list[Callable[[list[Any]], list[Any]]]

    def __init__(
        self,
        config: RootConfig,
        values: dict[str, Any],
        components: dict[str, Any],
        chosen: dict[str, str],
        manager: pluggy.PluginManager,
        device: str,
        kept: Kept,
    ) -> None:
        self.config, self.values, self.components, self.components_chosen = config, values, components, chosen
        self.manager, self.hook, self.device, self.kept = manager, manager.hook, device, kept
        self.task = components["task"]
        self.optimizers: list[BuiltOptimizer] = []
        self.claims: dict[str, str] = {}
        self.epoch = self.step = self.position = 0
        self.seeded_step = -1
        # The states of NumPy's and Python's generators that a resumed run goes on from, until it has begun.
        self.generators: tuple[Any, Any] | None = None
        self.metrics: dict[str, float] = {}
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.best_weights: dict[str, Any] = {}
        self.evaluated_step = -1
        self.stop_reason = ""
        self.status = "running"
        self.record: RunFolder | Draft | None = None
        # Whether a run without a folder gets one at its end, for its last checkpoint.
        self.keeps: Callable[[Run], bool] = lambda run: True
        self.recorded_engine = self.engine_reason = ""
        self.checkpoint_requested = False
        # Writes a line to the run's train.log.
        self.log_line: Callable[[str], None] = lambda text: None
        # Evaluations, checkpoints and other moments so far: between two steps with the same number no hook was called
        # but on_step_end.
        self.pauses = 0
        # Where hooks draw Paddle's random numbers from, where that can be saved.
        self.hook_stream: HookStream | None = None
        # Of the splits that were evaluated, by identity, when they were first.
        self.checksums: dict[int, tuple[int, ...]] = {}
        self.loss_sum, self.loss_count = 0.0, 0
        self._callers: dict[str, Callable[..., None] | None] = {}

    def choice(self, path: str) -> str:
        """What was typed for the component at a config path, `model=bn_mlp`, as errors call it."""
        return f"{path}={self.components_chosen[path].partition('/')[2]}"

    @property
    def splits(self) -> list[str]:
        """Which of train, valid and test the data has."""
        return [split for split in ("train", "valid", "test") if getattr(self.data, split) is not None]

    @property
    def class_names(self) -> list[str] | None:
        """The names of the classes by number, where there are classes."""
        return None if self.data.class_names is None else [str(name) for name in self.data.class_names]

    @property
    def columns(self) -> list[str] | None:
        """The names of an input's values in their order, where the rows are those of a table."""
        return None if self.data.columns is None else [str(name) for name in self.data.columns]

    @property
    def directions(self) -> dict[str, str]:
        """'min' or 'max' for every metric of an evaluation of this run and of its test."""
        measured = {"loss": "min", **{name: metric.direction for name, metric in self.measures.items()}}
        splits = [split for split in self.splits if split != "train"]
        return {"train/loss": "min"} | {f"{split}/{name}": way for split in splits for name, way in measured.items()}

    @property
    def folder(self) -> Path | None:
        """The run's folder; None before there is one. A trial of a large sweep gets one when somebody asks for it."""
        return self.on_disk().path if self.record is not None else None

    @property
    def destination(self) -> Path | None:
        """The path that the run's folder has, or will have if the run gets one; None before that is known."""
        return self.record.wanted if self.record is not None else None

    def on_disk(self) -> RunFolder:
        """The record with its folder, made now where there was none.

        Raises:
            UserError: it cannot be made.
        """
        assert self.record is not None
        self.record = record = self.record.on_disk()
        return record

    def text(self) -> str:
        """The text of config.yaml."""
        return config_text(self.values)

    @property
    def optimizer(self) -> paddle.optimizer.Optimizer:
        return self.optimizers[0].optimizer

    def stop(self, reason: str, status: str = "early_stopped") -> None:
        """End the training after this step or evaluation, as `early_stopped` or `pruned`."""
        self.stop_reason, self.status = reason or status, status

    def use_engine(self, engine: str, reason: str = "") -> None:
        """Record what makes the steps; for an engine that finds out after it was built.

        Args:
            engine: `compiled`, `eager`, or an engine's own word.
            reason: why it is not what was asked for, which the user is told.

        Raises:
            RunFailed: a resumed run was made by another engine, so it would not go on exactly.
        """
        if self.recorded_engine not in ("", engine):
            raise RunFailed(f"its steps were made by the engine {self.recorded_engine}; here {engine} would make them"
                            f"{f' ({reason})' if reason else ''}: the run would not go on exactly")  # fmt: skip
        self.engine, self.engine_reason = engine, reason
        if self.record is not None:
            self.record.note(engine=engine, engine_reason=reason)
        if reason:
            warn(f"engine {engine}: {reason}")

    @functools.cached_property
    def _seeder(self) -> Callable[[int], Any]:
        return generator_seeder(self.device)

    def seed_generator(self, number: int) -> None:
        """Seed Paddle's generator as a function of (seed, number), so that no resume can lose its state.

        Args:
            number: a step, or below 0 a moment beside the steps.
        """
        if self.hook_stream is not None:
            self.hook_stream.leave()
        self._seeder(mix(self.config.seed, number))

    def seed_step(self) -> None:
        """Seed Paddle's generator for the step to come, as the training loop does where a step may draw from it."""
        self.seeded_step = self.step
        self.seed_generator(self.step)

    def read_losses(self, losses: Sequence[Any]) -> list[float]:
        """The values of what `training_step` returned, waiting for the device once."""
        return list(getattr(self.training_step, "read_losses", read_losses)(losses))

    def request_checkpoint(self) -> None:
        """Have a checkpoint saved after all callbacks of this moment."""
        self.checkpoint_requested = True

    def build_optimizer(self, parameters: Sequence[Any], component: Any) -> paddle.optimizer.Optimizer:
        """Make one more optimizer, from an optimizer component; it is checkpointed like the first.

        Args:
            parameters: the parameters that it moves, or parameter groups.
            component: an instance with `build_optimizer`, from a field of the task or from `components`.

        Raises:
            UserError: a parameter is not the model's, or another component decays it too.
        """
        if not hasattr(component, "build_optimizer"):
            raise UserError(f"run.build_optimizer: {component!r} is no optimizer component; a field of the task that is one is "
                            "chosen with +optimizer@task.FIELD=NAME.")  # fmt: skip
        known = {parameter.name for parameter in self.model.parameters()}
        if any(parameter.name not in known for parameter in flat_parameters(parameters)):
            raise UserError("an optimizer moves parameters that are not in the model: no checkpoint would hold them.\n"
                            "Make their layer a sublayer of what build_model returns.")  # fmt: skip

        def build(parameters: Sequence[Any], schedule: Callable[[float], Any]) -> Any:
            return call(component.build_optimizer, parameters=parameters, schedule=schedule)

        if hasattr(component, "prepare_parameters") and component not in self.components.values():
            moved = {parameter.name: path for path, parameter in self.model.named_parameters()
                     if parameter.name in {one.name for one in flat_parameters(parameters)}}  # fmt: skip
            for path in moved.values():
                if self.claims.get(path) == "optimizer":  # what this one moves is not that one's
                    del self.claims[path]
            claimed = call(component.prepare_parameters, model=self.model) or ()
            claim(self.claims, [one for one in claimed if one.name in moved], type(component).__name__, self.model)
        built = BuiltOptimizer(parameters, build, self.schedule)
        self.optimizers.append(built)
        return built.optimizer

    def schedule(self, learning_rate: float) -> Any:
        """The learning rate over this run, from the schedule component.

        Raises:
            UserError: it is no learning rate, or follows a metric that nobody gives it.
        """
        from paddle.optimizer.lr import LRScheduler, ReduceOnPlateau

        rate = self.hook.build_schedule(learning_rate=learning_rate, total_steps=self.total_steps)
        if not isinstance(rate, (float, int, LRScheduler)):
            what = "nothing" if rate is None else type(rate).__name__
            raise UserError(
                f"{self.choice('schedule')}: its build_schedule returned {what}; expected a number or Paddle's LRScheduler."
            )
        if isinstance(rate, ReduceOnPlateau) and not hasattr(self.components["schedule"], "on_evaluation_end"):
            raise UserError(f"{self.choice('schedule')}: its rate follows a metric, and nothing steps it.\n"
                            "Step it in on_evaluation_end, with the metric.")  # fmt: skip
        return rate

    def flat(self, hook: str, *arguments: str) -> tuple[Callable[..., Any], ...]:
        """The implementations of a per-step hook in calling order, each taking exactly `arguments`.

        Raises:
            UserError: one of them is a wrapper, which makes no sense on every step.
        """
        found = list(reversed(getattr(self.hook, hook).get_hookimpls()))
        for implementation in found:
            refuse_wrapper(implementation, hook, "is called on each step")
        return tuple(adapt(one.function, one.argnames, arguments) for one in found)

    def caller(self, hook: str) -> Callable[..., None] | None:
        """What calls a hook as the relay does where nobody asks for results; None where nobody implements it.

        It takes the hook's arguments in their order, and is quicker: after a step, whose numbers have filled the processor's
        caches, ten hooks take the relay some 10 µs. It is made once; what is registered later is not called.
        """
        if hook not in self._callers:
            relay = getattr(self.hook, hook)
            found, arguments = relay.get_hookimpls()[::-1], relay.spec.argnames
            if any(one.hookwrapper or one.wrapper for one in found):
                self._callers[hook] = lambda *given: relay(**dict(zip(arguments, given, strict=True)))
            else:
                calls = [(one.function, one.argnames) for one in found]
                self._callers[hook] = in_order(calls, arguments) if calls else None
        return self._callers[hook]

    def resolve_monitor(self, name: str | None, option: str = "monitor") -> tuple[str, str]:
        """A metric of this run's evaluations and its direction, `("valid/loss", "min")`.

        Args:
            name: the metric; None for the run's own, trainer.monitor.
            option: where the name stands in the configuration, for the error.

        Raises:
            UserError: the run measures no such metric; it names the nearest.
        """
        if name is None:
            return self.monitor, self.direction
        return resolve_monitor(name, self.measures, self.splits, option)

    def learning_rate(self) -> float:
        """The present learning rate of the first optimizer."""
        return float(self.optimizer.get_lr()) if self.optimizers else 0.0


def mix(seed: int, number: int) -> int:
    """A seed for one step, well apart from its neighbours' (the finaliser of SplitMix64, Steele et al. 2014)."""
    word = (seed * 0x9E3779B97F4A7C15 + number * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) & (2**64 - 1)
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return (word ^ (word >> 31)) & (2**63 - 1)
