"""The launcher that Hydra finds: `hydra/launcher=ray`. What it does is in `oarlock_plugins.sweeps`."""

# Hydra executes this module without entering it in sys.modules, which dataclasses need for annotations of the future.

import os
from dataclasses import dataclass
from typing import Any, Optional

from hydra.core.config_store import ConfigStore
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class RayLauncher(Launcher):
    """Workers on a Ray cluster, wherever it has room for a trial."""

    def __init__(
        self,
        address: str | None,
        num_cpus: float,
        num_gpus: float,
        resources: Any,
        slots: int | None,
    ) -> None:
        self._address, self._slots = address, slots
        self._asked = {"num_cpus": num_cpus, "num_gpus": num_gpus, "resources": resources or {}}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from oarlock import UserError
        from oarlock_plugins.sweeps.ray_cluster import Cluster, Demand, require_ray
        from oarlock_plugins.sweeps.slots import cores, visible_gpus

        if not config.hydra.sweeper._target_.startswith("hydra_plugins.oarlock."):
            raise UserError("hydra/launcher=ray works for oarlock's own sweeper; add hydra/sweeper=oarlock.")
        self._demand = Demand(**self._asked)
        self._demand.check()
        if self._slots is not None and self._slots < 1:
            raise UserError(f"hydra.launcher.slots={self._slots}: expected at least 1")
        device = str(config.get("device", "auto"))
        if device.startswith("gpu") and not self._demand.num_gpus:
            raise UserError(f"device={device}: Ray shows a trial no GPU that it does not ask for.\n"
                            "Add hydra.launcher.num_gpus=1, or a part of one.")  # fmt: skip
        require_ray()
        # What no node can do would wait for ever; here it is known before there is a folder.
        if self._address is None:
            self._gpus = visible_gpus(dict(os.environ))
            self._demand.places([{"CPU": cores(), "GPU": len(self._gpus)}])
        else:
            self._gpus = []
            cluster = Cluster(self._address)
            try:
                self._demand.places(cluster.nodes)
            finally:
                cluster.close()

    def check_device(self, device: str) -> None:
        """Refuse a device that no trial will see."""
        from oarlock_plugins.sweeps.slots import refuse_hidden_gpu

        refuse_hidden_gpu(device, int(self._demand.num_gpus))

    def open_pool(self, device: str, wanted: int | None = None) -> Any:
        """Workers for a sweep.

        Args:
            device: what the trials ask for, `device` in their configuration.
            wanted: how many trials there will be, where that is known.
        """
        from oarlock_plugins.sweeps.ray_cluster import Cluster
        from oarlock_plugins.sweeps.ray_pool import RayPool

        cluster = Cluster(self._address, self._gpus)
        try:
            return RayPool(cluster, self._demand, self._slots, wanted)
        except BaseException:
            cluster.close()
            raise

    def launch(self, job_overrides: Any, initial_job_idx: int) -> Any:
        raise NotImplementedError("a sweep is driven through open_pool")


@dataclass
class RayLauncherConf:
    """Workers on a Ray cluster.

    Args:
        address: of a cluster, HOST:PORT, or `auto` for the one that this machine is part of; by default one is started
            on this machine for the time of the sweep.
        num_cpus: cores for each trial, and the threads that it computes with.
        num_gpus: GPUs for each trial; 0.5 lets two share one.
        resources: others for each trial, by the names that nodes of the cluster were started with: `{special: 1}`.
        slots: trials that run at once; by default as many as the cluster has room for.
    """

    _target_: str = "hydra_plugins.oarlock.ray_launcher.RayLauncher"
    address: Optional[str] = None
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    resources: Any = None  # a Dict could be merged with +…resources.special=1 only
    slots: Optional[int] = None


ConfigStore.instance().store(group="hydra/launcher", name="ray", node=RayLauncherConf, provider="oarlock")
