"""From a checked configuration to a run that is ready to train."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pluggy
from omegaconf import DictConfig

from oarlock.checking import chosen_components, plain_values
from oarlock.component import BadComponent, verify_hooks
from oarlock.data import Arrays, Data, checksums
from oarlock.device import precision_policy, setup_device
from oarlock.errors import UserError, warn
from oarlock.evaluation import resolve_monitor
from oarlock.feeding import build_feeder
from oarlock.instantiation import instantiate
from oarlock.kept import Kept
from oarlock.optimization import BuiltOptimizer, claim_groups, claim_parameters, trainable
from oarlock.paddle_import import import_paddle
from oarlock.plain import Experiment
from oarlock.plugins import Host
from oarlock.returned import built, measures_of, no_loss, warn_of_doubles
from oarlock.run import Run
from oarlock.run_manager import may_hold_hooks
from oarlock.runtime import setup_runtime
from oarlock.schema import Engine
from oarlock.step import build_custom_step, build_eager_evaluation, build_eager_step


def build_run(
    host: Host,
    config: DictConfig,
    runtime: Mapping[str, str] | None = None,
    hooks: Sequence[object] = (),
    kept: Kept | None = None,
    experiment: Experiment | None = None,
) -> Run:
    """Build everything, in the order in which one part needs the other. Nothing is written to the disk.

    Args:
        host: the plugins.
        config: the checked configuration.
        runtime: the settings of the process that the run was recorded with; None for a new run.
        hooks: objects with hook implementations of the caller's own, called after the components.
        kept: what the runs of this process before this one have left for it.
        experiment: the same configuration as plain data, where that is at hand.

    Raises:
        UserError: the parts do not fit together.
    """
    import_paddle()
    components = instantiate(config, host.registry)
    root = components.pop("")
    manager = _register(host, components, hooks)
    device = setup_device(root.device, root.deterministic)
    values = plain_values(config if experiment is None else experiment.values)
    chosen = chosen_components(config, host.registry) if experiment is None else dict(experiment.components)
    run = Run(root, values, components, chosen, manager, device, kept or Kept())
    run.runtime = setup_runtime(root.runtime.tune, runtime)
    trainer = root.trainer
    run.precision = precision_policy(trainer.precision, device)
    seed_everything(root.seed)

    run.data = _data(run)
    for split in run.splits:
        part = getattr(run.data, split)
        if hasattr(part, "__len__") and len(part) == 0:
            raise UserError(f"{run.choice('data')}: its {split} split has no rows.")
    spec = run.data.model_spec()
    warn_of_doubles(run, spec)
    run.model = built(run, "build_model", "model", spec=spec)
    run.measures = measures_of(run)
    run.monitor, run.direction = resolve_monitor(trainer.monitor, run.measures, run.splits)
    run.feeder = build_feeder(run.data, trainer, root.seed, run.kept, spec)
    run.total_steps = count_steps(run.feeder.steps_per_epoch, trainer.epochs, trainer.max_steps)
    run.forward = _first((*run.flat("forward", "model", "batch"), _forward))
    run.compute_predictions = _first((*run.flat("compute_predictions", "output"), _named))
    run.compute_loss = _first((*run.flat("compute_loss", "output", "batch"), no_loss(run)))
    if not manager.hook.compute_loss.get_hookimpls() and not _brings_its_own_loss(manager):
        no_loss(run)()
    run.flat("on_step_end", "run")
    run.evaluation_step = build_eager_evaluation(run)
    run.claims = claim_parameters(manager, run.model)
    run.grad_clips = list(run.hook.build_grad_clip())
    run.scaler = _scaler(run)
    return run


def complete_run(run: Run) -> None:
    """Make the optimizers and the step; apart from `build_run` so that a recorded `total_steps` can come between.

    Raises:
        UserError: the parts do not fit together, or the training rows are too few for a step.
    """
    _refuse_few_rows(run)
    _refuse_single_rows(run)
    training_step = run.hook.build_training_step(run=run)
    if training_step is not None:
        _refuse_beside_custom_step(run)
        run.training_step, run.engine = build_custom_step(run, training_step), "custom"
        if not run.optimizers:
            warn(f"{run.choice('task')}: its training step makes its optimizer without "
                 "run.build_optimizer, so no checkpoint holds its state: a resumed run will not be exact")  # fmt: skip
        return
    groups = run.hook.build_parameter_groups(model=run.model)
    parameters: list[Any] = groups if groups is not None else list(trainable(run.model).values())
    claim_groups(run.claims, groups or [], run.model)
    if not parameters:
        raise UserError(f"{run.choice('model')}: it has no trainable parameter.")

    def build(parameters: list[Any], schedule: Callable[[float], Any]) -> Any:
        return built(run, "build_optimizer", "optimizer", parameters=parameters, schedule=schedule)

    run.optimizers.append(BuiltOptimizer(parameters, build, run.schedule))
    engine = run.config.trainer.engine
    run.training_step, run.engine = build_eager_step(run), "eager"
    if engine is not Engine.eager:
        step = run.hook.build_step(run=run)
        if step is not None:
            run.training_step, run.engine = step, run.components_chosen.get("engine", "custom")
        elif engine is Engine.compiled:
            raise UserError(
                "trainer.engine=compiled: this run has no engine that compiles; add a component of group engine."
            )
        run.evaluation_step = run.hook.build_evaluation_step(run=run) or run.evaluation_step


def count_steps(steps_per_epoch: int | None, epochs: int, max_steps: int | None) -> int | None:
    """The optimizer steps of the whole run, or None where the data has no length and no limit is set."""
    whole = steps_per_epoch * epochs if steps_per_epoch is not None else None
    limits = [limit for limit in (whole, max_steps) if limit is not None]
    return min(limits) if limits else None


def seed_everything(seed: int) -> None:
    """Seed Paddle, NumPy's global generator and Python's."""
    import_paddle().seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def _register(host: Host, components: dict[str, Any], hooks: Sequence[object]) -> pluggy.PluginManager:
    """A plugin manager with this run's components. Reversed, since pluggy calls the last registered first."""
    manager = host.run_manager()
    for name, caller in reversed(_callers(hooks, host).items()):
        manager.register(caller, name=name)
    for path, component in reversed(components.items()):
        manager.register(component, name=path)
    manager.check_pending()
    return manager


