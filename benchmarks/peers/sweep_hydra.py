"""Trials of trial.py by Hydra's basic launcher, in one process: -m learning_rate=… seed=… arrays=FILE."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import hydra
import trial
from hydra.core.config_store import ConfigStore


@dataclass
class Config:
    """A trial."""

    arrays: str = ""
    learning_rate: float = 0.01
    seed: int = 0
    width: int = 128


ConfigStore.instance().store("trial", Config)


@hydra.main(version_base="1.3", config_path=None, config_name="trial")
def main(config):
    print(f"accuracy {trial.train(config.arrays, config.learning_rate, config.seed, config.width):.4f}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
