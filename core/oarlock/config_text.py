"""The text of config.yaml, which reads back as the plain data that it was; a `${` in a value is no reference.

`OmegaConf.to_yaml` takes ten times as long, and a sweep writes thousands.
"""

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
    return "".join(_part(key, value) for key, value in values.items()) or _dumped(values)


def _part(key: str, value: Any) -> str:
    """The lines of one key; most parts of a sweep's runs are the same."""
    try:
        text = json.dumps(item := {key: value})
        return _known(text) if json.loads(text) == item else _dumped(item)
    except TypeError:  # JSON has no such value
        return _dumped({key: value})


@functools.lru_cache(256)
def _known(text: str) -> str:
    return _dumped(json.loads(text))


def _dumped(values: dict[str, Any]) -> str:
    text: str = yaml.dump(values, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False)
    return text
