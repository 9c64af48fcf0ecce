"""What oarlock expects of every component, whatever its kind."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from oarlock import checkpoint
from oarlock.component import field_docs, summary
from oarlock.errors import OarlockError, UserError, one_line
from oarlock.evaluation import evaluate
from oarlock.experiment import build_run, complete_run
from oarlock.optimization import trainable
from oarlock.run import Run
from oarlock.testing.subject import (
    Nonconforming,
    Subject,
    defaults_of,
    history,
    in_new_process,
    last_checkpoint,
    override_text,
    plain_default,
    quiet,
)
from oarlock.training import schedules_by_step

EARLY_PADDLE = """
import json
from oarlock.plugins import load_host
print(json.dumps([[plugin.name, path] for plugin in load_host().plugins if plugin.imports_paddle
                  for path in plugin.components or [""]]))
"""


def registers_without_paddle(subject: Subject) -> None:
    """Registering it does not import Paddle: help and completion of every command would wait for it."""
    done = in_new_process(EARLY_PADDLE)
    found = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else []
    if any(path == subject.path for _, path in found):
        raise Nonconforming(f"The module of {subject.path} imports Paddle when it is loaded, which makes every command "
                            "slow. Import it inside the hooks.")  # fmt: skip


def documents_its_options(subject: Subject) -> None:
    """The docstring has a first line, and an entry under `Args:` for every field: `oarlock show` prints them."""
    cls = subject.entry.cls
    if not summary(cls):
        raise Nonconforming(f"{cls.__name__} has no docstring. Its first line is what `oarlock plugins` shows.")
    missing = [field.name for field in dataclasses.fields(cls) if field.name not in field_docs(cls)]
    if missing:
        raise Nonconforming(f"The docstring of {cls.__name__} does not explain {', '.join(missing)}. Add an entry under "
                            "'Args:' for each field.")  # fmt: skip


def takes_its_options_from_the_command_line(subject: Subject) -> None:
    """Every default can be written as an override, and gives the same value; so does the configuration as YAML."""
    defaults = defaults_of(subject.entry.cls)
    try:
        words = [f"{subject.place}.{name}={override_text(value)}" for name, value in defaults.items()]
        composed = subject.compose(*words)
    except UserError as error:
        raise Nonconforming(
            f"{subject.path} refuses its own defaults: {error} What has no default must be given: "
            f"conformance('{subject.path}', '{subject.place}.FIELD=VALUE')."
        ) from error
    node: Any = OmegaConf.select(composed, subject.place)
    # What refers to another value becomes that one.
    referring = {name for name in defaults if OmegaConf.is_interpolation(OmegaConf.structured(subject.entry.cls), name)}
    given = {word.partition("=")[0] for word in subject.overrides}
    for name, value in defaults.items():
        path = f"{subject.place}.{name}"
        found = OmegaConf.to_container(node[name], enum_to_str=False) if OmegaConf.is_config(node[name]) else node[name]
        if path not in given and name not in referring and found != plain_default(value):
            raise Nonconforming(f"{path}={override_text(value)} on the command line becomes {found!r}. Give the field "
                                "a type that has this value.")  # fmt: skip
    text = OmegaConf.to_yaml(node, resolve=True)
    again = OmegaConf.merge(OmegaConf.structured(subject.entry.cls), OmegaConf.create(text))
    if OmegaConf.to_yaml(again, resolve=True) != text:
        raise Nonconforming(f"The options of {subject.path} are not the same after a run's config.yaml was read again.")


def builds_without_side_effects(subject: Subject) -> None:
    """Building a run with it leaves the process as it was: environment, folder, path, Paddle's mode and dtype …"""
    subject.build()  # so that imports and caches are made
    before = _process()
    subject.build()
    after = _process()
    changed = [name for name in before if before[name] != after[name]]
    if changed:
        raise Nonconforming(f"Building {subject.path} changes {', '.join(changed)} for everything else in the process. "
                            "Change nothing global, or put it back.")  # fmt: skip


