"""The sweeper that Hydra finds: `hydra/sweeper=oarlock`. What it does is in `oarlock_plugins.sweeps`."""

# Hydra executes this module without entering it in sys.modules, which dataclasses need for annotations of the future.

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OarlockSweeper(Sweeper):
    """A grid, or a search by ask and tell; `sweep.…` has its options."""

    resumable = True

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._loader, self._sweep = hydra_context.config_loader, None
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def prepare(self, arguments: list[str]) -> Any:
        """Compose and check what can be known before the first run; the sweep."""
        from oarlock_plugins.sweeps.sweeper import Sweep

        if self._sweep is None:
            self._sweep = Sweep(self._loader, self.config, arguments)
            self._sweep.check(self.launcher)
        return self._sweep

    def points(self, arguments: list[str], limit: int) -> list[list[str]]:
        """The overrides of the runs that it would make, or of a sample of them."""
        from oarlock_plugins.sweeps.sweeper import Sweep

        return Sweep(self._loader, self.config, arguments).points(limit)

    def sweep(self, arguments: list[str]) -> int:
        return int(self.prepare(arguments).run(Path(self.config.hydra.sweep.dir).absolute(), self.launcher))


@dataclass
class OarlockSweeperConf:
    """`hydra/sweeper=oarlock`; its options are in `sweep`, where they are typed without `hydra.`."""

    _target_: str = "hydra_plugins.oarlock.sweeper.OarlockSweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="oarlock", node=OarlockSweeperConf, provider="oarlock")
