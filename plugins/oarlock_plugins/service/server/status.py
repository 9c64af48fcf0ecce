"""What the server knows of its models, as data for people: the page shows it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from oarlock_plugins.service.bundle import TensorSpec
from oarlock_plugins.service.server.refusals import Refused
from oarlock_plugins.service.server.repository import Live, Model

_RECENT_SECONDS = 30.0


def status_of(model: Model) -> dict[str, Any]:
    """A model: its versions and how each stands, its inputs and outputs, how fast it answers."""
    live = model.live
    return {
        "name": model.name,
        "live": live.number if live else None,
        "since": live.since if live else None,
        "versions": [_version(model, number) for number in sorted(model.versions, reverse=True)],
        "inputs": [_tensor(spec) for spec in live.bundle.inputs] if live else [],
        "outputs": [_tensor(spec) for spec in live.bundle.outputs] if live else [],
        "class_names": live.bundle.class_names if live else None,
        "metrics": dict(live.bundle.metrics) if live else {},
        "waiting": live.batcher.requests if live else 0,
        **_latency(model),
    }


def metadata_of(live: Live, name: str, engine: str) -> dict[str, Any]:
    """What the protocol calls the metadata of a model."""
    platform = "onnxruntime_onnx" if engine == "onnxruntime" else "paddle_inference"
    return {
        "name": name,
        "versions": [live.version],
        "platform": platform,
        "inputs": [_tensor(spec) for spec in live.bundle.inputs],
        "outputs": [_tensor(spec) for spec in live.bundle.outputs],
    }


def index_of(models: list[Model], ready_only: bool) -> list[dict[str, str]]:
    """Triton's index of the repository: a line for each version, and why one is not served."""
    lines = []
    for model in models:
        for number in model.versions:
            known = _version(model, number)
            if known["state"] == "live":
                lines.append({"name": model.name, "version": str(number), "state": "READY", "reason": ""})
            elif not ready_only:
                lines.append({"name": model.name, "version": str(number), "state": "UNAVAILABLE",
                              "reason": known["reason"] or known["state"]})  # fmt: skip
    return lines


def example_of(live: Live) -> dict[str, Any]:
    """A row that the model surely takes, with the answer that its maker wrote down."""
    inputs, outputs = live.bundle.reference()
    for name, array in inputs.items():
        if array.dtype.kind == "f" and not np.isfinite(array[:1]).all():
            raise Refused(404, f"the first reference row of '{name}' is not finite, and JSON cannot say so", "example")
    described = [{"name": spec.name, "datatype": spec.datatype, "shape": inputs[spec.name][:1].shape,
                  "data": inputs[spec.name][0].ravel().tolist()} for spec in live.bundle.inputs]  # fmt: skip
    return {"inputs": described, "expected": {name: array[0].ravel().tolist() for name, array in outputs.items()}}


def _version(model: Model, number: int) -> dict[str, Any]:
    if model.live and number == model.live.number:
        return {"version": number, "state": "live", "reason": ""}
    if number in model.withdrawn:
        return {"version": number, "state": "withdrawn", "reason": model.withdrawn[number]}
    if number in model.bad:
        return {"version": number, "state": "bad", "reason": model.bad[number].error}
    newer = model.live is not None and number > model.live.number
    return {"version": number, "state": "waiting" if newer or not model.live else "older", "reason": ""}


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": [-1, *spec.shape]}


def _latency(model: Model) -> dict[str, Any]:
    since = time.time() - _RECENT_SECONDS
    recent = [(when, seconds) for when, seconds in list(model.metrics.recent) if when > since]
    if not recent:
        return {"requests_per_second": 0.0, "p50_ms": None, "p99_ms": None}
    p50, p99 = np.percentile([seconds for _, seconds in recent], (50, 99)).tolist()
    span = max(1.0, time.time() - recent[0][0])
    return {"requests_per_second": len(recent) / span, "p50_ms": 1000 * p50, "p99_ms": 1000 * p99}