def _process() -> dict[str, Any]:
    import paddle

    return {
        "os.environ": dict(os.environ),
        "the working folder": Path.cwd(),
        "sys.path": list(sys.path),
        "the warning filters": list(warnings.filters),
        "the signal handlers": [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)],
        "Paddle's default dtype": paddle.get_default_dtype(),
        "Paddle's device": paddle.get_device(),
        "Paddle's mode": paddle.in_dynamic_mode(),
        "whether gradients are recorded": paddle.is_grad_enabled(),
    }


def trains(subject: Subject) -> None:
    """Two steps change the weights, all losses are finite, and an evaluation gives numbers."""
    run = subject.build()
    before = _weights(run)
    with quiet():
        run.hook.on_run_start(run=run)
        steps = list(islice((step for epoch in range(2) for step in run.feeder.epoch(epoch, 0)), 2))
        if len(steps) < 2:
            raise Nonconforming(f"{subject.path} has {len(steps)} batches of {run.config.trainer.batch_size} rows in two "
                                f"epochs. Give smaller ones: conformance('{subject.path}', 'trainer.batch_size=8').")  # fmt: skip
        for step in steps:
            run.model.train()
            (loss,) = run.read_losses([run.training_step(step)])
            run.step += 1
            run.position += 1
            for schedule in schedules_by_step(run):
                schedule.step()
            for hook in run.flat("on_step_end", "run"):
                hook(run)
            if not np.isfinite(loss):
                raise Nonconforming(f"With {subject.path} the loss of step {run.step} is {loss}. Check its defaults.")
        if run.data.valid is not None:
            values = evaluate(run, run.data.valid)
            if not all(np.isfinite(value) for value in values.values()):
                raise Nonconforming(f"With {subject.path} an evaluation gives {values}.")
    if all(np.array_equal(before[name], after) for name, after in _weights(run).items()):
        raise Nonconforming(f"With {subject.path} two steps change no weight. Look at its gradients and learning rate.")


def _weights(run: Run) -> dict[str, Any]:
    """Without what moves by itself, as BatchNorm's statistics do."""
    return {name: tensor.numpy().copy() for name, tensor in trainable(run.model).items()}


def is_deterministic(subject: Subject) -> None:
    """Two runs with one seed in one process are bitwise the same."""
    difference = _difference(subject.whole, subject.train("second"))
    if difference:
        raise Nonconforming(f"Two runs of {subject.path} with one seed differ in {difference}. Draw random numbers from "
                            "Paddle, NumPy's global generator or the rng that a hook is given, and keep nothing "
                            "between runs in a class or module.")  # fmt: skip


def survives_a_new_process(subject: Subject) -> None:
    """A process that has nothing but the override list, as a sweep's worker, trains bitwise the same."""
    difference = _difference(subject.whole, subject.train_in_new_process("there"))
    if difference:
        raise Nonconforming(f"{subject.path} trains otherwise in a new process: {difference} differ. What it depends on "
                            "must be in its fields.")  # fmt: skip


