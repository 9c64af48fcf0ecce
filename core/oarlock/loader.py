"""Hydra's loader of configurations, which lets nothing through that was not checked."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra._internal.utils import create_config_search_path
from hydra.core.default_element import ResultDefault
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Glob, Override
from hydra.core.utils import JobRuntime, setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

from oarlock.changes import apply_overrides, fill_optional
from oarlock.checking import check, chosen_components, plain_values
from oarlock.config_files import BoundedRepository, VettedRepository
from oarlock.config_store import store
from oarlock.errors import UserError
from oarlock.plain import Experiment
from oarlock.plugins import Host, load_host
from oarlock.registry import Group, Registry
from oarlock.selection import flags_of
from oarlock.translation import user_errors
from oarlock.variation import Variation
from oarlock.vetting import parse, vet_hydra, vet_interpolations, vet_overrides

CONFIG_NAME = "config"


def group_of(override: str, registry: Registry) -> Group:
    """The group that an override is about; a nameless one where it is about none."""
    return registry.groups.get(re.split(r"[.=@]", override.lstrip("+~"), maxsplit=1)[0], Group(""))


def of_run(config: DictConfig, registry: Registry) -> DictConfig:
    """The configuration without what is not of a run: Hydra's own part, the sweep."""
    with flag_override(config, ["struct", "readonly"], False):
        for key in ("hydra", *(group.name for group in registry.groups.values() if not group.of_run)):
            config.pop(key, None)
    return config


@contextlib.contextmanager
def without_hydra(config: DictConfig) -> Iterator[None]:
    """Take Hydra's own part out of a composed configuration for a while, as it will be when a run reads it."""
    with flag_override(config, ["struct", "readonly", "no_deepcopy_set_nodes"], [False, False, True]):
        hydra = config.pop("hydra")
        try:
            yield
        finally:
            config["hydra"] = hydra


