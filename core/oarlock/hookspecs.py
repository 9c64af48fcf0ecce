"""The contract between oarlock and its plugins: every hook, in the order in which a process meets them.

A hook that *offers* is `register_…` or `build_…`, one that works on each step is `compute_…` (and `forward`),
one that marks a *moment* is `on_…`. An implementation may take fewer arguments than its hook names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    import paddle
    from paddle.optimizer import Optimizer
    from paddle.optimizer.lr import LRScheduler

    from oarlock.data import Batch, Data, ModelSpec
    from oarlock.evaluation import Metric
    from oarlock.registry import RegisterCommand, RegisterComponent
    from oarlock.run import Run
    from oarlock.step import EvaluationStep, Step

# Rises when a hook changes or goes; a plugin says in OARLOCK_API which one it was written for.
API_VERSION = 1
# Those whose plugins still work.
API_WINDOW = (1,)

hookspec = pluggy.HookspecMarker("oarlock")
hookimpl = pluggy.HookimplMarker("oarlock")


# --- once a process, in a plugin's module; none of these may import Paddle


@hookspec
def register_hookspecs(register: Callable[[ModuleType | type], None]) -> None:
    """Add hooks of your own, for a new group: `register(module_or_class)` with `@hookspec` functions."""


@hookspec
def register_components(register: RegisterComponent) -> None:
    """Offer components: `register("optimizer/lion", Lion)`; `many=True` opens a group that takes a list."""


@hookspec
def register_commands(register: RegisterCommand) -> None:
    """Offer commands: `register("serve", help="…", configure=add_arguments, run=main)`."""


@hookspec
def on_sweep_requested(overrides: Sequence[str]) -> None:
    """A sweep was asked for, and nothing is composed or checked yet: begin here what takes long, in another process."""


# --- while a run is built


@hookspec(firstresult=True)
def build_data() -> Data | None:
    """The data of the run: train, valid, test, and what the model may know of them."""


@hookspec(firstresult=True)
def build_model(spec: ModelSpec) -> paddle.nn.Layer | None:
    """The network, for inputs of `spec.inputs` and `spec.num_outputs` outputs; it returns logits."""


@hookspec(firstresult=True)
def build_metrics(data: Data) -> dict[str, Metric] | None:
    """What the task measures in an evaluation; the first is primary, and `trainer.monitor` defaults to it."""


@hookspec
def prepare_parameters(model: paddle.nn.Layer) -> Iterable[paddle.Tensor] | None:
    """Set what parameters carry before the optimizer sees them; return those whose decay you take over.

    A coupled penalty sets `parameter.regularizer`; an optimizer with decay of its own only returns them.
    Two components that claim one parameter are an error that names both.
    """


@hookspec(firstresult=True)
def build_parameter_groups(model: paddle.nn.Layer) -> list[dict[str, Any]] | None:
    """Parameter groups as Paddle's optimizers take them (`learning_rate` in a group is a multiplier)."""


@hookspec(firstresult=True)
def build_schedule(learning_rate: float, total_steps: int | None) -> float | LRScheduler | None:
    """The learning rate over the run; the core steps it once per optimizer step. `total_steps` may be None."""


@hookspec(firstresult=True)
def build_optimizer(parameters: Sequence[Any], schedule: Callable[[float], float | LRScheduler]) -> Optimizer | None:
    """The optimizer; give `schedule(self.learning_rate)` to Paddle's `learning_rate=`."""


@hookspec
def build_grad_clip() -> Callable[[list[Any]], list[Any]] | None:
    """A callable `[(parameter, gradient)] -> [(parameter, gradient)]`, once over all parameters, in list order."""


@hookspec(firstresult=True)
def build_step(run: Run) -> Step | None:
    """The ordinary training step of this run, where something faster than the core's eager step can do it.

    It may say of itself `draws = False`, that no step draws from Paddle's random numbers, and `keeps_batches = False`, that
    nobody holds on to a batch after its step: its memory is then another batch's in the next epoch.
    """


@hookspec(firstresult=True)
def build_evaluation_step(run: Run) -> EvaluationStep | None:
    """The forward and the loss of one batch of an evaluation, where something faster than eager can do them."""


@hookspec(firstresult=True)
def build_training_step(run: Run) -> Callable[[Batch], paddle.Tensor] | None:
    """A training step that does everything itself (two optimizers, GAN, RL): backward, update, clear."""


# --- each step; what these do is traced by a compiled engine, so Python values in them are frozen


@hookspec(firstresult=True)
def forward(model: paddle.nn.Layer, batch: Batch) -> Any:
    """The model's output for a batch; by default `model(batch.inputs)`."""


@hookspec(firstresult=True)
def compute_loss(output: Any, batch: Batch) -> paddle.Tensor | None:
    """A scalar, averaged over the rows of the batch."""


@hookspec(firstresult=True)
def compute_predictions(output: Any) -> dict[str, paddle.Tensor] | None:
    """What a finished model answers, by name, from the output of `forward`: probabilities of logits, say."""


@hookspec
def compute_penalty(model: paddle.nn.Layer) -> paddle.Tensor | None:
    """A scalar that is added to the loss."""


@hookspec
def after_backward(run: Run) -> None:
    """Gradients are there (not yet clipped) and weights have not moved; a run with this hook is eager."""


@hookspec
def on_step_end(run: Run) -> None:
    """The optimizer has stepped; `run.step` counts this step."""


# --- moments


@hookspec
def on_run_start(run: Run) -> None:
    """Everything is built, a resumed run's state is loaded, no step has been made in this process."""


@hookspec
def on_epoch_start(run: Run) -> None:
    """Before the first step of epoch `run.epoch`; not called when a run resumes in the middle of one."""


@hookspec
def on_evaluation_start(run: Run) -> None:
    """Before the model is evaluated; swap weights here (EMA) and swap them back in `on_evaluation_end`."""


@hookspec(firstresult=True)
def evaluate(run: Run, data: Any) -> dict[str, float] | None:
    """Replaces the standard evaluation of one split: `{"accuracy": 0.97}`, without the split's name."""


@hookspec
def on_evaluation_end(run: Run, metrics: dict[str, float]) -> None:
    """`metrics` has `valid/loss`, `valid/accuracy`, … The best weights were already taken."""


@hookspec
def on_epoch_end(run: Run) -> None:
    """After the last step of an epoch and its evaluation, before the checkpoint of this moment."""


@hookspec
def on_checkpoint(run: Run, path: Path) -> None:
    """A checkpoint is complete on the disk, at `path`; the run may be some steps further by now, or at its end."""


@hookspec
def on_run_end(run: Run) -> None:
    """The run has ended without an error; `run.status` says how, `run.metrics` has the last values."""


@hookspec
def on_failure(run: Run, error: BaseException) -> None:
    """The run failed with `error`; it is recorded and raised after this."""
