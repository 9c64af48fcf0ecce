"""Configuration files: the user's own are vetted before they are built, and none hides another without a word."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository, IConfigRepository
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.config_source import ConfigResult
from omegaconf import AnyNode, Container, DictConfig, ListConfig, OmegaConf
from omegaconf._utils import get_yaml_loader
from omegaconf.errors import OmegaConfBaseException

from oarlock.errors import UserError, nearest, one_line
from oarlock.vetting import HYDRA_GROUPS, ONLY_GROUPS

# A configuration is small; these bounds are far above any real one and far below what hurts.
MAX_BYTES, MAX_NODES, MAX_DEPTH, MAX_LOADS = 1_000_000, 20_000, 50, 1_000


class VettedRepository(ConfigRepository):
    """Hydra's configuration files, where the user's own are vetted before they are built and hide no other."""

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        super().initialize_sources(config_search_path)
        for number, source in enumerate(self.sources):
            if source.scheme() == "file":
                self.sources[number] = VettedFileSource(source.provider, source.full_path())

    def load_config(self, config_path: str) -> ConfigResult | None:
        holders = [source for source in self.sources if source.is_config(config_path)]
        own = [source for source in holders if isinstance(source, VettedFileSource)]
        if own and len(holders) > 1:
            # The first would be taken, and the other vanish without a word.
            raise UserError(f"{own[-1].path}/{config_path}.yaml: there is a '{config_path}' already; rename the file.")
        loaded = super().load_config(config_path)
        if own and loaded is not None:
            config = loaded.config
            if isinstance(config, DictConfig) and not isinstance(config._get_node("hydra"), DictConfig | None):
                raise UserError(f"{own[-1].path}/{config_path}.yaml: hydra: expected a mapping.")
            if isinstance(config, DictConfig) and loaded.header.get("package") == "_global_":
                self._refuse_choices(config_path, config)
            for default in loaded.defaults_list or []:
                group = (getattr(default, "group", None) or getattr(default, "path", None) or "").lstrip("/")
                file = f"{own[-1].path}/{config_path}.yaml"
                if group.startswith("hydra/") and not HYDRA_GROUPS.match(group):
                    raise UserError(f"{file}: {group}: {ONLY_GROUPS}")
                if group.startswith("hydra/") and getattr(default, "override", False):
                    # Ours come before a file's, which Hydra would drop without a word.
                    raise UserError(f"{file}: {group}: a file cannot choose it; type {group}=… on the command line.")
        return loaded

    def _refuse_choices(self, config_path: str, config: DictConfig) -> None:
        """`optimizer: sgd` below the defaults list is what one tries first, and to Hydra a merge that failed."""
        for key in map(str, config):
            node = config._get_node(key)
            if not isinstance(node, AnyNode | ListConfig) or node._is_none() or node._is_interpolation():
                continue
            if key != "experiment" and self.group_exists(key):
                value = f"[{', '.join(map(str, node))}]" if isinstance(node, ListConfig) else str(node)
                raise UserError(f"{config_path}: {key}: {value}: a component is chosen in the defaults list:\n"
                                f"  - override /{key}: {value}")  # fmt: skip


class BoundedRepository(CachingConfigRepository):
    """One composition's view of the files: an end to files that name each other, or one another many times."""

    def __init__(self, delegate: IConfigRepository) -> None:
        super().__init__(delegate)
        self._loads = 0

    def load_config(self, config_path: str) -> ConfigResult | None:
        self._loads += 1
        if self._loads > MAX_LOADS:
            raise UserError(f"{config_path}: the defaults lists name too many files, or each other.")
        return super().load_config(config_path)


class VettedFileSource(FileConfigSource):
    """YAML files, refused before they are built when they would explode."""

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path) / self._normalize_file_name(config_path)
        config, text = read_yaml(path)
        with _about(path):
            _vet_defaults(config)
            return ConfigResult(self.provider, self.full_path(), config, self._get_header_dict(text[:512]))


def _vet_defaults(config: Container) -> None:
    """A mistyped keyword before a group is one that Hydra fails on without a word, as is a list after an override."""
    defaults = config._get_node("defaults") if isinstance(config, DictConfig) else None
    overrides = False
    for item in defaults._iter_ex(resolve=False) if isinstance(defaults, ListConfig) else []:
        for key in item if isinstance(item, DictConfig) else []:
            is_override = "override" in str(key).split()[:-1]
            if overrides and not is_override and isinstance(item._get_node(key), ListConfig):
                raise ValueError(f"'{key}' stands after an override; in a defaults list the overrides come last")
            overrides = overrides or is_override
            for word in str(key).split()[:-1]:
                if word not in ("override", "optional"):
                    raise ValueError(f"'{key}' in the defaults list. {nearest(word, ['override', 'optional'])}")


def read_yaml(path: Path) -> tuple[Container, str]:
    """A YAML file as a configuration, whose references `${…}` are to be followed, and as text.

    Raises:
        UserError: as for `read_plain`, or it is no configuration.
    """
    values, text = read_plain(path)
    with _about(path):
        config: Container = OmegaConf.create({} if values is None else values)
        return config, text


def read_plain(path: Path) -> tuple[Any, str]:
    """A YAML file that is not huge, not deep and does not explode by its aliases, as plain data and as text.

    Raises:
        UserError: it is, or it is not YAML.
    """
    with _about(path):
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES} bytes, too large for a configuration")
        text = content.decode()
        if text.startswith("\ufeff"):
            raise ValueError("it starts with a byte order mark; save it as plain UTF-8")
        size, depth = _expanded(text)
        if size > MAX_NODES or depth > MAX_DEPTH:
            raise ValueError("too large or too deep for a configuration")
        return yaml.load(text, Loader=get_yaml_loader()), text


@contextlib.contextmanager
def _about(path: Path) -> Iterator[None]:
    """Say of which file it is that something is wrong."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UserError(f"{path}: {line}{error.problem}.") from error
    except (yaml.YAMLError, OmegaConfBaseException, ValueError) as error:
        raise UserError(f"{path}: {one_line(error)}.") from error


def _expanded(text: str) -> tuple[int, int]:
    """The number of nodes with aliases written out, and the deepest level; counted as far as the bounds."""
    anchors: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    total = deepest = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
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
            inside = any(event.anchor == anchor for anchor, _ in open_nodes)  # then it never ends
            total += MAX_NODES + 1 if inside else anchors.get(event.anchor or "", 1)
        if total > MAX_NODES or deepest > MAX_DEPTH:
            break
    return total, deepest
