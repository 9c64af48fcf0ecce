"""oarlock: a thin core with hook points, for experiments with PaddlePaddle."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from oarlock.component import component
from oarlock.errors import (
    Damaged,
    Exit,
    NonFiniteError,
    OarlockError,
    RunFailed,
    UserError,
    nearest,
    say,
    shown_path,
    warn,
)
from oarlock.hookspecs import API_VERSION, hookimpl, hookspec

if TYPE_CHECKING:
    from oarlock.commands import train
    from oarlock.data import Arrays, Batch, Data, InputSpec, ModelSpec, Rows, each
    from oarlock.evaluation import Metric, evaluate
    from oarlock.new_run import Result
    from oarlock.optimization import decays
    from oarlock.paddle_import import import_paddle
    from oarlock.plain import Experiment
    from oarlock.recorded import load_experiment, load_run, vary_experiment
    from oarlock.run import Run
    from oarlock.runner import Runner
    from oarlock.runtime import leave
    from oarlock.sealed import scratch_folder, seal, verify, write_atomically
    from oarlock.signals import stop_signals
    from oarlock.step import build_eager_evaluation, build_eager_step, read_losses
    from oarlock.training import Interrupted

__version__ = "0.1.0"

# Resolved on first use: importing oarlock must stay cheap enough for help and completion.
_LAZY = {
    "Arrays": "data",
    "Batch": "data",
    "Data": "data",
    "Experiment": "plain",
    "InputSpec": "data",
    "Interrupted": "training",
    "Metric": "evaluation",
    "ModelSpec": "data",
    "Result": "new_run",
    "Run": "run",
    "Rows": "data",
    "Runner": "runner",
    "build_eager_evaluation": "step",
    "build_eager_step": "step",
    "decays": "optimization",
    "each": "data",
    "evaluate": "evaluation",
    "import_paddle": "paddle_import",
    "leave": "runtime",
    "load_experiment": "recorded",
    "load_run": "recorded",
    "read_losses": "step",
    "scratch_folder": "sealed",
    "seal": "sealed",
    "stop_signals": "signals",
    "train": "commands",
    "vary_experiment": "recorded",
    "verify": "sealed",
    "write_atomically": "sealed",
}

__all__ = [
    "API_VERSION",
    "Arrays",
    "Batch",
    "Damaged",
    "Data",
    "Exit",
    "Experiment",
    "InputSpec",
    "Interrupted",
    "Metric",
    "ModelSpec",
    "NonFiniteError",
    "OarlockError",
    "Result",
    "Rows",
    "Run",
    "RunFailed",
    "Runner",
    "UserError",
    "build_eager_evaluation",
    "build_eager_step",
    "component",
    "decays",
    "each",
    "evaluate",
    "hookimpl",
    "hookspec",
    "import_paddle",
    "leave",
    "load_experiment",
    "load_run",
    "nearest",
    "read_losses",
    "say",
    "scratch_folder",
    "seal",
    "shown_path",
    "stop_signals",
    "train",
    "vary_experiment",
    "verify",
    "warn",
    "write_atomically",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"oarlock.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'oarlock' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
