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
from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import setup_globals
from hydra.errors import HydraException, MissingConfigException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from oarlock.errors import UserError, nearest
from oarlock.plugins import Host, Registry, load_host
from oarlock.schema import RootConfig

CONFIG_NAME = "config"
ROOT_FIELDS = [field.name for field in dataclasses.fields(RootConfig)]

# What a user may set of Hydra's own configuration, and what Hydra writes there itself. Anything else
# (callbacks, logging formatters, environment, search path) can execute code, so it must be as shipped.
HYDRA_MAY_BE_SET = (
    "run.dir",
    "sweep.dir",
    "sweep.subdir",
    "job.name",
    "job.config.override_dirname",
    "launcher",
    "sweeper",
    "verbose",
    "help",
    "mode",
)
HYDRA_WRITES = ("overrides", "runtime", "job.override_dirname", "job.config_name", "job.id", "job.num", "defaults")
HYDRA_AS_SHIPPED = {
    "output_subdir": None,
    **{f"{logging}_logging.{key}": value for logging in ("job", "hydra") for key, value in
       {"version": 1, "root": None, "disable_existing_loggers": False}.items()},
}  # fmt: skip

# A configuration is small; these bounds are far above any real one and far below what hurts.
MAX_YAML_BYTES, MAX_YAML_NODES, MAX_YAML_DEPTH, MAX_OVERRIDE_DEPTH = 1_000_000, 20_000, 50, 50


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
    hydra = config.hydra
    with loader.user_errors():
        folder = Path(str(hydra.run.dir))
    with open_dict(config):
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
            HydraConfig.instance().set_config(config)
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
        message = one_line(cause)
        if key and "MissingMandatory" in type(cause).__name__:
            message = f"a value is needed; write {key}=…"
        return UserError(f"{key}: {message}" if key and key not in message else message)


class VettedFileSource(FileConfigSource):
    """YAML files, refused before they are built when they would explode."""

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path) / self._normalize_file_name(config_path)
        if path.is_file():
            vet_yaml(path)
        return super().load_config(config_path)


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
        configs.store(
            group=entry.group, name=entry.name, node=entry.cls, package=path.replace("/", ".") if many else None
        )


def parse(overrides: Sequence[str]) -> list[Override]:
    """Parse override strings with Hydra's grammar.

    Raises:
        UserError: one of them is not of the grammar.
    """
    parsed = []
    for text in overrides:
        if max(text.count("["), text.count("{"), text.count("(")) > MAX_OVERRIDE_DEPTH:
            raise UserError(f"{text[:40]}…: nested too deeply.")
        try:
            parsed.append(OverridesParser.create().parse_override(text))
        except (HydraException, RecursionError) as error:
            hint = "expected key=value" if "=" not in text and not text.startswith("~") else one_line(error)
            raise UserError(f"'{text}' is not an override: {hint}") from error
    return parsed


def vet_overrides(overrides: Sequence[str], registry: Registry) -> None:
    """Refuse, before Hydra acts, what it would execute, crash on, or silently drop."""
    chosen: dict[str, str] = {}
    for override in parse(overrides):
        key = override.key_or_group
        text = override.input_line or key
        if key.startswith("hydra/") and not re.match(r"hydra/(launcher|sweeper)(/|$)", key):
            raise UserError(f"{text}: {key} cannot be changed; of Hydra's groups only launcher and sweeper can.")
        if key == "hydra" or (key.startswith("hydra.") and not _within(key[6:], HYDRA_MAY_BE_SET)):
            raise UserError(f"{text}: not allowed. Of hydra.* you may set: {', '.join(HYDRA_MAY_BE_SET)}.")
        group = registry.groups.get(key)
        if group is None:
            continue
        if not override.is_delete() and override.value() is None:
            none = f"{key}=[]" if group.many else f"{key}={_first(registry.options(key))}"
            raise UserError(f"{text}: null chooses nothing; write {none}.")
        if group.many and override.package is None:
            if key in chosen:
                # Hydra keeps the first of these and drops the other without a word.
                plus = "+" if chosen[key].startswith("+") and text.startswith("+") else ""
                raise UserError(f"{chosen[key]} {text}: name the group once, as a list: {plus}{key}=[a,b].")
            chosen[key] = text


