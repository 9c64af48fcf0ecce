"""The text of config.yaml, which reads back as it was. `OmegaConf.to_yaml` takes ten times as long, and a sweep writes
thousands."""

from __future__ import annotations

from typing import Any

import yaml
from omegaconf._utils import OmegaConfDumper


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Puts quotes around strings that OmegaConf would read as something else."""


_Dumper.add_representer(str, OmegaConfDumper.str_representer)


def config_text(values: dict[str, Any]) -> str:
    """Plain containers as YAML."""
    text: str = yaml.dump(values, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False)
    return text