def resumes_exactly(subject: Subject) -> None:
    """Stopped in the middle of an epoch and continued, a run ends bitwise as if it had not been stopped."""
    last = int(last_checkpoint(subject.whole).name.split("-")[1])
    if last < 2:
        raise Nonconforming(f"A run of {subject.path} has {last} step in two epochs and cannot be stopped in between. Give "
                            f"smaller batches: conformance('{subject.path}', 'trainer.batch_size=8').")  # fmt: skip
    # In the first epoch after an evaluation, and in the second one; earlier where the data has few rows.
    for step in sorted({7, 18} if last > 18 else {max(last // 4, 1), last - max(last // 4, 1)}):
        stopped = subject.train(f"stopped-{step}", stop_at=step)
        subject.resume(stopped)
        difference = _difference(subject.whole, stopped)
        if difference:
            raise Nonconforming(
                f"A run of {subject.path} that was stopped at step {step} and resumed differs in {difference} from one "
                "that was not. What it remembers must be in state_dict() and come back in load_state_dict(state), an "
                "optimizer's state in accumulators (_add_accumulator); what "
                "it draws must come from the generators that oarlock seeds."
            )


def _difference(one: Path, other: Path) -> str:
    """What differs between two runs' last checkpoints and evaluations; '' where nothing does."""
    parts = []
    first, second = last_checkpoint(one), last_checkpoint(other)
    if first.name.split("-")[:2] != second.name.split("-")[:2]:
        return f"their length ({first.name} and {second.name})"
    if history(one) != history(other):
        parts.append("metrics.jsonl")
    for path in sorted(first.glob("*.safetensors")):
        if not (second / path.name).is_file() or path.read_bytes() != (second / path.name).read_bytes():
            parts.append(path.name)
    states = [json.loads((folder / checkpoint.STATE).read_text(encoding="utf-8")) for folder in (first, second)]
    parts += [f"{checkpoint.STATE}: {key}" for key in states[0] if states[0][key] != states[1][key]]
    return ", ".join(parts)


def keeps_its_state(subject: Subject) -> None:
    """state_dict() after some steps can be stored, and load_state_dict() brings a fresh instance to the same state."""
    if not hasattr(subject.entry.cls, "state_dict"):
        return
    tensors: dict[str, Any] = {}
    try:
        run = subject.stopped_run("stopped", 7)  # after an evaluation
        stored = json.loads(json.dumps(checkpoint.split_state(subject.component(run).state_dict(), "state", tensors)))
        arrays = checkpoint.unpack_arrays(checkpoint.pack_tensors(tensors))
    except OarlockError as error:
        raise Nonconforming(f"The state of {subject.path} cannot be stored: {error}.") from error
    fresh = build_run(subject.host, subject.compose())
    subject.component(fresh).load_state_dict(checkpoint.join_state(stored, arrays))
    again: dict[str, Any] = {}
    stored_again = json.loads(json.dumps(checkpoint.split_state(subject.component(fresh).state_dict(), "state", again)))
    same = {name: np.asarray(value) for name, value in again.items()}
    if stored_again != stored or any(not np.array_equal(same[name], array) for name, array in arrays.items()):
        raise Nonconforming(f"load_state_dict() of {subject.path} does not bring back all that state_dict() gave.")


def works_beside_the_built_ins(subject: Subject) -> None:
    """With every built-in of the other groups it makes a step, or is refused in plain words."""
    # Whether it can be compiled is another question, and costs as much as all the rest.
    engine = () if subject.group == "engine" else ("trainer.engine=eager",)
    for word, composed in subject.beside_the_built_ins(*engine):
        try:
            with quiet():
                run = build_run(subject.host, composed())
                complete_run(run)
                run.hook.on_run_start(run=run)
                run.training_step(next(run.feeder.epoch(0, 0)))
                run.hook.on_run_end(run=run)
        except UserError:
            continue  # it says that they do not go together
        except Exception as error:
            raise Nonconforming(
                f"{subject.path} beside {word}: {type(error).__name__}: {one_line(error)}. Where they cannot work "
                "together, raise oarlock.UserError and say why."
            ) from error


def traces(subject: Subject) -> None:
    """What is called on each step can be compiled, and computes there what it does in eager over several steps.

    A component whose class says `traceable = False` is left out: its runs are eager. So is what is known beforehand to
    need eager steps, such as a callback that reads gradients.
    """
    run = subject.build()
    if not getattr(subject.entry.cls, "traceable", True) or run.engine in ("eager", "custom"):
        return
    with quiet():
        run.training_step(next(run.feeder.epoch(0, 0)))
    if run.engine == "eager":
        raise Nonconforming(
            f"{subject.path} cannot be compiled: {run.engine_reason}. Keep decisions on a tensor's value, reads of it, and "
            "what Python counts or draws on each step out of what is called there; or say `traceable = False` in the "
            "class, and its runs will be eager."
        )


CHECKS: dict[str, Callable[[Subject], None]] = {
    check.__name__: check
    for check in (
        registers_without_paddle,
        documents_its_options,
        takes_its_options_from_the_command_line,
        builds_without_side_effects,
        trains,
        is_deterministic,
        survives_a_new_process,
        resumes_exactly,
        keeps_its_state,
        works_beside_the_built_ins,
        traces,
    )
}