def vet_hydra(hydra: DictConfig) -> None:
    """Compare Hydra's own configuration with the shipped one, and its targets with the installed ones."""
    shipped = dict(_leaves(OmegaConf.to_container(OmegaConf.structured(HydraConf), resolve=False)))
    shipped |= HYDRA_AS_SHIPPED
    for path, value in _leaves(OmegaConf.to_container(hydra, resolve=False)):
        if _within(path, HYDRA_MAY_BE_SET + HYDRA_WRITES) or path.startswith("hydra_help"):
            continue
        if path not in shipped or shipped[path] != value:
            raise UserError(
                f"hydra.{path} is set by a configuration file: not allowed.\n"
                f"Of hydra.* you may set: {', '.join(HYDRA_MAY_BE_SET)}."
            )
    for kind in ("launcher", "sweeper"):
        installed = _installed_targets(f"hydra/{kind}")
        for path, value in _leaves(OmegaConf.to_container(hydra[kind], resolve=False)):
            if path.rpartition(".")[2].startswith("_target_") and value not in installed:
                raise UserError(f"hydra.{kind}.{path}={value}: not an installed {kind}.")


def _installed_targets(group: str) -> set[str]:
    configs = ConfigStore.instance()
    targets: set[str] = set()
    for name in configs.list(group):
        if name.endswith(".yaml"):
            targets.add(str(OmegaConf.select(configs.load(f"{group}/{name}").node, "_target_")))
        else:
            targets |= _installed_targets(f"{group}/{name}")
    return targets


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
                _check_component(node._get_node(name), f"{group.name}.{name}", group.name, registry)
        elif not group.many and node is not None and not node._is_none():  # type: ignore[union-attr]
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
                raise unknown_key(f"{path}.{key}", cls, registry)
            _check_node(node._get_node(key), f"{path}.{key}", registry)
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
            walk(node._get_node(key), f"{path}.{key}" if path else str(key))

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
            [(f"{group.name}.{name}", node._get_node(name)) for name in node] if group.many else [(group.name, node)]
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


def vet_yaml(path: Path) -> None:
    """Refuse a YAML file that is huge, deep, or grows by its aliases (each counts as what it stands for)."""
    if path.stat().st_size > MAX_YAML_BYTES:
        raise UserError(f"{path}: larger than {MAX_YAML_BYTES} bytes.")
    try:
        size, depth = _expanded(path)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {one_line(error)}") from error
    if size > MAX_YAML_NODES or depth > MAX_YAML_DEPTH:
        raise UserError(f"{path}: {size} values, {depth} levels: too large or too deep for a configuration.")


def _expanded(path: Path) -> tuple[int, int]:
    """The number of nodes with aliases written out, and the deepest level."""
    anchors: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    total = deepest = 0
    with path.open(encoding="utf-8") as file:
        for event in yaml.parse(file, Loader=yaml.SafeLoader):
            if isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
                open_nodes.append((event.anchor, total))
                deepest = max(deepest, len(open_nodes))
                total += 1
            elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
                anchor, before = open_nodes.pop()
                if anchor:
                    anchors[anchor] = total - before
            elif isinstance(event, yaml.ScalarEvent):
                total += 1
                if event.anchor:
                    anchors[event.anchor] = 1
            elif isinstance(event, yaml.AliasEvent):
                total += anchors.get(event.anchor, MAX_YAML_NODES)  # an alias inside its own anchor never ends
            if total > MAX_YAML_NODES or deepest > MAX_YAML_DEPTH:
                break
    return total, deepest


def one_line(error: BaseException) -> str:
    """The first line that says something, not too long."""
    lines = [line.strip() for line in str(error).split("\n") if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _leaves(child, f"{path}.{key}" if path else str(key))
    elif not (isinstance(value, dict) and not value):
        yield path, value


def _within(path: str, prefixes: Sequence[str]) -> bool:
    return any(path == prefix or path.startswith(prefix + ".") for prefix in prefixes)


def _first(options: Sequence[str]) -> str:
    return options[0] if options else "…"
