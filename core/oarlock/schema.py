"""The part of a configuration that belongs to the core: everything else belongs to components."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Optional


class Precision(Enum):
    """The arithmetic of forward and backward; weights are fp32 in all of them."""

    fp32 = "float32"
    bf16 = "bfloat16"
    fp16 = "float16"


class Engine(Enum):
    """What makes the training steps."""

    auto = "auto"
    eager = "eager"
    compiled = "compiled"


# OmegaConf reads the annotations, so Optional[X] stays for Python 3.10's sake.
@dataclass
class CheckpointConfig:
    """When a checkpoint is saved; one is always saved at the end and on a signal.

    Args:
        every_steps: after so many optimizer steps.
        every_epochs: after so many epochs.
        every_seconds: at the end of the first step after so many seconds.
        keep: how many of the newest are kept; at least 2, so that a damaged one has a predecessor.
    """

    every_steps: Optional[int] = None
    every_epochs: Optional[int] = None
    every_seconds: Optional[float] = 60.0
    keep: int = 2

    def __post_init__(self) -> None:
        _at_least(2, keep=self.keep)
        _at_least(1, every_steps=self.every_steps, every_epochs=self.every_epochs)
        _at_least(0, every_seconds=self.every_seconds)


@dataclass
class TrainerConfig:
    """The training loop.

    Args:
        epochs: how often the training data is gone through.
        max_steps: stop after so many optimizer steps, whatever the epochs say.
        batch_size: rows in a (micro-)batch.
        drop_last: leave out the last batch of an epoch when it is not full.
        accumulate_steps: micro-batches whose gradients are averaged into one optimizer step.
        evaluate_every: how often to evaluate: '1 epoch', '5 epochs', '200 steps'; a bare number means epochs.
        evaluation_batch_size: rows in a batch of an evaluation.
        engine: auto lets the engine component make the steps where it can; eager is the core's plain step; compiled
            fails where the engine cannot.
        precision: fp32, or bf16 / fp16 mixed precision (on GPU).
        monitor: the metric that decides which weights are best; the task's primary metric by default.
        init_from: folder of a run whose best weights to start from.
        num_workers: loader processes for data that is not in memory.
        resident_share: share of the device's memory that training rows may take; more than that is read from memory, or
            from the file that it is mapped from, while the model trains.
        check_finite_every: steps between two checks that loss and weights are finite.
        checkpoint: when checkpoints are saved.
    """

    epochs: int = 20
    max_steps: Optional[int] = None
    batch_size: int = 32
    drop_last: bool = True
    accumulate_steps: int = 1
    evaluate_every: str = "1 epoch"
    evaluation_batch_size: int = 1024
    engine: Engine = Engine.auto
    precision: Precision = Precision.fp32
    monitor: Optional[str] = None
    init_from: Optional[str] = None
    num_workers: int = 0
    resident_share: float = 0.25
    check_finite_every: int = 100
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)

    def __post_init__(self) -> None:
        _at_least(
            1,
            epochs=self.epochs,
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            accumulate_steps=self.accumulate_steps,
            evaluation_batch_size=self.evaluation_batch_size,
            check_finite_every=self.check_finite_every,
        )
        if self.init_from is not None and not self.init_from.strip():
            raise ValueError(f"init_from='{self.init_from}': expected the folder of a run, or null")
        _at_least(0, num_workers=self.num_workers, resident_share=self.resident_share)
        self.evaluation_period()

    def evaluation_period(self) -> tuple[int, str]:
        """`evaluate_every` as a number and its unit, 'epoch' or 'step'."""
        match = re.fullmatch(r"(\d+)(?: ?(epoch|step)s?)?", self.evaluate_every.strip())
        if not match or int(match[1]) < 1:
            raise ValueError(f"evaluate_every='{self.evaluate_every}': expected '1 epoch', '5 epochs' or '200 steps'")
        return int(match[1]), match[2] or "epoch"


@dataclass
class RuntimeConfig:
    """The process that a run computes in.

    Args:
        tune: set up MKL and malloc for speed on this CPU; run.json records the settings, and resume uses them again.
    """

    tune: bool = True


@dataclass
class RootConfig:
    """What is not in a group.

    Args:
        seed: the seed of weights, batch order and dropout.
        device: auto, cpu, gpu or gpu:N.
        deterministic: use deterministic kernels on GPU (CPU runs are deterministic as they are).
        runtime: the process.
        trainer: the training loop.
    """

    seed: int = 0
    device: str = "auto"
    deterministic: bool = False
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    def __post_init__(self) -> None:
        _at_least(0, seed=self.seed)
        if self.seed >= 2**63:
            raise ValueError(f"seed={self.seed}: expected less than 2**63")
        if not re.fullmatch(r"auto|cpu|gpu(:\d+)?", self.device):
            raise ValueError(f"device='{self.device}': expected auto, cpu, gpu or gpu:N")


# The fields of a configuration that are no groups.
ROOT_FIELDS = [one.name for one in fields(RootConfig)]


def _at_least(least: int, **values: Optional[float]) -> None:
    for name, value in values.items():
        if value is not None and not value >= least:  # not: NaN is at least nothing
            raise ValueError(f"{name}={value}: expected at least {least}")
