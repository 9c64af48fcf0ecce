"""The launcher that Hydra finds: `hydra/launcher=local`. What it does is in `oarlock_plugins.sweeps`."""

# Hydra executes this module without entering it in sys.modules, which dataclasses need for annotations of the future.

import os
from dataclasses import dataclass
from typing import Any, Optional

from hydra.core.config_store import ConfigStore
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class LocalLauncher(Launcher):
    """Warm worker processes on this machine: one a GPU, or one a core."""

    def __init__(self, slots: int | None, threads: int | None, per_gpu: int) -> None:
        self._slots, self._threads, self._per_gpu = slots, threads, per_gpu

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from oarlock import UserError

        for name, value in (("slots", self._slots), ("threads", self._threads), ("per_gpu", self._per_gpu)):
            if value is not None and value < 1:
                raise UserError(f"hydra.launcher.{name}={value}: expected at least 1")
        if not config.hydra.sweeper._target_.startswith("hydra_plugins.oarlock."):
            raise UserError("hydra/launcher=local works for oarlock's own sweeper; add hydra/launcher=basic.")

    def check_device(self, device: str) -> None:
        """Refuse a device that no trial will see."""
        from oarlock_plugins.sweeps.slots import refuse_hidden_gpu

        refuse_hidden_gpu(device, 1)

    def open_pool(self, device: str, wanted: int | None = None) -> Any:
        """Workers for a sweep.

        Args:
            device: what the trials ask for, `device` in their configuration.
            wanted: how many trials there will be, where that is known.
        """
        from oarlock_plugins.sweeps.local_pool import LocalPool
        from oarlock_plugins.sweeps.slots import cores, plan_slots, visible_gpus

        environment = dict(os.environ)
        gpus = [] if device == "cpu" else visible_gpus(environment)
        planned = plan_slots(self._slots, self._threads, self._per_gpu, gpus, cores(), environment)
        pool = LocalPool(planned[:wanted])
        pool.open(len(planned))
        return pool

    def launch(self, job_overrides: Any, initial_job_idx: int) -> Any:
        raise NotImplementedError("a sweep is driven through open_pool")


@dataclass
class LocalLauncherConf:
    """Worker processes on this machine.

    Args:
        slots: trials that run at once; by default one a GPU, or one a core where there is none.
        threads: of each trial on the CPU; by default the cores are shared out.
        per_gpu: trials that share a GPU.
    """

    _target_: str = "hydra_plugins.oarlock.local.LocalLauncher"
    slots: Optional[int] = None
    threads: Optional[int] = None
    per_gpu: int = 1


ConfigStore.instance().store(group="hydra/launcher", name="local", node=LocalLauncherConf, provider="oarlock")
