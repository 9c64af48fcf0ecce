"""oarlock: a thin core with hook points, for experiments with PaddlePaddle."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from oarlock.component import component
from oarlock.errors import NonFiniteError, OarlockError, RunFailed, UserError
from oarlock.hookspecs import API_VERSION, hookimpl, hookspec

if TYPE_CHECKING:
    from oarlock.commands import Result, train
    from oarlock.data import Arrays, Batch, Data, InputSpec, ModelSpec
    from oarlock.evaluation import Metric
    from oarlock.optimization import decays
    from oarlock.run import Run

__version__ = "0.1.0"

# Resolved on first use: importing oarlock must stay cheap enough for help and completion.
_LAZY = {
    "Arrays": "data",
    "Batch": "data",
    "Data": "data",
    "InputSpec": "data",
    "Metric": "evaluation",
    "ModelSpec": "data",
    "Result": "commands",
    "Run": "run",
    "decays": "optimization",
    "train": "commands",
}

__all__ = [
    "API_VERSION",
    "Arrays",
    "Batch",
    "Data",
    "InputSpec",
    "Metric",
    "ModelSpec",
    "NonFiniteError",
    "OarlockError",
    "Result",
    "Run",
    "RunFailed",
    "UserError",
    "component",
    "decays",
    "hookimpl",
    "hookspec",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"oarlock.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'oarlock' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
