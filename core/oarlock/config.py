"""From overrides to a checked configuration: Hydra composes, oarlock decides what may be in it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.utils import create_config_search_path
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from oarlock.errors import UserError, nearest, one_line
from oarlock.plugins import Host, Registry, load_host
from oarlock.schema import RootConfig
from oarlock.vetting import VettedFileSource, parse, vet_hydra, vet_overrides

CONFIG_NAME = "config"
ROOT_FIELDS = [field.name for field in dataclasses.fields(RootConfig)]


@dataclasses.dataclass(frozen=True)
class Composed:
    """One run's configuration.

    Attributes:
        config: checked and typed, without Hydra's own part.
        hydra: Hydra's own part.
        folder: where the run shall be recorded.
        folder_chosen: whether the user named that folder.
    """

    config: DictConfig
    hydra: DictConfig
    folder: Path
    folder_chosen: bool


def compose(host: Host, overrides: Sequence[str], config_dir: str | None = None) -> Composed:
    """Compose one run's configuration.

    Raises:
        UserError: anything in the overrides or in a file that they name is not valid.
    """
    loader = Loader(host, config_dir)
    config = loader.load_configuration(CONFIG_NAME, list(overrides), RunMode.RUN)
    HydraConfig.instance().set_config(config)  # for ${hydra:…} in values
    hydra = config.hydra
    with loader.user_errors():
        folder = Path(str(hydra.run.dir))
    with flag_override(config, ["struct", "readonly"], False):
        del config["hydra"]
    chosen = any(override.startswith("hydra.run.dir") for override in hydra.overrides.hydra)
    return Composed(config, hydra, folder, chosen)


class Loader(ConfigLoaderImpl):
    """Hydra's loader, which lets nothing through that was not checked: not for a run, not for a job of a sweep."""

    def __init__(self, host: Host | None = None, config_dir: str | None = None) -> None:
        self.host = host or load_host()
        self.config_dir = config_dir
        store(self.host.registry)
        setup_globals()  # Hydra's resolvers: ${now:…}, ${hydra:…}
        path = create_config_search_path("pkg://oarlock_conf")
        if config_dir is not None:
            if not Path(config_dir).is_dir():
                raise UserError(f"--config-dir {config_dir}: there is no such folder.")
            path.append("command-line", f"file://{Path(config_dir).resolve()}")
        super().__init__(path)
        for number, source in enumerate(self.repository.sources):
            if isinstance(source, FileConfigSource):
                self.repository.sources[number] = VettedFileSource(source.provider, source.path)

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
        with self.user_errors():
            vet_overrides(overrides, self.host.registry)
            config = super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
            vet_hydra(config.hydra)
            check(config, self.host)
        return config

    @contextlib.contextmanager
    def user_errors(self) -> Iterator[None]:
        """Turn what Hydra and OmegaConf raise about the user's input into our own words."""
        try:
            yield
        except UserError:
            raise
        except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            raise self._translate(error) from error
        except RecursionError as error:
            raise UserError("The configuration is nested too deeply.") from error
        except (ValueError, TypeError, AssertionError, AttributeError, KeyError, OSError) as error:
            # Hydra itself lets these escape on odd input; composition has no other source of them.
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            raise UserError(f"The configuration cannot be composed: {one_line(error)}") from error

    def _translate(self, error: Exception) -> UserError:
        if isinstance(error, MissingConfigException) and error.missing_cfg_file:
            group, _, name = error.missing_cfg_file.removesuffix(".yaml").rpartition("/")
            if group in self.host.registry.groups:
                return self.host.explain_missing(group, name)
            return UserError(f"{group}={name}: there is no such {group}. {nearest(name, error.options or [])}")
        cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
        key = getattr(cause, "full_key", None)
        unknown = type(cause).__name__ in ("ConfigKeyError", "ConfigAttributeError")
        if not unknown:
            match = re.match(r"Could not (?:override|delete|append) '([^']+)'", str(error))
            key, unknown = (match[1].split("@")[0], True) if match else (key, False)
        if key and unknown:
            return unknown_key(key, getattr(cause, "object_type", None), self.host.registry)
        if str(error).startswith("Ambiguous value"):
            text = str(error).split("'")[1]
            key, _, value = text.partition("=")
            return UserError(f"{text}: several values; add -m to sweep over them, or write {key}=[{value}] for a list.")
        message = " ".join(str(cause).split("\n")[:2]) if cause is error else one_line(cause)
        if key and "MissingMandatory" in type(cause).__name__:
            message = f"a value is needed; write {key}=…"
        return UserError(f"{key}: {message}" if key and key not in message else message)


