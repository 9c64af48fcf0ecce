"""The text of config.yaml, which reads back as it was. `OmegaConf.to_yaml` takes ten times as long, and a sweep writes
thousands."""

from __future__ import annotations

import functools
import json
from typing import Any

import yaml
from omegaconf._utils import OmegaConfDumper


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Puts quotes around strings that OmegaConf would read as something else."""


_Dumper.add_representer(str, OmegaConfDumper.str_representer)


def config_text(values: dict[str, Any]) -> str:
    """Plain containers as YAML."""
    return "".join(_part(json.dumps([key, value])) for key, value in values.items()) or _dumped(values)


@functools.lru_cache(256)
def _part(item: str) -> str:
    """The lines of one key, given as JSON; most parts of a sweep's runs are the same."""
    key, value = json.loads(item)
    return _dumped({key: value})


def _dumped(values: dict[str, Any]) -> str:
    text: str = yaml.dump(values, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False)
    return text