class Loader(ConfigLoaderImpl):
    """Hydra's loader, which lets nothing through that was not checked: not for a run, not for a job of a sweep."""

    def __init__(self, host: Host | None = None, config_dir: str | None = None) -> None:
        self.host = host or load_host()
        self.config_dir = config_dir
        store(self.host.registry)
        version.setbase("1.3")
        JobRuntime.instance().set("name", "oarlock")
        setup_globals()  # Hydra's resolvers: ${now:…}, ${hydra:…}
        path = create_config_search_path("pkg://oarlock_conf")
        if config_dir is not None:
            if not Path(config_dir).is_dir():
                raise UserError(f"--config-dir {config_dir}: there is no such folder.")
            path.prepend("command-line", f"file://{Path(config_dir).resolve()}", anchor="schema")
        super().__init__(path)
        self.repository = VettedRepository(path)
        self._checks = True
        self._parsed: list[Override] = []
        self._typed_keys: list[str] = []
        self._sweep_options: dict[str, Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # A launcher may send the loader to another process; plugins are found there anew.
        return Loader, (None, self.config_dir)

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        with user_errors(self.host):
            typed, parsed, checks = overrides, vet_overrides(overrides, self.host.registry), self._checks
            if run_mode is RunMode.MULTIRUN:
                self._typed_keys = [override.key_or_group for override in parsed]
                for override in parsed:
                    if override.is_sweep_override() and not self._is_of_run(override):
                        raise UserError(f"{override.input_line}: the options of a sweep cannot be swept over.")
                # The sweep itself is composed as its first job. Where components are swept over, an option may be one
                # that the first does not have; whoever expands the sweep composes and checks each of them.
                self.validate_sweep_overrides_legal(parsed, run_mode, from_shell)
                groups = [self.is_group(override.key_or_group) for override in parsed]
                if any(group and override.is_sweep_override() for group, override in zip(groups, parsed, strict=True)):
                    kept = [override for group, override in zip(groups, parsed, strict=True)
                            if group or override.is_hydra_override() or not self._is_of_run(override)]  # fmt: skip
                else:
                    kept = parsed
                overrides = [first for override in kept for first in _first_values(override)]
                checks = len(overrides) == len(parsed)  # an option that is needed may be among those left out
                vet_overrides(overrides, self.host.registry)  # a list may hold what no single value may be
            config = super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
            vet_hydra(config.hydra, overrides)
            vet_interpolations(config)
            HydraConfig.instance().set_config(config)  # for ${hydra:…} in values
            OmegaConf.set_readonly(config.hydra, False)  # the launchers write the job's number into it
            if run_mode is RunMode.MULTIRUN and (_searched(config, "sweep") or _searched(config, "hydra.sweeper")):
                checks = False
            with without_hydra(config):
                check(config, self.host, of_run=checks)
            if run_mode is RunMode.MULTIRUN:
                task = [text for text, override in zip(typed, parsed, strict=True)
                        if not override.is_hydra_override() and self._is_of_run(override)]  # fmt: skip
                config.hydra.overrides.task = task
        return config

    def _is_of_run(self, override: Override) -> bool:
        return group_of(override.key_or_group, self.host.registry).of_run

    def compose_trial(self, sweep: DictConfig, overrides: Sequence[str]) -> DictConfig:
        """One run of a sweep, checked, without Hydra's own part.

        Args:
            sweep: the sweep's own configuration.
            overrides: what this run changes.

        Raises:
            UserError: they are not valid.
        """
        composed = self.load_sweep_config(sweep, list(overrides))
        self._refuse_another_sweep(composed, overrides)
        return of_run(composed, self.host.registry)

    def _refuse_another_sweep(self, composed: DictConfig, overrides: Sequence[str]) -> None:
        """Experiments that are swept over must say the same of the sweep, where the command does not say it.

        Raises:
            UserError: this one says something else than the first.
        """
        options: Any = OmegaConf.to_container(composed.get("sweep") or OmegaConf.create(), enum_to_str=True)
        said = {key: value for key, value in options.items()
                if not any(f"{typed}.".startswith(f"sweep.{key}.") for typed in self._typed_keys)}  # fmt: skip
        if self._sweep_options is None:
            self._sweep_options = said
        for key, value in said.items():
            if value != (before := self._sweep_options.get(key)):
                chosen = next((one for one in overrides if one.startswith("experiment=")), " ".join(overrides))
                raise UserError(
                    f"{chosen}: its file has sweep.{key}={value}, the first of this sweep has {before}; a sweep has one.\n"
                    "Give it on the command line, or sweep over each experiment by itself."
                )

    def compose_structure(self, sweep: DictConfig, overrides: Sequence[str], keys: Sequence[str] = ()) -> DictConfig:
        """The components of a run of a sweep with the options that they have by themselves, for `vary`.

        It is not checked: an option may be needed, or not be valid as it is.

        Args:
            sweep: the sweep's own configuration.
            overrides: choices of components.
            keys: the options that will be set.

        Raises:
            UserError: there is no such component.
        """
        self._checks = False
        try:
            config = self.compose_trial(sweep, overrides)
        finally:
            self._checks = True
        for key in keys:
            fill_optional(config, key, None)
        return config

    def vary(self, config: DictConfig, overrides: Sequence[str], checked: bool = True) -> DictConfig:
        """A composed run with other values. The same as to compose it anew, in a tenth of the time.

        Args:
            config: what `compose_trial` or `compose_structure` returned; it is not changed.
            overrides: values only, no choice of a component.
            checked: whether the whole must be valid, not only each value for itself.

        Raises:
            UserError: they are not valid.
        """
        with user_errors(self.host):
            changed = apply_overrides(config, overrides, self.host.registry)
            if checked:
                check(changed, self.host)
        return changed

    def variation(self, config: DictConfig, overrides: Sequence[str]) -> Variation:
        """What makes many runs of a composed one with these values, which differ in further ones.

        Args:
            config: what `compose_structure` returned; it is not changed.
            overrides: values only, as for `vary`; they are checked with the further ones.
        """
        with user_errors(self.host):
            return Variation(apply_overrides(config, overrides, self.host.registry), self.host.registry)

    def varied(self, variation: Variation, changes: Sequence[str], overrides: Sequence[str]) -> Experiment | None:
        """A run of a variation as plain data; None where it must be composed, as where it is not valid.

        Args:
            variation: from `variation`.
            changes: the further values.
            overrides: all that lead to it.
        """
        values = variation.values(changes)
        return Experiment(values, variation.components, list(overrides), self.flags) if values is not None else None

    def experiment(self, config: DictConfig, overrides: Sequence[str]) -> Experiment:
        """A composed run as plain data; `overrides` are those that led to it."""
        chosen = chosen_components(config, self.host.registry)
        return Experiment(plain_values(config), chosen, list(overrides), self.flags)

    @property
    def flags(self) -> list[str]:
        """What a command needs before its overrides to find the same files and plugins."""
        folder = ["--config-dir", self.config_dir] if self.config_dir else []
        return [*folder, *flags_of(os.environ)]

    def is_group(self, key: str) -> bool:
        """Whether a key chooses options of a group: of ours, of Hydra's, or of a folder of the user's files."""
        return key == "experiment" or key in self.host.registry.groups or self.repository.group_exists(key)

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        config = super()._compose_config_from_defaults_list(_experiments_last(defaults), repo)
        for override in self._parsed:
            if not override.is_sweep_override() and not override.is_delete():
                fill_optional(config, override.key_or_group, override.value())
        return config

    def _parse_overrides_and_create_caching_repo(
        self, config_name: str | None, overrides: list[str]
    ) -> tuple[list[Override], CachingConfigRepository]:
        parsed, repository = parse(overrides), BoundedRepository(self.repository)
        self._process_config_searchpath(config_name, parsed, repository)
        self._parsed = parsed
        return parsed, repository


def _experiments_last(defaults: list[ResultDefault]) -> list[ResultDefault]:
    """The defaults list with what the command line adds before the experiments, whose values it would cover otherwise."""
    parents = {one.config_path: one.parent for one in defaults}

    def is_of_experiment(one: ResultDefault) -> bool:
        path = one.config_path
        while parents.get(path) not in (None, CONFIG_NAME):
            path = parents[path]
        return (path or "").startswith("experiment/")

    of_experiments = [is_of_experiment(one) for one in defaults]
    return [
        one for wanted in (False, True) for one, found in zip(defaults, of_experiments, strict=True) if found == wanted
    ]


def _searched(config: DictConfig, path: str) -> bool:
    """Whether a file says at `params` what to search; such an option may have no value of its own."""
    node = OmegaConf.select(config, path)
    params = node.get("params") if isinstance(node, DictConfig) else None
    return isinstance(params, DictConfig) and len(params) > 0


def _first_values(override: Override) -> list[str]:
    """The override with the first value of its sweep; none where it has no first value."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if not override.is_discrete_sweep() or isinstance(override.value(), Glob):
        return []
    return [f"{override.get_key_element()}={value}" for value in islice(override.sweep_string_iterator(), 1)]