def store(registry: Registry) -> None:
    """Put the components into Hydra's ConfigStore. One whose fields cannot be a configuration is refused."""
    configs = ConfigStore.instance()
    defaults: list[Any] = ["_self_"]
    fields: list[Any] = [("defaults", list[Any], dataclasses.field(default_factory=lambda: defaults))]
    for group in registry.groups.values():
        kind = dict[str, Any] if group.many else Any
        fields.append((group.name, kind, dataclasses.field(default_factory=dict) if group.many else None))
        if not group.required and group.name not in ("regularizer", "callback"):
            defaults.append({group.name: [] if group.many else None})
    configs.store(name="schema", node=dataclasses.make_dataclass("Config", fields, bases=(RootConfig,)))
    for path, entry in list(registry.entries.items()):
        many = registry.groups[entry.group].many
        try:
            OmegaConf.structured(entry.cls)
        except Exception as error:  # the author's defaults and types; whatever they raise, the others go on
            registry.refused[path] = f"{entry.plugin.origin} declares fields that cannot be configured: " + one_line(
                error
            )
            del registry.entries[path]
            continue
        node, package = entry.cls, path.replace("/", ".") if many else None
        if many and re.search(r"_(global|group|name|here)_", path):
            # Hydra reads `_global_` in the middle of `regularizer.clip_global_norm` as its keyword.
            node, package = {entry.name: entry.cls}, None  # type: ignore[assignment]
        configs.store(group=entry.group, name=entry.name, node=node, package=package)


def check(config: DictConfig, host: Host) -> None:
    """Every node is typed, every key is a field, every value is one that its component accepts.

    Raises:
        UserError: names the key, what is expected and the nearest valid choice.
    """
    registry = host.registry
    groups = registry.groups
    for key in config:
        if key not in ROOT_FIELDS and key not in groups and key != "hydra":
            raise unknown_key(str(key), None, registry)
    _check_node(config._get_node("trainer"), "trainer", registry)
    for group in groups.values():
        node = config._get_node(group.name)
        if group.many and isinstance(node, DictConfig) and not node._is_none():
            for name in node:
                _check_component(node._get_node(name), f"{group.name}.{name!s}", group.name, registry)
        elif not group.many and node is not None and not node._is_none():
            _check_component(node, group.name, group.name, registry)
        elif group.required:
            raise UserError(
                f"{group.name}: one must be chosen. {group.name}=… {nearest('', registry.options(group.name))}"
            )
    instantiate(config, registry)


def _check_component(node: Any, path: str, group: str, registry: Registry) -> None:
    entry = registry.of(OmegaConf.get_type(node)) if isinstance(node, DictConfig) else None
    if entry is None:
        name = path.rpartition(".")[2] if "." in path else ""
        if name in registry.options(group):
            raise UserError(f"{path} has options but is not chosen; add +{group}={name}.")
        hint = nearest(name, registry.options(group))
        raise UserError(f"{path} is not a registered component; choose one with {group}=…. {hint}")
    if entry.group != group:
        raise UserError(f"{path}: '{entry.path}' is a {entry.group}, a {group} is expected.")
    _check_node(node, path, registry)


def _check_node(node: Any, path: str, registry: Registry) -> None:
    """Walk a typed node: extra keys, untyped dictionaries in the place of components."""
    if isinstance(node, ListConfig) and not node._is_none() and not node._is_missing():
        for number in range(len(node)):
            _check_node(node._get_node(number), f"{path}[{number}]", registry)
    if not isinstance(node, DictConfig) or node._is_none() or node._is_missing() or node._is_interpolation():
        return
    cls = OmegaConf.get_type(node)
    if dataclasses.is_dataclass(cls):
        names = [field.name for field in dataclasses.fields(cls)]
        for key in node:
            if key not in names:
                raise unknown_key(f"{path}.{key!s}", cls, registry)
            _check_node(node._get_node(key), f"{path}.{key!s}", registry)
    elif node._metadata.ref_type is Any:
        raise UserError(f"{path} is not a component; choose one with +GROUP@{path}=NAME.")