def _callers(hooks: Sequence[object], host: Host) -> dict[str, object]:
    """The caller's own hook implementations, by what messages call them.

    Raises:
        UserError: one of them would fail later, or never be called.
    """
    if not isinstance(hooks, (list, tuple)):
        raise UserError(f"hooks={hooks!r}: expected a list of objects with @hookimpl methods.")
    named: dict[str, object] = {}
    for number, caller in enumerate(hooks):
        name = f"hooks[{number}] ({type(caller).__name__})"
        if isinstance(caller, type):
            raise UserError(f"hooks[{number}]={caller.__name__}: it is a class; give an instance, {caller.__name__}().")
        try:
            names = dir(caller if may_hold_hooks(caller) else type(caller))
            if not verify_hooks(caller, names, name, host.hooks):
                raise UserError(f"{name}: none of its methods is marked @hookimpl, so it would never be called.")
        except BadComponent as error:
            raise UserError(f"{error}.") from error
        named[name] = caller
    return named


def _data(run: Run) -> Data:
    """The data of a run; arrays of an earlier run of this process again, if they were the same for any seed."""
    chosen = {path: name for path, name in run.components_chosen.items() if f"{path}.".startswith("data.")}
    key = json.dumps([chosen, run.values["data"]], sort_keys=True)
    component = run.components["data"]
    found: Data | None
    found, remembered, sums = run.kept.find("data", key) or (None, {}, [])
    if found is None or _sums(run, found) != sums:  # a component may have written into the rows
        found = built(run, "build_data", "data")
        splits = (found.train, found.valid, found.test)
        if (
            all(part is None or type(part) is Arrays for part in splits)
            and _only_builds(run, component)
            and not _drew(run.config.seed)
        ):
            run.kept.keep("data", key, (found, dict(vars(component)), _sums(run, found)))
    else:
        vars(component).update(remembered)  # somebody may read there what it found out while it built
    # A callback may change what is done to the rows; not for the runs to come.
    return copy.copy(found)


