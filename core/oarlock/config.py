"""One run's configuration, from overrides to what is checked and typed: Hydra composes, oarlock decides what may be in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

import oarlock_conf
from oarlock.errors import UserError, warn
from oarlock.loader import CONFIG_NAME, Loader, group_of, of_run
from oarlock.plugins import Host
from oarlock.translation import user_errors
from oarlock.vetting import as_list


@dataclass(frozen=True)
class Composed:
    """One run's configuration.

    Attributes:
        config: checked and typed, without Hydra's own part.
        hydra: Hydra's own part.
        folder: where the run shall be recorded.
        folder_chosen: whether the user named that folder.
        sweeps: whether an experiment file makes it a sweep.
    """

    config: DictConfig
    hydra: DictConfig
    folder: Path
    folder_chosen: bool
    sweeps: bool


def compose(host: Host, overrides: Sequence[str], config_dir: str | None = None, multirun: bool = False) -> Composed:
    """Compose one run's configuration; of a sweep, that of its first run.

    Raises:
        UserError: anything in the overrides or in a file that they name is not valid.
    """
    loader = Loader(host, config_dir)
    config = loader.load_configuration(CONFIG_NAME, as_list(overrides), RunMode.MULTIRUN if multirun else RunMode.RUN)
    with user_errors(host):
        folder = str(config.hydra.run.dir)
    if not folder.strip() or "\0" in folder:
        raise UserError(f"hydra.run.dir={folder!r}: expected the path of a folder.")
    chosen = is_chosen(config, "run")
    sweeps = config.hydra.mode is RunMode.MULTIRUN
    for override in () if sweeps else overrides:
        group = group_of(override, host.registry)
        if not group.of_run:
            raise UserError(f"{override}: a single run has no {group.name}; add -m to sweep.")
    for group in () if sweeps else host.registry.groups.values():
        node = None if group.of_run else config.get(group.name)
        if node is not None and node != OmegaConf.structured(OmegaConf.get_type(node)):
            warn(f"{group.name}: what a file says of it is for a sweep, and this is one run; add -m to sweep")
    hydra = config.hydra
    return Composed(of_run(config, host.registry), hydra, Path(folder), chosen, sweeps)


def is_chosen(config: DictConfig, kind: str) -> bool:
    """Whether the user named the folder, on the command line or in a file.

    Args:
        config: a composed configuration, with Hydra's own part.
        kind: of a `run`, or of a `sweep`.
    """
    shipped = Path(oarlock_conf.__file__).with_name(f"{CONFIG_NAME}.yaml").read_text(encoding="utf-8")
    return bool(config.hydra[kind]._get_node("dir")._value() != yaml.safe_load(shipped)["hydra"][kind]["dir"])