def chosen_components(config: DictConfig, registry: Registry) -> dict[str, str]:
    """Every component in a configuration, nested ones too, as {config path: group/name}, outer before inner."""
    found: dict[str, str] = {}

    def walk(node: Any, path: str) -> None:
        if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
            return
        entry = registry.of(OmegaConf.get_type(node))
        if entry is not None:
            found[path] = entry.path
        for key in node:
            walk(node._get_node(key), f"{path}.{key!s}" if path else str(key))

    walk(config, "")
    return found


def instantiate(config: DictConfig, registry: Registry) -> dict[str, Any]:
    """The components by config path, in the order of the groups, lists in list order; and `''`, the root.

    Raises:
        UserError: a component refuses its values, or one has no value.
    """
    objects: dict[str, Any] = {}
    # The values of the root without the groups, so that its own __post_init__ sees them typed.
    own = {key: config._get_node(key) for key in ROOT_FIELDS}
    objects[""] = _object("", OmegaConf.merge(OmegaConf.structured(RootConfig), own))
    for group in registry.groups.values():
        node = config._get_node(group.name)
        if not isinstance(node, DictConfig) or node._is_none():
            continue
        for path, child in (
            [(f"{group.name}.{name!s}", node._get_node(name)) for name in node] if group.many else [(group.name, node)]
        ):
            objects[path] = _object(path, child)
    return objects


def _object(path: str, node: Any) -> Any:
    try:
        return OmegaConf.to_object(node)
    except OmegaConfBaseException:
        raise
    except Exception as error:  # raised by a component's own __post_init__: what it says is about the values
        raise UserError(f"{path}.{one_line(error)}" if path else one_line(error)) from error


def apply_overrides(config: DictConfig, overrides: Sequence[str], registry: Registry) -> DictConfig:
    """Change a recorded configuration: a value by its path, or a whole one-of-a-kind component by its group."""
    config = config.copy()
    for override in parse(overrides):
        key, value = override.key_or_group, override.value()
        text = override.input_line or key
        group = registry.groups.get(key)
        if override.is_delete() or override.is_sweep_override() or (group and group.many):
            raise UserError(f"{text}: here only key=value and group=option can be changed.")
        if group:
            entry = registry.entries.get(f"{key}/{value}")
            if entry is None:
                raise UserError(f"{text}: there is no such {key}. {nearest(str(value), registry.options(key))}")
            config[key] = OmegaConf.structured(entry.cls)
            continue
        parent = OmegaConf.select(config, key.rpartition(".")[0]) if "." in key else config
        name = key.rpartition(".")[2]
        if not isinstance(parent, DictConfig) or name not in parent:
            raise unknown_key(key, OmegaConf.get_type(parent) if parent is not None else None, registry)
        try:
            OmegaConf.update(config, key, value, merge=True)
        except OmegaConfBaseException as error:
            raise UserError(f"{text}: {one_line(error)}") from error
    return config


def unknown_key(key: str, cls: object, registry: Registry) -> UserError:
    """The error for a key that does not exist, with the nearest that does."""
    parent, _, name = key.rpartition(".")
    if dataclasses.is_dataclass(cls) and parent:
        hint = nearest(name, [field.name for field in dataclasses.fields(cls)])
        return UserError(f"{key}: '{parent}' has no option '{name}'. {hint}")
    if parent in registry.groups:
        if name in registry.options(parent):
            return UserError(f"{key}: '{name}' is not chosen; add +{parent}={name}.")
        return UserError(f"{key}: there is no such {parent}. {nearest(name, registry.options(parent))}")
    choices = [*registry.groups, *ROOT_FIELDS, "experiment"]
    return UserError(f"{key}: there is no such group or option. {nearest(key.split('.')[0].lstrip('+'), choices)}")
