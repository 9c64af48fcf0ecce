"""The state of a run as the files of a checkpoint, and back."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import numpy as np

from oarlock import checkpoint
from oarlock.errors import RunFailed
from oarlock.hook_stream import HookStream, can_be_saved
from oarlock.run import Run

if TYPE_CHECKING:
    import paddle


def take(run: Run) -> dict[str, bytes]:
    """Everything that a resumed run needs, as the files of a checkpoint.

    Raises:
        RunFailed: a component's state cannot be stored.
    """
    assert run.record is not None
    paths = {parameter.name: path for path, parameter in run.model.named_parameters()}
    components: dict[str, Any] = {}
    tensors: dict[str, Any] = {}
    for path, component in run.components.items():
        if hasattr(component, "state_dict"):
            components[path] = checkpoint.split_state(component.state_dict(), path, tensors)
    optimizer_tensors: dict[str, Any] = {}
    schedules = []
    for number, built in enumerate(run.optimizers):
        found, states = built.state_dict(paths)
        optimizer_tensors.update({f"{number}/{key}": tensor for key, tensor in found.items()})
        schedules.append(states)
    scaler = run.scaler.state_dict() if run.scaler is not None else {}
    numpy_state, python_state = run.generators or (np.random.get_state(), random.getstate())
    kind, key, position, has_gauss, gauss = numpy_state
    state = {
        "step": run.step,
        "epoch": run.epoch,
        "position": run.position,
        "total_steps": run.total_steps,
        "loss_sum": run.loss_sum,
        "loss_count": run.loss_count,
        "metrics": run.metrics,
        "rows": len(run.history),
        "best": run.best,
        "evaluated_step": run.evaluated_step,
        "stop_reason": run.stop_reason,
        "status": run.status,
        "hook_stream": run.hook_stream.state() if run.hook_stream is not None else None,
        "engine": run.recorded_engine or run.engine,
        "class_names": run.class_names,
        "columns": run.columns,
        "schedules": checkpoint.split_state(schedules, "schedules", tensors),
        "components": components,
        "passing": checkpoint.split_state(_passing(run.model), "passing", tensors),
        "scaler": checkpoint.split_state(scaler, "scaler", tensors),
        "feeder": checkpoint.split_state(run.feeder.state_dict(), "feeder", tensors),
        "numpy_random": [kind, np.asarray(key).tolist(), int(position), int(has_gauss), float(gauss)],
        "python_random": python_state,
    }
    files = {
        checkpoint.MODEL: checkpoint.pack_tensors(run.model.state_dict()),
        checkpoint.OPTIMIZER: checkpoint.pack_tensors(optimizer_tensors),
        checkpoint.COMPONENTS: checkpoint.pack_tensors(tensors),
        checkpoint.STATE: json.dumps(state).encode(),
    }
    if run.best_weights:
        files[checkpoint.BEST] = checkpoint.pack_tensors(run.best_weights)
    if run.data.preprocess is not None and (fitted := run.data.preprocess.state_dict()):
        files[checkpoint.PREPROCESS] = checkpoint.pack_tensors(fitted)
    return files


def put_back(run: Run, files: dict[str, bytes], where: str) -> None:
    """Bring a freshly built run to the state of a checkpoint.

    Raises:
        RunFailed: the checkpoint is one of another model, optimizer or set of components.
    """
    import paddle

    state = json.loads(files[checkpoint.STATE])
    checkpoint.load_weights(run.model, checkpoint.unpack_arrays(files[checkpoint.MODEL]), where)
    paths = {parameter.name: path for path, parameter in run.model.named_parameters()}
    of_optimizers = checkpoint.unpack_arrays(files[checkpoint.OPTIMIZER])
    arrays = checkpoint.unpack_arrays(files[checkpoint.COMPONENTS])
    schedules = checkpoint.join_state(state["schedules"], arrays)
    if len(schedules) != len(run.optimizers):
        raise RunFailed(f"{where} has {len(schedules)} optimizers, the run has {len(run.optimizers)}")
    for number, built in enumerate(run.optimizers):
        mine = {key.partition("/")[2]: array for key, array in of_optimizers.items()
                if key.startswith(f"{number}/")}  # fmt: skip
        built.load_state_dict(mine, schedules[number], paths)
    passing = checkpoint.join_state(state["passing"], arrays)
    for path, buffer in _passing(run.model).items():
        if path in passing and passing[path].shape == buffer.shape:  # a cache that grows, its model makes anew
            buffer.set_value(passing[path])
    for path, component_state in state["components"].items():
        component = run.components.get(path)
        if component is None or not hasattr(component, "load_state_dict"):
            raise RunFailed(f"{where} has the state of {path}, which the run cannot take")
        component.load_state_dict(checkpoint.join_state(component_state, arrays))
    if run.scaler is not None:
        run.scaler.load_state_dict(checkpoint.join_state(state["scaler"], arrays))
    run.feeder.load_state_dict(checkpoint.join_state(state["feeder"], arrays))
    if checkpoint.BEST in files:
        best = checkpoint.unpack_arrays(files[checkpoint.BEST])
        run.best_weights = {name: paddle.to_tensor(array) for name, array in best.items()}
    for name in ("step", "epoch", "position", "loss_sum", "loss_count", "metrics", "best", "evaluated_step",
                 "stop_reason", "status"):  # fmt: skip
        setattr(run, name, state[name])
    if state["hook_stream"] is not None and can_be_saved():
        run.hook_stream = HookStream(0)
        run.hook_stream.load_state(state["hook_stream"])
    kind, key, position, has_gauss, gauss = state["numpy_random"]
    version, words, gauss_next = state["python_random"]
    run.generators = (
        (kind, np.array(key, dtype=np.uint32), position, has_gauss, gauss),
        (version, tuple(words), gauss_next),
    )


def _passing(model: paddle.nn.Layer) -> dict[str, Any]:
    """The buffers that are in no state dict, by path; a step may change them all the same."""
    kept = model.state_dict()
    return {path: buffer for path, buffer in model.named_buffers() if path not in kept and buffer._is_initialized()}