def _sums(run: Run, data: Data) -> list[tuple[int, ...]]:
    """What tells whether a component has written into the rows, where a run after this one may get them."""
    parts = (data.train, data.valid, data.test)
    return [checksums(part) for part in parts if part is not None] if run.kept.lasting else []


def _only_builds(run: Run, component: Any) -> bool:
    """Whether a data component has nothing to do but to build: what else it does may need what it built itself."""
    callers = run.manager.get_hookcallers(component) or ()
    return {caller.name for caller in callers} == {"build_data"} and not hasattr(component, "state_dict")


def _drew(seed: int) -> bool:
    """Whether something was drawn from the generators since they were seeded."""
    paddle = import_paddle()
    numpy_state, python_state, paddle_state = np.random.get_state(), random.getstate(), paddle.get_rng_state()
    drawn = [np.random.random(), random.random(), paddle.rand([1]).item()]
    seed_everything(seed)
    first = [np.random.random(), random.random(), paddle.rand([1]).item()]
    np.random.set_state(numpy_state)
    random.setstate(python_state)
    paddle.set_rng_state(paddle_state)
    return drawn != first


def _first(functions: tuple[Callable[..., Any], ...]) -> Callable[..., Any]:
    """The functions as one: the first result that is not None."""
    if len(functions) == 1:
        return functions[0]
    one, other = functions[0], _first(functions[1:])

    def first(*arguments: Any) -> Any:
        result = one(*arguments)
        return other(*arguments) if result is None else result

    return first


def _forward(model: Any, batch: Any) -> Any:
    """The forward of a task that brings none; a function with a name, since Paddle does not translate lambdas."""
    return model(batch.inputs)


def _named(output: Any) -> dict[str, Any]:
    """The predictions of a task that says nothing of them: the output itself."""
    return dict(output) if isinstance(output, Mapping) else {"output": output}


def _brings_its_own_loss(manager: pluggy.PluginManager) -> bool:
    """Whether there is a training step and an evaluation that need no compute_loss."""
    hook = manager.hook
    return bool(hook.build_training_step.get_hookimpls() and hook.evaluate.get_hookimpls())


def _refuse_beside_custom_step(run: Run) -> None:
    """A task's own training step does all by itself; what would be left out silently is an error."""
    for hook in ("compute_penalty", "build_grad_clip", "after_backward"):
        for implementation in getattr(run.hook, hook).get_hookimpls():
            if run.components.get(implementation.plugin_name) is not run.task:
                raise UserError(
                    f"{run.choice('task')} brings its own training step, in which "
                    f"the {hook} of {implementation.plugin_name} has no part.\nLeave {implementation.plugin_name} out."
                )


def _refuse_few_rows(run: Run) -> None:
    """An epoch must have a step; a run that is only evaluated needs none."""
    if run.feeder.steps_per_epoch == 0:
        trainer, rows = run.config.trainer, len(run.data.train)
        needed = trainer.batch_size * trainer.accumulate_steps
        raise UserError(
            f"trainer.batch_size={trainer.batch_size} with accumulate_steps={trainer.accumulate_steps} needs {needed} "
            f"rows a step; there are {rows}.\nChoose a smaller batch, or trainer.drop_last=false."
        )


def _refuse_single_rows(run: Run) -> None:
    """BatchNorm's variance over one row is zero: it trains, and what it learns is noise.

    Of images there are many pixels in one row, and a layer may take the statistics that it has.
    """
    if run.feeder.smallest_batch != 1:
        return
    paddle = import_paddle()
    kinds = (paddle.nn.BatchNorm, paddle.nn.BatchNorm1D)
    if any(isinstance(layer, kinds) and not layer._use_global_stats for layer in run.model.sublayers()):
        trainer = run.config.trainer
        other = "" if trainer.batch_size == 1 or trainer.drop_last else ", or trainer.drop_last=true"
        raise UserError(
            f"trainer.batch_size={trainer.batch_size}, drop_last={str(trainer.drop_last).lower()}: a batch of one row "
            f"cannot be normalised by BatchNorm.\nChoose another batch_size{other}."
        )


def _scaler(run: Run) -> Any:
    if not run.precision.scaler:
        return None
    paddle = import_paddle()
    return paddle.amp.GradScaler()
